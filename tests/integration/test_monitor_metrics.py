"""`/metrics` as Prometheus scrapes it, from a Monitor process on a real bus."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from feed_session import eventually
from prometheus_client.parser import text_string_to_metric_families

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Bus
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.orders import Intent, Order, OrderState, Side, Verdict
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Alert, Beat, KillState, Level, Module, MtmPoint, SessionState, TradingState
from tradealgo.domain.ticks import empty_ticks
from tradealgo.monitor.endpoint import listening_at

MS = 1_000_000


@pytest.fixture
def folder(bus: Bus, bus_url: str, tmp_path: Path) -> SessionDir:
    """A session's folder on the tests' bus."""
    folder = SessionDir(tmp_path / "session")
    folder.write_manifest(
        Manifest(
            session_id=bus.session_id, mode=Mode.LIVE, account="A1", strategy="x:Y", parameters={}, instruments=(),
            capital=1.0, sizing=Sizing(units=1), bus_url=bus_url,
        )
    )  # fmt: skip
    return folder


def start_monitor(folder: SessionDir, metrics: str) -> subprocess.Popen[bytes]:
    with open(folder.logs / "monitor.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tradealgo.monitor", "--session-dir", str(folder.path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"TRADEALGO_METRICS": metrics},
        )  # fmt: skip


@pytest.fixture
def monitor(folder: SessionDir) -> Iterator[subprocess.Popen[bytes]]:
    """A Monitor that serves metrics on a free port."""
    process = start_monitor(folder, "0")
    yield process
    process.terminate()
    assert process.wait(20) == 0, (folder.logs / "monitor.log").read_text()


async def port_of(bus: Bus) -> int:
    found: list[int] = []

    async def told() -> bool:
        beats = [e.message for e in await bus.range(Stream.HEALTH) if e.message.module is Module.MONITOR]
        found.extend(int(b.figures["metrics_port"]) for b in beats if "metrics_port" in b.figures)
        return bool(found)

    await eventually(told)
    return found[0]


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Samples by name and label values, without the session's own."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        families = text_string_to_metric_families(reply.read().decode())
        return {
            (s.name, *(v for k, v in s.labels.items() if k != "session")): s.value for f in families for s in f.samples
        }


@pytest.fixture
async def published(bus: Bus) -> None:
    """A word of each module, an order's way in two steps, the books, the kill, an alert."""
    now = time.time_ns()
    order = Order(
        tag="T1", request_id="r", session_id="s", instrument_token=1, instrument="NSE:X", side=Side.BUY, quantity=1,
        price=1.0, intent=Intent.ENTRY, state=OrderState.OPEN, ts_init=now, ts_closed=now + MS,
        ts_signalled=now + 2 * MS, ts_requested=now + 3 * MS, ts_checked=now + 5 * MS, ts_sent=now + 9 * MS,
    )  # fmt: skip
    figures = {"waiting": 7, "lag_ms_ticks": 1_500, "kill": "ARMED"}
    await bus.publish_many(
        [
            (Stream.HEALTH, Beat(module=Module.CONSUMER, pid=1, ts=now, state="READY", figures=figures)),
            (Stream.ORDERS, order),
            (Stream.ORDERS, order),
            (Stream.VERDICTS, Verdict(request_id="r", instrument="X", code="SUBMIT", text="", figures={}, ts=now)),
            (Stream.MTM, MtmPoint(now, now, 1_000, 200, 50, -12_345, 0, -200_000)),
            (Stream.STATE, SessionState(trading=TradingState.REDUCING, kill=KillState.ARMED, ts=now)),
            (Stream.ALERTS, Alert(level=Level.CRITICAL, module=Module.PRODUCER, code="X", text="x", ts=now)),
            (Stream.TICKS, TickFrame(empty_ticks(1), now, now + 200_000)),
        ]
    )


@pytest.mark.usefixtures("published", "monitor")  # in this order: the Monitor's first look finds all of it
async def test_a_scrape_says_how_the_session_is(bus: Bus) -> None:
    """Beats, lags, figures, streams, states, books, orders and hops; told again, an order's hops count once."""
    port = await port_of(bus)
    found: dict[tuple[str, ...], float] = {}

    async def counted() -> bool:
        found.update(scrape(port))
        return ("tradealgo_stream_entries", "orders") in found

    await eventually(counted)
    expected = {
        ("tradealgo_info", "A1", "live", "x:Y"): 1,
        ("tradealgo_module_state", "consumer", "READY"): 1,
        ("tradealgo_reader_lag_seconds", "consumer", "ticks"): 1.5,
        ("tradealgo_figure", "consumer", "waiting"): 7,
        ("tradealgo_stream_entries", "orders"): 2,
        ("tradealgo_trading_state", "REDUCING"): 1,
        ("tradealgo_trading_state", "ACTIVE"): 0,
        ("tradealgo_kill_state", "ARMED"): 1,
        ("tradealgo_rupees", "mtm"): -123.45,
        ("tradealgo_rupees", "limit"): -2_000,
        ("tradealgo_orders", "OPEN"): 1,
        ("tradealgo_verdicts_total", "SUBMIT"): 1,
        ("tradealgo_hop_seconds_count", "tick to order"): 1,
        ("tradealgo_hop_seconds_bucket", "tick to order", "0.008"): 0,
        ("tradealgo_hop_seconds_bucket", "tick to order", "0.012"): 1,
        ("tradealgo_hop_seconds_count", "decode"): 1,
        ("tradealgo_hop_seconds_count", "broker"): 0,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["tradealgo_hop_quantile_seconds", "journal", "0.5"] == pytest.approx(0.004, rel=0.01)
    assert 0 <= found["tradealgo_beat_age_seconds", "consumer"] < 60
    assert found["tradealgo_alerts_open", "CRITICAL"] >= 1


async def test_a_port_that_is_taken_is_an_alert(bus: Bus, monitor: subprocess.Popen[bytes], folder: SessionDir) -> None:
    """A second Monitor goes on without metrics, and says why."""
    second = start_monitor(folder, str(await port_of(bus)))

    async def told() -> bool:
        alerts = [e.message for e in await bus.range(Stream.ALERTS)]
        return any(a.code == "METRICS" and "in use" in a.text for a in alerts)

    try:
        await eventually(told)
        assert second.poll() is None
    finally:
        second.kill()
        second.wait()


@pytest.mark.parametrize(
    ("setting", "place"),
    [("", None), ("9464", ("127.0.0.1", 9464)), ("0.0.0.0:1", ("0.0.0.0", 1)), ("[::1]:2", ("::1", 2))],
)
def test_a_port_alone_is_on_loopback(setting: str, place: tuple[str, int] | None) -> None:
    """Only an address that is named opens it to others."""
    assert listening_at(setting) == place


@pytest.mark.parametrize("setting", ["here", "127.0.0.1:", "70000"])
def test_a_setting_that_is_no_port_is_refused(setting: str) -> None:
    """The error says what it should be."""
    with pytest.raises(BadConfig, match="expected a port"):
        listening_at(setting)
