"""The ways of a kill: flag, stream and signal, each alone enough to be reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tradealgo import control
from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import BlockingBus, connect_blocking
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.control import request
from tradealgo.domain.errors import BadConfig, BusUnavailable
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Action, Control

#: Stands in for a Gatekeeper's process: its command line names the module and the folder, and it notes the signal.
LISTENER = (
    "import signal, sys, time, pathlib\n"
    "p = pathlib.Path(sys.argv[2])\n"
    "signal.signal(signal.SIGUSR1, lambda *_: (p / 'heard').write_text('yes'))\n"
    "(p / 'listening').write_text('yes')\n"
    "time.sleep(60)\n"
)


def session_dir(path: Path, bus_url: str) -> SessionDir:
    folder = SessionDir(path)
    folder.write_manifest(
        Manifest(
            session_id=f"control-{path.name}", mode=Mode.PAPER, account="PAPER1", strategy="m:C", parameters={},
            sizing=Sizing(lots=1), instruments=("NSE:INFY",), capital=1e6, bus_url=bus_url,
        )
    )  # fmt: skip
    folder.pids.mkdir()
    return folder


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like the Gatekeeper of the session in `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", LISTENER, "tradealgo.gatekeeper", str(tmp_path)])
    wait_for(tmp_path / "listening")
    yield process
    process.kill()
    process.wait()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)


def test_a_kill_takes_all_three_ways(tmp_path: Path, bus_url: str, listener: subprocess.Popen[bytes]) -> None:
    """The flag says who and why, the stream carries it, and the Gatekeeper is woken."""
    folder = session_dir(tmp_path, bus_url)
    (folder.pids / "gatekeeper.pid").write_text(f"{listener.pid}\n")
    reached = request(folder, Control(action=Action.KILL, source="desk", reason="drill"))
    assert reached == {"action": "KILL", "flag": True, "bus": True, "signalled": listener.pid, "watched": False}
    flag = json.loads(folder.kill_flag.read_text())
    assert (flag["source"], flag["reason"]) == ("desk", "drill")
    assert abs(flag["ts"] - time.time_ns()) < 60e9
    wait_for(tmp_path / "heard")
    bus = BlockingBus(connect_blocking(bus_url), f"control-{tmp_path.name}")
    (entry,) = bus.range(Stream.CONTROL)
    bus.close()
    assert (entry.message.action, entry.message.ts) == (Action.KILL, flag["ts"])


def test_a_kill_without_a_bus_is_still_in_the_flag(tmp_path: Path) -> None:
    """A dead bus doesn't stop it, and it says what was reached; nothing half-written is left."""
    folder = session_dir(tmp_path, "unix:///nowhere/bus.sock")
    reached = request(folder, Control(action=Action.KILL, source="cli"))
    assert (reached["flag"], reached["bus"], reached["signalled"]) == (True, False, 0)
    assert [p.name for p in tmp_path.glob("*kill*")] == ["kill.json"]
    assert not list(tmp_path.glob(".kill*"))


def test_the_flag_comes_before_the_bus_is_tried(tmp_path: Path) -> None:
    """Even a bus that accepts and never answers costs at most its time-out, with the flag written before."""
    import socket

    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        folder = session_dir(tmp_path, f"redis://127.0.0.1:{mute.getsockname()[1]}/0")
        began = time.monotonic()
        assert request(folder, Control(action=Action.KILL, source="cli"))["flag"]
        assert time.monotonic() - began < 10


def test_another_process_under_the_old_number_is_left_alone(tmp_path: Path, bus_url: str) -> None:
    """A pid file of a Gatekeeper that is gone may name anybody: this test, which would die of the signal."""
    folder = session_dir(tmp_path, bus_url)
    for content in (str(os.getpid()), "999999999", "not a number", ""):
        (folder.pids / "gatekeeper.pid").write_text(content)
        assert request(folder, Control(action=Action.KILL, source="cli"))["signalled"] == 0


def test_other_requests_write_no_flag_and_need_the_bus(tmp_path: Path) -> None:
    """A halt that reaches nobody is an error, never a silent success."""
    folder = session_dir(tmp_path, "unix:///nowhere/bus.sock")
    with pytest.raises(BusUnavailable, match=r"HALT did not reach session .*: the bus can't be reached"):
        request(folder, Control(action=Action.HALT, source="cli"))
    assert not folder.kill_flag.exists()


def test_a_rearm_without_a_reason_reaches_nobody(tmp_path: Path, bus_url: str) -> None:
    """It is refused before anything is sent."""
    folder = session_dir(tmp_path, bus_url)
    with pytest.raises(BadConfig, match="a re-arm needs a reason"):
        request(folder, Control(action=Action.REARM, source="cli", reason=" "))


def test_a_reason_that_no_file_takes_kills_all_the_same(tmp_path: Path, bus_url: str) -> None:
    """Half of a surrogate pair, and far too long: both ways carry what is left of it."""
    folder = session_dir(tmp_path, bus_url)
    reached = request(folder, Control(action=Action.KILL, source="desk", reason="stop \ud83d " + "x" * 2_000))
    assert (reached["flag"], reached["bus"]) == (True, True)
    reason = json.loads(folder.kill_flag.read_text())["reason"]
    assert reason.startswith("stop ? xxx")
    assert len(reason) == 500


def test_a_flag_that_cannot_be_written_leaves_the_stream(tmp_path: Path, bus_url: str) -> None:
    """A folder in the flag's place stands for a full disk: nothing is raised, the stream carries the kill."""
    folder = session_dir(tmp_path, bus_url)
    folder.kill_flag.mkdir()
    assert request(folder, Control(action=Action.KILL, source="desk"))["bus"] is True


def test_a_full_disk_that_has_room_for_a_name_takes_the_flag(tmp_path: Path) -> None:
    """Not a byte can be written, and the bus takes nothing: an empty flag kills, and nothing half-written is left."""
    folder = session_dir(tmp_path, "unix:///nowhere/bus.sock")
    words = (
        "import resource, sys\nfrom tradealgo.control import request\nfrom tradealgo.config import SessionDir\n"
        "from tradealgo.domain.state import Action, Control\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "print(request(SessionDir(sys.argv[1]), Control(action=Action.KILL, source='cli'))['flag'])"
    )
    done = subprocess.run([sys.executable, "-c", words, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr
    assert folder.kill_flag.read_bytes() == b""
    assert not list(tmp_path.glob(".kill*"))


def test_a_kill_that_reaches_nobody_says_where_to_close(tmp_path: Path) -> None:
    """Neither flag nor bus: only the broker's terminal is left."""
    folder = session_dir(tmp_path / "s", "unix:///nowhere/bus.sock")
    away = tmp_path / "away"
    manifest = folder.read_manifest()
    folder.path.rename(away)
    folder.read_manifest = lambda: manifest  # type: ignore[method-assign]
    with pytest.raises(BusUnavailable, match="close what is open on the broker's own terminal"):
        request(folder, Control(action=Action.KILL, source="cli"))


def test_the_watcher_is_there_before_the_bus_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bus that hangs or fails in a new way can't keep the kill from being watched."""
    folder = session_dir(tmp_path, "unix:///nowhere/bus.sock")
    order: list[str] = []
    monkeypatch.setattr(control, "_start_emergency", lambda _: order.append("watch") is None)
    monkeypatch.setattr(control, "_publish", lambda *_: order.append("publish"))
    request(folder, Control(action=Action.KILL, source="desk"))
    assert order == ["watch", "publish"]
