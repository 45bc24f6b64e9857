"""The command line: quick, one sentence an error, exit codes, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tradealgo import running
from tradealgo.config import SessionDir
from tradealgo.live import supervisor
from tradealgo.live.manifest import free_port


def environment(home: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("KITE_") and k != "REDIS_URL"}
    return clean | {"TRADEALGO_HOME": str(home)}


def run(home: Path, *words: str, timeout: float = 120, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tradealgo.cli", *words],
        capture_output=True, text=True, timeout=timeout, env=environment(home) | more,
    )  # fmt: skip


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    """`tradealgo --help` imports no numpy, redis or rich: it answers at once, and lists the commands."""
    words = "import sys; sys.argv = ['tradealgo', '--help']\nimport tradealgo.cli as c\n"
    words += "try:\n    c.main()\nfinally:\n    print('HEAVY', sorted({'numpy', 'redis', 'rich', 'pandas'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60).stdout
    assert "HEAVY []" in said
    for name in (
        "doctor",
        "demo",
        "launch",
        "status",
        "attach",
        "kill",
        "rearm",
        "stop",
        "logs",
        "explain",
        "exchange",
        "scheduler",
        "promote",
    ):
        assert f"\n  {name} " in said


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("launch", "Nope", "NSE:INFY"), 2, "no strategy 'Nope' ships with TradeAlgo"),
        (("launch", "EmaCross", "NSE:INFI"), 2, "unknown instrument 'NSE:INFI': did you mean"),
        (("launch", "EmaCross", "NSE:INFY", "--day", "tomorrow"), 2, "write it as 2026-11-23"),
        (("launch", "EmaCross", "NSE:INFY", "--speed", "0"), 2, "market speed 0.0"),
        (("launch", "EmaCross", "NSE:INFY", "-p", "fast=quick"), 2, "EmaCross.fast takes a whole number"),
        (("launch", "EmaCross", "NSE:INFY", "--file", "none.parquet"), 2, "no market file at none.parquet"),
        (("launch", "EmaCross", "NSE:INFY", "--lots", "1", "--units", "2"), 2, "exactly one|needs one positive value"),
        (("launch", "EmaCross", "NSE:INFY", "--mode", "live"), 2, "a live session needs KITE_USER_ID"),
        (("attach",), 1, "no session is running: none was ever launched in "),
        (("kill",), 1, "no session is running"),
        (("logs", "gatekeeper"), 1, "no session is running"),
        (("exchange", "--day", "2026-13-01"), 2, "is not a date"),
        (("exchange", "--day", "2026-11-22"), 2, "the nearest is 2026-11-23"),
        (("launch", "EmaCross", "NSE:INFY", "--day", "0226-11-20"), 2, "is not of this century"),
        (("launch", "EmaCross", "NSE:INFY", "--day", "2026-11-22"), 2, "the nearest is 2026-11-23"),
        (("exchange", "--fault", "nope"), 2, "fault nope: unknown fault 'nope'"),
    ],
)
def test_wrong_input_is_one_sentence_and_an_exit_code(
    tmp_path: Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    """No traceback; 2 for wrong input, 1 for what can't be done; no session's folder is left."""
    done = run(tmp_path, *words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("tradealgo: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert re.search(sentence, done.stderr)
    assert not list(tmp_path.glob("sessions/*"))


def test_a_live_launch_in_the_research_kernel_is_refused(tmp_path: Path) -> None:
    """Whatever its environment holds."""
    done = run(
        tmp_path, "launch", "EmaCross", "NSE:INFY", "--mode", "live", TRADEALGO_MODE="research", KITE_USER_ID="A"
    )
    assert done.returncode == 2
    assert "research kernel" in done.stderr


def test_status_of_nothing(tmp_path: Path) -> None:
    """Words for people, an empty list for programs, and exit code 0."""
    assert run(tmp_path, "status").stdout.strip() == "no session is running (--all shows past ones)"
    assert json.loads(run(tmp_path, "status", "--json").stdout) == []
    assert run(tmp_path, "stop", "--all").stdout.strip() == "no session is running"


def test_doctor_says_what_is_there(tmp_path: Path) -> None:
    """Each finding has a name, a level and a text; the essentials are good where the tests run."""
    found = {f["check"]: f for f in json.loads(run(tmp_path, "doctor", "--json", KITE_USER_ID="A").stdout)}
    for name in ("python", "packages", "supervisor", "bus server", "compiled code", "disk", "sockets", "ports"):
        assert found[name]["level"] == "ok", found[name]
    assert "redis" in found["bus server"]["text"].lower() or "valkey" in found["bus server"]["text"].lower()
    assert found["sessions"]["text"].startswith("none running")
    assert (found["broker"]["level"], found["broker"]["text"][:44]) == (
        "note",
        "KITE_API_KEY, KITE_API_SECRET not set: a liv",
    )


def test_doctor_finds_what_is_wrong(tmp_path: Path) -> None:
    """A home that can't be written is a finding with its mend, and the exit code says so."""
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file" / "home", "doctor")
    assert done.returncode == 1
    assert "set TRADEALGO_HOME to a folder of yours" in done.stdout


def test_doctor_finds_that_compiled_code_has_no_place(tmp_path: Path) -> None:
    """As on a read-only root file system, where no session would get a tick."""
    words = (
        "from numba.core import caching\nfrom tradealgo.live.doctor import _compiled_code\n"
        "for l in caching.CacheImpl._locator_classes: l.from_function = classmethod(lambda *_: None)\n"
        "print(*_compiled_code())\n"
    )
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60)
    assert said.stdout.startswith("bad cannot cache function"), said.stderr
    assert said.stdout.endswith("set NUMBA_CACHE_DIR to a folder that can be written\n")


def test_doctor_names_a_kernel_that_starts_nothing(tmp_path: Path) -> None:
    """One of an install that is gone comes before this one's."""
    folder = tmp_path / "kernels" / "tradealgo-research"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text('{"argv": ["/nowhere/python"], "display_name": "x", "language": "python"}')
    done = run(tmp_path / "home", "doctor", JUPYTER_PATH=str(tmp_path))
    assert done.returncode == 1
    assert f"{folder} starts /nowhere/python, which is not there" in done.stdout


def test_doctor_names_a_server_that_is_too_old(tmp_path: Path) -> None:
    """The first of PATH is taken, and Redis 5 can't trim a stream by time."""
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\necho 'Redis server v=5.0.7 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64'\n")
    server.chmod(0o755)
    done = run(tmp_path / "home", "doctor", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert f"{server} is 5.0.7: a session needs 6.2 or newer" in done.stdout


def test_the_exchange_alone_speaks_kites_protocol(tmp_path: Path) -> None:
    """`tradealgo exchange` answers on loopback, and ends on SIGTERM."""
    port = free_port()
    words = [sys.executable, "-m", "tradealgo.cli", "exchange", "--day", "2026-11-20", "--port", str(port)]
    process = subprocess.Popen([*words, "--instrument", "NSE:INFY"], stdout=subprocess.PIPE, env=environment(tmp_path))
    try:
        assert answer(f"http://127.0.0.1:{port}/_paper/clock")["status"] == "success"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)


def answer(url: str) -> dict[str, object]:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return json.load(reply)
        except OSError:
            assert time.monotonic() < deadline, f"{url} did not answer"
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_foreground_launch_ends_its_session_when_told(tmp_path: Path) -> None:
    """For containers: the command stays, also while the supervisor stands still or is gone, and SIGTERM stops the session whole."""
    words = [
        sys.executable,
        "-m",
        "tradealgo.cli",
        "launch",
        "EmaCross",
        "NSE:INFY",
        "--day",
        "2026-11-20",
        "--foreground",
    ]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=environment(tmp_path), start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert "starting, paper account PAPER1" in process.stdout.readline()
        (folder,) = [SessionDir(p) for p in tmp_path.glob("sessions/*")]
        assert supervisor.is_running(folder)
        again = run(tmp_path, "launch", "EmaCross", "NSE:INFY", "--day", "2026-11-20", "--json")
        assert json.loads(again.stdout) == {"session_id": folder.path.name}
        assert "attached to" in again.stderr
        (daemon,) = [p for p in running.processes(folder) if "supervisor.supervisord" in p.info["cmdline"]]
        daemon.suspend()  # a disk that hangs, say: no answer, which is not its end
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(9)
        daemon.resume()
        daemon.kill()  # its modules trade on, and would end with this command
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(5)
        assert running.processes(folder)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        assert not running.processes(folder)
    finally:
        process.kill()
        for path in tmp_path.glob("sessions/*"):
            supervisor.stop_session(SessionDir(path))
