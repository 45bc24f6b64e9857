"""How a stop and a kill end, and what the command line says of what has ended."""

from __future__ import annotations

import datetime as dt
import json
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from click.testing import CliRunner, Result
from ended_session import DAY_NS, fill, manifest, said, session

from tradealgo import control, running
from tradealgo.bus.codec import encode
from tradealgo.bus.keys import Stream, stream_key
from tradealgo.bus.redis_bus import connect_blocking
from tradealgo.cli import for_a_terminal, main
from tradealgo.config import Mode, SessionDir
from tradealgo.domain.errors import SessionNotFound
from tradealgo.domain.hours import IST
from tradealgo.domain.orders import Side
from tradealgo.domain.state import Alert, Beat, KillState, Level, Module
from tradealgo.gatekeeper.journal import Journal
from tradealgo.live import session as session_module
from tradealgo.live import supervisor
from tradealgo.live.leftovers import kill_state, left_words
from tradealgo.live.session import LiveSession, attach


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of each test's own."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch) -> list[KillState]:
    """Where the kill stood each time a session's processes were stopped; none are there."""
    states: list[KillState] = []
    monkeypatch.setattr(supervisor, "is_running", lambda _: True)
    monkeypatch.setattr(supervisor, "stop_session", lambda folder: states.append(kill_state(folder)))
    return states


def test_a_stop_waits_for_a_kill_under_way(home: Path, stopped_at: list[KillState]) -> None:
    """Processes end once it is LOCKED, and not in the middle."""
    folder = session(home, fill(Side.BUY), said(KillState.CANCELLING))

    def lock() -> None:
        journal = Journal(folder.journal)
        journal.append([said(KillState.LOCKED)], time.time_ns())
        journal.close()

    timer = threading.Timer(0.5, lock)
    timer.start()
    LiveSession(folder).stop()
    timer.join()
    assert stopped_at == [KillState.LOCKED]


def test_a_stop_before_the_kill_is_done_says_so(
    home: Path, stopped_at: list[KillState], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It waits no longer than it says, and names the mend."""
    monkeypatch.setattr(session_module, "KILL_DONE_S", 0.2)
    LiveSession(session(home, said(KillState.FLATTENING))).stop()
    assert stopped_at == [KillState.FLATTENING]
    assert (
        "(FLATTENING after 0.2 s): positions may be open; `tradealgo kill old` goes on with it"
        in capsys.readouterr().err
    )


def test_a_stop_ends_what_has_no_readable_journal(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could see its kill's end; the processes stop."""
    folder = session(home)
    folder.journal.write_bytes(b"not a database" * 100)
    stopped: list[SessionDir] = []
    monkeypatch.setattr(supervisor, "is_running", lambda _: True)
    monkeypatch.setattr(supervisor, "stop_session", stopped.append)
    LiveSession(folder).stop()
    assert [f.path for f in stopped] == [folder.path]


def test_a_kill_is_seen_without_a_bus(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor is there, the bus is not: the journal says how far the kill is."""
    folder = session(home, said(KillState.FLATTENING))
    monkeypatch.setattr(supervisor, "is_running", lambda _: True)
    with pytest.raises(TimeoutError, match="VERIFIED_FLAT did not come within 0 s"):
        LiveSession(folder).wait(state="VERIFIED_FLAT", timeout_s=0)
    journal = Journal(folder.journal)
    journal.append([said(KillState.LOCKED, 1)], time.time_ns())
    journal.close()
    LiveSession(folder).wait(state="VERIFIED_FLAT", timeout_s=0)


def test_a_kill_is_seen_on_a_bus_that_takes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch, bus_url: str) -> None:
    """A full disk: what it says is of before, as its heartbeats are."""
    folder = session(home, said(KillState.LOCKED, 1))
    full = msgspec.structs.replace(folder.read_manifest(), session_id=f"full-{time.time_ns()}", bus_url=bus_url)
    folder.manifest.write_bytes(msgspec.json.encode(full))
    monkeypatch.setattr(supervisor, "is_running", lambda _: True)
    client = connect_blocking(bus_url)
    for age_s, seen in ((0, False), (60, True)):
        beat = Beat(module=Module.GATEKEEPER, pid=1, ts=time.time_ns() - age_s * 10**9, state="READY")
        for stream, message in ((Stream.STATE, said(KillState.ARMED).message), (Stream.HEALTH, beat)):
            client.xadd(stream_key(full.session_id, stream), encode(message))  # type: ignore[arg-type]
        assert (LiveSession(folder)._kill_now() is KillState.LOCKED) == seen
    client.close()


def test_a_stop_without_a_kill_waits_for_nothing(
    home: Path, stopped_at: list[KillState], capsys: pytest.CaptureFixture[str]
) -> None:
    """ARMED or LOCKED long ago."""
    LiveSession(session(home, fill(Side.BUY))).stop()
    assert stopped_at == [KillState.ARMED]
    assert not capsys.readouterr().err


def tradealgo(*words: str) -> Result:
    """A command, within this process."""
    return CliRunner().invoke(main, words)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was started to see a kill through."""
    found: list[str] = []
    popen = SimpleNamespace(Popen=lambda words, **_: found.append(" ".join(words)), DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(control, "subprocess", popen)
    return found


def test_a_paper_account_ends_with_its_exchange(home: Path, started: list[str]) -> None:
    """Its kill is refused at once, whatever was held; nothing is started and no flag is left, sockets or not."""
    folder = session(home, fill(Side.BUY), mode=Mode.PAPER)
    folder.sockets.rmdir()
    for _ in range(2):
        done = tradealgo("kill", "old")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "session old has ended, and its paper account with its exchange: nothing is left" in done.stderr
        assert not folder.has_sockets
    assert folder.sockets.is_dir()
    assert tradealgo("kill", "old").exit_code == 1
    assert not control._start_emergency(folder)  # nor by the desk's and Telegram's way
    assert not started
    assert not folder.kill_flag.exists()


def test_a_paper_session_is_killed_while_its_exchange_or_a_process_lives(home: Path, started: list[str]) -> None:
    """The exchange listens, wherever it runs; or it is being started again, as the supervisor is there."""
    folder = session(home, fill(Side.BUY), mode=Mode.PAPER)
    words = ["supervisor.supervisord", "-c", str(folder.supervisor_config)]
    supervising = subprocess.Popen([sys.executable, "-c", "input()", *words], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while not running.processes(folder):  # until it has become python
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert LiveSession(folder).kill("drill")["watched"]
    finally:
        supervising.kill()
        supervising.wait()
    with pytest.raises(SessionNotFound, match="has ended"):
        LiveSession(folder).kill("drill")
    with socket.create_server(("127.0.0.1", 0)) as exchange:
        there = msgspec.structs.replace(
            folder.read_manifest(), rest_url=f"http://127.0.0.1:{exchange.getsockname()[1]}"
        )
        folder.manifest.write_bytes(msgspec.json.encode(there))
        assert LiveSession(folder).kill("drill")["watched"]
    assert len(started) == 2


def test_a_session_of_another_container_has_not_ended(home: Path, started: list[str]) -> None:
    """Neither its processes nor its exchange are to be seen from here, but its supervisor's socket is, in the home that is shared."""
    folder = session(home, fill(Side.BUY), mode=Mode.PAPER)
    assert folder.sockets.is_dir()
    with socket.socket(socket.AF_UNIX) as supervising:
        supervising.bind(str(folder.supervisor_socket))
        supervising.listen()
        assert LiveSession(folder).kill("drill")["watched"]
    assert running.has_ended(folder)
    assert len(started) == 1


def test_without_an_id_the_money_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]) -> None:
    """A newer session on paper mustn't take the kill that is meant for the live one; what is to stop must be named."""
    session(home)
    other = SessionDir(home / "sessions" / "paper")
    other.write_manifest(manifest("paper", Mode.PAPER))
    monkeypatch.setattr(supervisor, "running_sessions", list)
    assert attach().id == "old"
    done = tradealgo("kill", "--timeout", "0")
    assert "old: kill asked (flag)\npaper session paper goes on: `tradealgo kill paper`\n" in done.stdout
    done = tradealgo("stop")
    assert done.exit_code == 2
    assert "old, paper run: say which to stop, or --all" in done.stderr


def test_a_refused_rearm_says_why(home: Path, monkeypatch: pytest.MonkeyPatch, bus_url: str) -> None:
    """At once, and with the option to give; the Gatekeeper's word is on the bus."""
    folder = session(home)
    mine = msgspec.structs.replace(folder.read_manifest(), session_id=f"rearm-{time.time_ns()}", bus_url=bus_url)
    folder.manifest.write_bytes(msgspec.json.encode(mine))
    monkeypatch.setattr(supervisor, "is_running", lambda _: True)
    client = connect_blocking(bus_url)

    def say(stream: Stream, message: msgspec.Struct) -> None:
        client.xadd(stream_key(mine.session_id, stream), encode(message))  # type: ignore[arg-type]

    def refuse() -> None:
        while not client.xlen(stream_key(mine.session_id, Stream.CONTROL)):
            time.sleep(0.01)
        text = "not re-armed: the loss limit tripped today: ask again with force within two minutes if you must"
        code = f"REARM:{time.time_ns()}"
        say(
            Stream.ALERTS, Alert(level=Level.WARNING, module=Module.GATEKEEPER, code=code, text=text, ts=time.time_ns())
        )

    say(Stream.STATE, said(KillState.LOCKED).message)
    say(Stream.HEALTH, Beat(module=Module.GATEKEEPER, pid=1, ts=time.time_ns() + 60 * 10**9, state="READY"))
    gatekeeper = threading.Thread(target=refuse)
    gatekeeper.start()
    done = tradealgo("rearm", "old", "--reason", "x")
    gatekeeper.join()
    client.close()
    assert done.exit_code == 1
    assert "not re-armed: the loss limit tripped today: ask again with --force within two minutes" in done.stderr


@pytest.mark.parametrize("mode", Mode)
def test_a_kill_of_what_ended_flat_says_since_when(home: Path, mode: Mode, started: list[str]) -> None:
    """Nobody asks the broker now, and nothing is started."""
    at_noon = int(dt.datetime(2026, 11, 20, 12, 0, 5, tzinfo=IST).timestamp()) * 10**9
    folder = session(home, fill(Side.BUY), said(KillState.LOCKED, at_noon), mode=mode)
    done = tradealgo("kill", "old")
    assert (done.exit_code, done.stdout) == (0, "old has ended; it was VERIFIED_FLAT at 20 Nov 12:00:05 IST\n")
    assert not started
    assert not folder.kill_flag.exists()


@pytest.mark.parametrize("last", [KillState.ARMED, KillState.FLATTENING, KillState.VERIFIED_FLAT])
def test_a_live_session_that_did_not_end_locked_is_killed(home: Path, last: KillState, started: list[str]) -> None:
    """The emergency process takes it on."""
    folder = session(home, fill(Side.BUY), said(last, ts_flat=1))
    done = tradealgo("kill", "old", "--timeout", "0")
    assert "old: kill asked (flag)" in done.stdout
    assert len(started) == 1
    assert folder.kill_flag.exists()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (Mode.LIVE, "; it holds +75 NSE:INFY, still open at the broker: `tradealgo kill old` makes flat"),
        (Mode.PAPER, "; +75 NSE:INFY ended with its paper exchange"),
    ],
)
def test_a_stop_names_what_is_still_held(home: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, words: str) -> None:
    """Also what was bought before midnight; of a session that has ended already it says so."""
    folder = session(home, fill(Side.BUY), mode=mode)
    assert tradealgo("stop", "old").stdout == f"old: it has ended already{words}\n"
    monkeypatch.setattr(running, "processes", lambda _: [object()])
    monkeypatch.setattr(LiveSession, "stop", lambda *_, **__: None)
    assert tradealgo("stop", "old").stdout == f"old: stopped{words}\n"
    assert left_words(folder, time.time_ns() + DAY_NS) == ""
    assert left_words(folder) == words


def test_a_stop_of_what_was_flat_adds_nothing(home: Path) -> None:
    """Verified by the kill."""
    session(home, fill(Side.BUY), said(KillState.LOCKED, 1))
    assert tradealgo("stop", "old").stdout == "old: it has ended already\n"


@pytest.mark.parametrize(
    ("words", "action"),
    [
        (("kill", "--halt-only", "old"), "HALT"),
        (("rearm", "old", "--reason", "x"), "REARM"),
        (("rearm", "old", "--reason", "x", "--settle", "T1"), "SETTLE"),
    ],
)
def test_what_needs_a_running_session_says_so(home: Path, words: tuple[str, ...], action: str) -> None:
    """One sentence, without a socket's path."""
    session(home)
    done = tradealgo(*words)
    assert (done.exit_code, done.stderr) == (1, f"tradealgo: session old has ended: {action} needs one that runs\n")


def test_a_kill_that_takes_longer_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]) -> None:
    """Whoever waits no longer, by Ctrl-C or the time-out, hasn't stopped it, and is told so."""
    session(home, said(KillState.FLATTENING))
    monkeypatch.setattr(supervisor, "is_running", lambda _: True)
    done = tradealgo("kill", "old", "--timeout", "0")
    assert "VERIFIED_FLAT did not come within 0 s" in done.stderr
    assert done.stderr.endswith("; the kill goes on: see `tradealgo status old`\n")


def test_what_the_system_refuses_is_a_sentence(home: Path) -> None:
    """A file in the place of the folder of sessions: no traceback."""
    (home / "sessions").write_text("")
    done = tradealgo("launch", "EmaCross", "NSE:INFY", "--day", "2026-11-20")
    assert done.exit_code == 1
    assert re.fullmatch(r"tradealgo: \[Errno \d+\] .*sessions.*\n", done.stderr), done.stderr


def test_the_command_line_advises_commands(home: Path) -> None:
    """Where a notebook is told to call launch() or attach(…)."""
    assert tradealgo("attach").stderr.endswith(f"none was ever launched in {home}; `tradealgo launch` starts one\n")
    assert for_a_terminal("watch it with attach('a-1'), end it with attach('a-1').stop(), or …") == (
        "watch it with `tradealgo attach a-1`, end it with `tradealgo stop a-1`, or …"
    )
    session(home)
    assert tradealgo("attach").stderr == "tradealgo: no session is running: past sessions are old\n"
    assert tradealgo("attach", "new").stderr == "tradealgo: there is no session 'new': there are old\n"


def test_a_manifest_that_cannot_be_read_hides_no_session(home: Path) -> None:
    """One of another version, or cut short: a line for it, and the others as ever."""
    session(home, mode=Mode.PAPER)
    other = SessionDir(home / "sessions" / "broken")
    other.path.mkdir()
    other.manifest.write_bytes(b"")
    done = tradealgo("status", "--all", "--json")
    assert (done.exit_code, [row["session_id"] for row in json.loads(done.stdout)]) == (0, ["old"])
    assert f"{other.manifest} is not a manifest of this version" in done.stderr


def test_a_journal_that_cannot_be_read_keeps_no_kill_back(home: Path, started: list[str]) -> None:
    """It is asked for all the same; a stop says that nobody knows."""
    folder = session(home)
    folder.journal.write_bytes(b"not a database" * 100)
    assert "old: kill asked (flag)" in tradealgo("kill", "old", "--timeout", "0").stdout
    assert len(started) == 1
    assert "what it holds isn't known, as its journal can't be read" in tradealgo("stop", "old").stdout


def test_a_record_that_cannot_be_read_holds_up_nothing(home: Path) -> None:
    """Damaged, or on a database that is away: a line of it, the list as ever, and a stop says what is still held."""
    folder = session(home, fill(Side.BUY))
    folder.record.write_bytes(b"not a database" * 100)
    done = tradealgo("status", "--all", "--json")
    assert (done.exit_code, [row["session_id"] for row in json.loads(done.stdout)]) == (0, ["old"])
    assert "session old: its record can't be read (file is not a database)" in done.stderr
    done = tradealgo("stop", "old")
    assert "it holds +75 NSE:INFY, still open at the broker" in done.stdout
