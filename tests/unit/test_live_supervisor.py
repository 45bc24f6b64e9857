"""What supervisord is told: the programs of a session, who gets which secret, what of the kernel stays behind."""

from __future__ import annotations

import configparser
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest
import requests

from tradealgo import running
from tradealgo.config import Manifest, Market, Mode, SessionDir
from tradealgo.domain.errors import BadConfig, SessionNotFound, TradeAlgoError
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Module
from tradealgo.exchange import accounts
from tradealgo.live import supervisor


def manifest(mode: Mode = Mode.PAPER, bus_url: str = "unix:///tmp/x/bus.sock") -> Manifest:
    return Manifest(
        session_id="s", mode=mode, account="PAPER7", strategy="m:C", parameters={}, sizing=Sizing(lots=1),
        instruments=("NSE:INFY",), capital=1e6, market=Market(day="2026-11-20"), bus_url=bus_url,
    )  # fmt: skip


def parsed(folder: Path, **arguments: object) -> configparser.RawConfigParser:
    config = configparser.RawConfigParser()
    config.read_string(supervisor.configuration(SessionDir(folder), manifest(**arguments)))  # type: ignore[arg-type]
    return config


def names(config: configparser.RawConfigParser) -> set[str]:
    return {s.partition(":")[2] for s in config.sections() if s.startswith("program:")}


def test_a_paper_session_has_eight_programs_and_a_live_one_no_exchange(tmp_path: Path) -> None:
    """Nor a bus of its own where REDIS_URL names one."""
    everything = {"bus", "exchange", "sentinel", "producer", "consumer", "gatekeeper", "recorder", "monitor"}
    assert names(parsed(tmp_path)) == everything
    assert names(parsed(tmp_path, mode=Mode.LIVE)) == everything - {"exchange"}
    assert names(parsed(tmp_path, mode=Mode.LIVE, bus_url="")) == everything - {"exchange", "bus"}


def test_who_records_outlives_who_is_recorded_and_the_bus_outlives_all(tmp_path: Path) -> None:
    """supervisord stops the highest priority first."""
    config = parsed(tmp_path)
    priority = {name: int(config[f"program:{name}"]["priority"]) for name in names(config)}
    assert sorted(priority, key=priority.__getitem__)[:2] == ["bus", "recorder"]
    assert priority["gatekeeper"] < min(priority["consumer"], priority["producer"])
    assert priority["exchange"] < priority["gatekeeper"]


def test_the_control_socket_is_this_users_alone(tmp_path: Path) -> None:
    """A unix socket, mode 0700, in a private folder; no TCP port."""
    config = parsed(tmp_path)
    assert config["unix_http_server"]["chmod"] == "0700"
    assert "inet_http_server" not in config
    assert SessionDir(tmp_path).sockets.stat().st_mode & 0o077 == 0


def test_each_secret_reaches_the_one_module_that_it_is_for(tmp_path: Path) -> None:
    """Live: they come by environment, and the others' are blanked; paper: the paper account's own, no secrets."""
    live = parsed(tmp_path, mode=Mode.LIVE)
    for secret, owner in supervisor.SECRETS.items():
        blanked = {n for n in names(live) if f'{secret}=""' in live[f"program:{n}"]["environment"]}
        assert blanked == names(live) - {owner.value}
    paper = parsed(tmp_path)["program:sentinel"]["environment"]
    assert f'KITE_PASSWORD="{accounts.PASSWORD}"' in paper
    assert 'KITE_USER_ID="PAPER7"' in paper


def test_each_program_has_its_own_bus_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment names one for it; the others' are blanked, and no password is in the file."""
    monkeypatch.setenv("REDIS_URL_PRODUCER", "rediss://producer:secret@r/0")
    monkeypatch.setenv("REDIS_URL_GATEKEEPER", "rediss://gatekeeper:hidden@r/0")
    found = parsed(tmp_path)
    blank = 'REDIS_URL_GATEKEEPER="",REDIS_URL_PRODUCER=""'
    producer = found["program:producer"]["environment"]
    assert producer.endswith(f',REDIS_URL="%(ENV_REDIS_URL_PRODUCER)s",{blank}')
    assert found["program:consumer"]["environment"].endswith(f",{blank}")
    assert "REDIS_URL=" not in found["program:consumer"]["environment"]
    text = supervisor.configuration(SessionDir(tmp_path), manifest())
    assert "producer:secret" not in text
    assert "hidden" not in text


def test_a_paper_sessions_environment_has_no_broker_variable_at_all() -> None:
    """Nor, in any mode, what belongs to the Jupyter server and its kernel."""
    source = {"PATH": "/bin", "KITE_API_SECRET": "x", "KITE_ANYTHING": "x", "JPY_API_TOKEN": "x", "JUPYTER_TOKEN": "x",
              "REDIS_URL": "redis://r", "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
    paper = supervisor.environment(Mode.PAPER, source)
    assert set(paper) == {"PATH", "REDIS_URL", "PYTHONUNBUFFERED", "no_proxy", "NO_PROXY"}
    assert set(supervisor.environment(Mode.LIVE, source)) == set(paper) | {"KITE_API_SECRET", "KITE_ANYTHING"}


@pytest.mark.parametrize("given", [{}, {"NO_PROXY": ".example"}, {"no_proxy": ".example", "NO_PROXY": "other"}])
def test_the_paper_exchange_is_asked_past_a_proxy(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a company's network, say, which would look for 127.0.0.1 on its own machine; the person's own exceptions stay."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in supervisor.environment(Mode.PAPER, {"http_proxy": "http://proxy:3128"} | given).items():
        monkeypatch.setenv(name, value)
    assert requests.utils.get_environ_proxies("http://127.0.0.1:20000/api/login") == {}
    assert urllib.request.proxy_bypass("127.0.0.1:20000")
    assert requests.utils.get_environ_proxies("http://elsewhere.net/") == {
        "http": "http://proxy:3128",
        "no": os.environ["no_proxy"],
    }
    assert not given or requests.utils.get_environ_proxies("http://a.example/") == {}


def test_odd_folder_names_survive_and_impossible_ones_are_refused(tmp_path: Path) -> None:
    """% is supervisord's own sign and spaces part words; a quote can't be carried."""
    odd = tmp_path / "50% of a folder"
    odd.mkdir()
    command = parsed(odd)["program:consumer"]["command"]
    assert f'"{tmp_path}/50%% of a folder"' in command
    with pytest.raises(BadConfig, match="has a quote or a line break"):
        supervisor.configuration(SessionDir(tmp_path / 'a"b'), manifest())


def test_one_folders_processes_are_not_anothers() -> None:
    """Marks match whole paths: a session isn't the one whose name it begins with."""
    marks = ("/srv/s/a1", "/tmp/t-1")
    assert running._belongs(["py", "-m", "tradealgo.consumer", "--session-dir", "/srv/s/a1"], marks)
    assert running._belongs(["py", "-m", "supervisor.supervisord", "-c", "/srv/s/a1/supervisord.conf"], marks)
    assert running._belongs(["redis-server unixsocket:/tmp/t-1/bus.sock"], marks)
    assert not running._belongs(["py", "-m", "tradealgo.consumer", "--session-dir", "/srv/s/a12"], marks)
    assert running._is_ours(["py", "-m", "tradealgo.consumer", "--session-dir", "/srv/s/a1"])
    assert not running._is_ours(["vim", "/srv/s/a1/manifest.json"])


@pytest.mark.parametrize("mode", list(Mode))
def test_a_stop_leaves_a_live_sessions_emergency_alone(tmp_path: Path, mode: Mode) -> None:
    """It finishes the kill that it watches over; on paper, whose exchange is gone then, it ends with the rest."""
    folder = SessionDir(tmp_path)
    folder.write_manifest(manifest(mode))
    words = ("--session-dir", str(tmp_path))
    sleeper = (sys.executable, "-c", "import time; time.sleep(60)")
    emergency = subprocess.Popen([*sleeper, "tradealgo.gatekeeper.emergency", *words])
    module = subprocess.Popen([*sleeper, "tradealgo.consumer", *words])
    try:
        assert [p.pid for p in running.processes(folder)] == [module.pid]
        assert [p.pid for p in running.emergencies(folder)] == [emergency.pid]
        assert supervisor.stop_session(folder)
        assert module.poll() is not None
        assert (emergency.poll() is None) == (mode is Mode.LIVE)
    finally:
        for process in (emergency, module):
            process.kill()
            process.wait()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("began", [False, True])
def test_a_supervisor_that_does_not_answer_in_time_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began: bool
) -> None:
    """Whether it has begun with its programs or not: what launch() says didn't start mustn't trade."""
    folder = SessionDir(tmp_path)
    folder.write_manifest(manifest())
    monkeypatch.setattr(supervisor, "PROGRAMS", ((Module.BUS, "tradealgo.bus", 10, 10),))
    monkeypatch.setattr(supervisor, "START_TIMEOUT_S", 0.0)

    monkeypatch.setattr(supervisor, "is_running", lambda _: False)

    def after_start(_: int) -> None:
        deadline = time.monotonic() + 60
        while began and len(running.processes(folder)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    monkeypatch.setattr(supervisor, "free_of_limits", after_start)
    with pytest.raises(TradeAlgoError, match="supervisord did not answer within 0 s and was ended"):
        supervisor.start(folder, manifest())
    assert not running.processes(folder)
    assert not folder.has_sockets


@pytest.mark.timeout(120)
def test_an_interrupted_launch_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, or an interrupted cell: whoever hears "Aborted!" must not have a session that trades."""
    folder = SessionDir(tmp_path)
    folder.write_manifest(manifest())
    monkeypatch.setattr(supervisor, "PROGRAMS", ((Module.BUS, "tradealgo.bus", 10, 10),))

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(supervisor, "free_of_limits", interrupt)
    with pytest.raises(KeyboardInterrupt):
        supervisor.start(folder, manifest())
    assert not running.processes(folder)
    assert not folder.has_sockets


def test_another_tmpdir_finds_the_sockets_of_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their place is written down when a session starts; one that was never started looks below its own TMPDIR."""
    folder = SessionDir(tmp_path / "s")
    folder.path.mkdir()
    for name in ("launch", "ssh"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "launch"))
    folder.sockets_parent.write_text(str(folder.sockets.parent))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "ssh"))
    assert folder.sockets_path.parent == tmp_path / "launch"
    assert folder.has_sockets
    assert SessionDir(tmp_path / "other").sockets_path.parent == tmp_path / "ssh"


def test_no_session_is_a_sentence_and_leaves_no_folder(tmp_path: Path) -> None:
    """Asking for a past session's state makes nothing."""
    folder = SessionDir(tmp_path)
    assert not supervisor.is_running(folder)
    assert not folder.has_sockets
    with pytest.raises(SessionNotFound, match="is not running: nothing answers on its supervisor's socket"):
        supervisor.states(folder)
    assert supervisor.stop_session(folder) is False


def test_a_module_outlives_the_reader_of_its_log() -> None:
    """supervisord reads it: killed alone, it takes the pipe along, and what trades must go on."""
    read, write = os.pipe()
    os.close(read)
    text = (
        "from tradealgo.process import Log\nlog = Log()\n[log.info('tick', n=n) for n in range(3)]\nprint('works on')"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=write, text=True) as process:
        os.close(write)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "works on\n")


@pytest.mark.timeout(120)
def test_a_full_disk_does_not_end_the_supervisor(tmp_path: Path) -> None:
    """Neither a module's log nor its own output takes another byte, and it starts the module again all the same."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\nos.close(os.open(f'{sys.argv[1]}/ran-{os.getpid()}', os.O_CREAT))\nprint('x' * 3_000)\n"
    )
    config = tmp_path / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={tmp_path}/own.log\npidfile={tmp_path}/pid\n"
        f"[program:module]\ncommand={sys.executable} {program} {tmp_path}\nautorestart=true\nstartsecs=0\n"
        f"redirect_stderr=true\nstdout_logfile={tmp_path}/module.log\n"
    )
    words = [sys.executable, "-c", supervisor.DAEMON, "supervisor.supervisord", "-c", str(config)]
    with open(tmp_path / "out", "ab") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=output, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_096,) * 2)
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 100
        while len(list(tmp_path.glob("ran-*"))) < 12:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert {(tmp_path / name).stat().st_size for name in ("module.log", "out")} == {4_096}
    finally:
        process.terminate()
        process.wait(30)
