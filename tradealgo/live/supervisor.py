"""supervisord, one for each session: its configuration, its start, and talk with it over its unix socket.

Programs have priorities: supervisord starts the lowest first and, when told to shut down, stops the highest first and
waits for it. So the Recorder outlives all that it records, and the bus outlives everyone.
"""

from __future__ import annotations

import configparser
import contextlib
import http.client
import io
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tradealgo import running
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.errors import BadConfig, SessionNotFound, TradeAlgoError
from tradealgo.domain.state import Module
from tradealgo.exchange import accounts

#: (module, package to run, priority, seconds to stop in). The Recorder's package is `journal`: it is named for what it keeps.
PROGRAMS: tuple[tuple[Module, str, int, int], ...] = (
    (Module.BUS, "tradealgo.bus", 10, 10),
    (Module.RECORDER, "tradealgo.journal", 20, 15),
    (Module.EXCHANGE, "tradealgo.exchange", 30, 5),
    (Module.GATEKEEPER, "tradealgo.gatekeeper", 40, 10),
    (Module.SENTINEL, "tradealgo.sentinel", 50, 5),
    (Module.PRODUCER, "tradealgo.producer", 60, 5),
    (Module.CONSUMER, "tradealgo.consumer", 60, 5),
    (Module.MONITOR, "tradealgo.monitor", 70, 5),
)

#: The login's secrets, which only the Sentinel may see, and only in live mode.
LOGIN_SECRETS = ("KITE_API_SECRET", "KITE_PASSWORD", "KITE_TOTP_SECRET")
#: Secrets, and the one module that each is for.
SECRETS = dict.fromkeys(LOGIN_SECRETS, Module.SENTINEL) | {
    "TRADEALGO_ALERT_URLS": Module.MONITOR,
    "TRADEALGO_TELEGRAM_TOKEN": Module.MONITOR,
    "TRADEALGO_DATABASE_URL": Module.RECORDER,
}
#: Before a module's name: its own REDIS_URL, where the server knows each module by a user of its own (`bus.acl`).
BUS_USERS = "REDIS_URL_"
#: What a notebook's kernel carries that a session has no use for; JPY_ and JUPYTER_ hold the server's token and its pid.
#: Without bytecode each start of a module would compile its packages anew: seconds, of a restart as well.
STRIPPED_PREFIXES = ("JPY_", "JUPYTER_", "COLAB_", "VSCODE_", "PYTHONDONTWRITEBYTECODE")

#: supervisord as it is told to run; its own name follows as an argument, by which it is found.
DAEMON = "from tradealgo.live.daemon import main; main()"

#: The paper exchange is never asked through a proxy of the environment's, whose loopback is another machine's.
LOOPBACK = "127.0.0.1,localhost"

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 45.0


class ProgramState(msgspec.Struct, frozen=True):
    """One program as supervisord sees it. `pid` is 0 and `uptime_s` 0.0 where it isn't running."""

    name: str
    state: str
    pid: int
    uptime_s: float
    text: str


def programs(manifest: Manifest) -> list[tuple[Module, str, int, int]]:
    """The programs of a session: no exchange in live mode, no bus where the environment's REDIS_URL serves."""
    unwanted = {Module.EXCHANGE if manifest.mode is Mode.LIVE else None, None if manifest.bus_url else Module.BUS}
    return [row for row in PROGRAMS if row[0] not in unwanted]


def configuration(folder: SessionDir, manifest: Manifest, python: str = sys.executable) -> str:
    """The text of supervisord's configuration file."""
    config = configparser.RawConfigParser()
    config["unix_http_server"] = {"file": _text(folder.supervisor_socket), "chmod": "0700"}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    config["supervisord"] = {
        "logfile": _text(folder.logs / "supervisord.log"),
        "logfile_maxbytes": "5MB",
        "logfile_backups": "2",
        "pidfile": _text(folder.pids / "supervisord.pid"),
        "nodaemon": "true",
        "directory": _text(folder.path),
    }
    for module, package, priority, stop_s in programs(manifest):
        config[f"program:{module.value}"] = {
            "command": f'"{_text(python)}" -m {package} --session-dir "{_text(folder.path)}"',
            "priority": str(priority),
            "autorestart": "true",
            "startsecs": "1",
            "startretries": "1000",  # crash-only: the wait grows by a second with each failure
            "stopwaitsecs": str(stop_s),
            "stopasgroup": "false",
            "redirect_stderr": "true",
            "stdout_logfile": _text(folder.logs / f"{module.value}.log"),
            "stdout_logfile_maxbytes": "20MB",
            "stdout_logfile_backups": "3",
        }
        config[f"program:{module.value}"]["environment"] = ",".join(
            filter(None, (_secrets(module, manifest), _bus_user(module)))
        )
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def _secrets(module: Module, manifest: Manifest) -> str:
    """A program's own part of the environment: others' secrets are blanked; on paper the login has none to hide."""
    given = {name: "" for name, owner in SECRETS.items() if owner is not module}
    if module is Module.SENTINEL and manifest.mode is not Mode.LIVE:
        paper = (accounts.API_SECRET, accounts.PASSWORD, accounts.TOTP_SECRET)
        given |= {**dict(zip(LOGIN_SECRETS, paper, strict=True)), "KITE_USER_ID": manifest.account}
    return ",".join(f'{name}="{value}"' for name, value in given.items())


def _bus_user(module: Module) -> str:
    """Where the environment has a REDIS_URL_<MODULE>, that is the program's REDIS_URL, and it sees nobody else's.

    supervisord takes the value from its own environment, so that no password is in its file.
    """
    names = sorted(name for name in os.environ if name.startswith(BUS_USERS))
    own = f"{BUS_USERS}{module.value.upper()}"
    mine = [f'REDIS_URL="%(ENV_{own})s"'] if own in names else []
    return ",".join([*mine, *(f'{name}=""' for name in names)])


def _text(path: object) -> str:
    """A path for supervisord's file, in which % begins an expansion."""
    if '"' in str(path) or "\n" in str(path):
        raise BadConfig(f"the path {path} has a quote or a line break in it: set TRADEALGO_HOME to a plainer one")
    return str(path).replace("%", "%%")


def environment(mode: Mode, source: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a session's processes: that of the launcher, without what they mustn't have.

    A paper session gets no broker secret at all, whatever the kernel that launched it holds.
    """
    source = os.environ if source is None else source
    stripped = (*STRIPPED_PREFIXES, "KITE_") if mode is Mode.PAPER else STRIPPED_PREFIXES
    kept = {k: v for k, v in source.items() if not k.startswith(stripped)}
    direct = ",".join(filter(None, (source.get("no_proxy") or source.get("NO_PROXY"), LOOPBACK)))
    return kept | {"PYTHONUNBUFFERED": "1", "no_proxy": direct, "NO_PROXY": direct}


def start(folder: SessionDir, manifest: Manifest) -> int:
    """Write the configuration and start supervisord, detached from this process and its terminal; returns its pid.

    It survives an interrupt, a restart or kill -9 of the kernel, and the Jupyter server's end.
    Raises TradeAlgoError if it doesn't answer within START_TIMEOUT_S; then, and if this is interrupted, nothing of the
    session is left running.
    """
    folder.sockets_parent.write_text(str(folder.sockets.parent))
    folder.pids.mkdir(parents=True, exist_ok=True)
    folder.logs.mkdir(parents=True, exist_ok=True)
    folder.supervisor_config.write_text(configuration(folder, manifest))
    output = folder.logs / "supervisord.out"
    try:
        with open(output, "ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", DAEMON, "supervisor.supervisord", "-c", str(folder.supervisor_config)],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=folder.path,
                start_new_session=True, close_fds=True, env=environment(manifest.mode),
            )  # fmt: skip
        _await_answer(folder, process, output)
    except BaseException:  # Ctrl-C too: it would go on to start its programs, and they would trade
        stop_session(folder)
        raise
    return process.pid


def _await_answer(folder: SessionDir, process: subprocess.Popen[bytes], output: Path) -> None:
    free_of_limits(process.pid)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_running(folder):
        if process.poll() is not None or time.monotonic() > deadline:
            ended = process.poll() is not None
            problem = "did not start" if ended else f"did not answer within {START_TIMEOUT_S:g} s and was ended"
            last = output.read_text(errors="replace").strip().splitlines()[-1:]
            raise TradeAlgoError(f"supervisord {problem}: {''.join(last) or 'it said nothing'}; see {output}")
        time.sleep(0.02)


def free_of_limits(pid: int) -> None:
    """Take a notebook kernel's limits (see `desk.kernel_ext`) off a process that it started, before that starts others."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        resource.prlimit(pid, resource.RLIMIT_DATA, (hard, hard))
        score = Path(f"/proc/{pid}/oom_score_adj")
        if int(score.read_text()) > 0:
            score.write_text("0")


@contextlib.contextmanager
def rpc(folder: SessionDir, timeout_s: float = 5.0) -> Iterator[Any]:
    """supervisord's XML-RPC namespace `supervisor`. Raises SessionNotFound where none listens."""
    transport = _UnixTransport(str(folder.supervisor_socket), timeout_s)
    proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport)
    try:
        yield proxy.supervisor
    except (OSError, http.client.HTTPException) as error:
        raise SessionNotFound(
            f"session {folder.path.name} is not running: nothing answers on its supervisor's socket ({error})"
        ) from None
    finally:
        transport.close()


def is_running(folder: SessionDir) -> bool:
    """Whether the session's supervisord answers; also while it shuts the session down."""
    return folder.has_sockets and _mood(folder) != ""


def is_stopping(folder: SessionDir) -> bool:
    """Whether the session's supervisord answers that it is shutting the session down."""
    return folder.has_sockets and _mood(folder) == "stopping"


def _mood(folder: SessionDir) -> str:
    """What supervisord says of itself: running, stopping; empty where nothing answers."""
    try:
        with rpc(folder) as supervisor:
            supervisor.getSupervisorVersion()
    except SessionNotFound:
        return ""
    except xmlrpc.client.Fault:  # SHUTDOWN_STATE
        return "stopping"
    return "running"


def is_supervised(folder: SessionDir) -> bool:
    """Whether a supervisor starts the session's modules again when they die, even one that doesn't answer from here."""
    return is_running(folder) or any(map(_lives, _supervisors(running.processes(folder))))


def running_sessions(folders: Iterable[SessionDir]) -> list[SessionDir]:
    """Those that run, in their order: their supervisor answers, or processes of theirs are there without it."""
    folders = list(folders)
    alive = running.alive(folders)
    return [f for f in folders if f in alive or is_running(f)]


def states(folder: SessionDir) -> dict[Module, ProgramState]:
    """Each program's state. Raises SessionNotFound."""
    with rpc(folder) as supervisor:
        rows: list[dict[str, Any]] = supervisor.getAllProcessInfo()
    return {Module(r["name"]): _program(r) for r in rows}


def _program(row: dict[str, Any]) -> ProgramState:
    running = row["pid"] != 0
    uptime = float(row["now"] - row["start"]) if running else 0.0
    return ProgramState(row["name"], row["statename"], row["pid"], uptime, row["spawnerr"] or row["description"])


def restart(folder: SessionDir, module: Module) -> None:
    """Stop one program and start it again. Raises SessionNotFound, BadConfig for a program that the session hasn't."""
    with rpc(folder, timeout_s=30) as supervisor:
        try:
            supervisor.stopProcess(module.value, True)
        except xmlrpc.client.Fault as error:
            if "BAD_NAME" in error.faultString:
                raise BadConfig(f"session {folder.path.name} has no program {module.value}") from None
        supervisor.startProcess(module.value, False)


def stop_session(folder: SessionDir, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Stop all of a session's processes, the bus last; positions stay as they are. True if anything was running.

    Processes that outlived their supervisor (it was killed -9) are found by their command line. The emergency process
    of a live session is left alone: it finishes a kill without the others. On paper its exchange ends here.
    """
    import psutil

    paper = _is_paper(folder)
    found = running.processes(folder)
    try:
        with contextlib.suppress(xmlrpc.client.Fault), rpc(folder) as supervisor:  # SHUTDOWN_STATE
            supervisor.shutdown()
    except SessionNotFound:
        _signal_all(_supervisors(found), signal.SIGTERM)  # out of reach from here, or starting: it ends all in order
    deadline = time.monotonic() + timeout_s
    while is_running(folder) or any(map(_lives, _supervisors(found))):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal_all(running.processes(folder) + (running.emergencies(folder) if paper else []), number)
    psutil.wait_procs(found, timeout=2)  # also takes the supervisor's exit status, if this process started it
    shutil.rmtree(folder.sockets_path, ignore_errors=True)
    return bool(found)


def _is_paper(folder: SessionDir) -> bool:
    with contextlib.suppress(TradeAlgoError):
        return folder.read_manifest().mode is Mode.PAPER
    return False


def _supervisors(processes: list[Any]) -> list[Any]:
    return [p for p in processes if "supervisor.supervisord" in p.info["cmdline"]]


def _lives(process: Any) -> bool:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _signal_all(processes: list[Any], number: int) -> None:
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
    psutil.wait_procs(processes, timeout=5)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket, with a time-out: supervisor's own transport has none, and imports half of supervisor."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__()
        self._path, self._timeout_s = path, timeout_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _UnixConnection(self._path, self._timeout_s)
