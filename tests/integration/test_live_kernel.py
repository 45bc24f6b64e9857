"""The session outlives the kernel that launched it, and a new kernel sees it whole."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from jupyter_client.manager import KernelManager

LAUNCH = """
from tradealgo import Market, Sizing, launch
from tradealgo.strategies import EMA, FLAT, LONG, Strategy

class KernelCross(Strategy):
    fast: int = 3
    slow: int = 8

    def setup(self):
        self.fast_ema, self.slow_ema = EMA(self.fast), EMA(self.slow)

    def on_candle(self, candle):
        return LONG if self.fast_ema.update(candle.close) > self.slow_ema.update(candle.close) else FLAT

market = Market(day="2026-11-20", seed=7, speed=120)
session = launch(KernelCross(), ["NSE:INFY", "NSE:TCS"], market=market, sizing=Sizing(fraction=0.4))
session.wait(lambda s: len(s.fills) >= 2, timeout_s=90)
print(session.id, len(session.fills))
"""

ATTACH = """
from tradealgo import attach
session = attach()
session.wait(lambda s: len(s.fills) > {fills}, timeout_s=60)
starts = [c.start for c in session.candles if c.instrument_token == session.candles[0].instrument_token]
print(session.id, len(session.fills), len(session.orders) > 0, starts == sorted(set(starts)) and starts[0])
"""


@pytest.fixture
def kernels(tmp_path, monkeypatch) -> Iterator[list[KernelManager]]:
    """Makes kernels; afterwards stops the session and every kernel that was started."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path / "home"))
    started: list[KernelManager] = []
    yield started
    from tradealgo.config import session_dirs
    from tradealgo.live.supervisor import stop_session

    for folder in session_dirs():
        stop_session(folder)
    for manager in started:
        manager.shutdown_kernel(now=True)


def kernel(started: list[KernelManager]):
    """A new kernel and its client."""
    manager = KernelManager(
        kernel_name="tradealgo-research", transport="ipc"
    )  # ports may be somebody else's by its start
    manager.start_kernel()
    started.append(manager)
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    return manager, client


def printed(client, code: str) -> str:
    """What a cell prints. Fails with the cell's error."""
    out: list[str] = []

    def hook(message) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            out.append(content["text"])

    reply = client.execute_interactive(code, timeout=110, output_hook=hook)
    assert reply["content"]["status"] == "ok", reply["content"].get("evalue")
    return "".join(out).strip()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_session_outlives_a_killed_kernel(kernels):
    """kill -9 on the kernel: the session trades on, and attach() in a new kernel shows it from the beginning."""
    first, client = kernel(kernels)
    name, fills = printed(client, LAUNCH).split()
    pid = first.provisioner.process.pid
    os.kill(pid, signal.SIGKILL)
    client.stop_channels()
    time.sleep(1)
    _, again = kernel(kernels)
    found, now, has_orders, first_start = printed(again, ATTACH.format(fills=fills)).split()
    again.stop_channels()
    assert found == name
    assert int(now) > int(fills)
    assert has_orders == "True"
    assert first_start == "1795146300000000000"  # 09:15 IST: nothing of the morning is missing
