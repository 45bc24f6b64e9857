"""What people ask of a running session goes this way: notebook, desk, panel and CLI alike. Blocking, and quick.

A kill takes two ways at once: a flag file that outlives everything, with a signal to the Gatekeeper, and the control
stream. Either is enough; the answer says which were reached. A process of its own watches that the Gatekeeper gets on
with it, and finishes the kill where it doesn't.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import redis

from tradealgo.bus.redis_bus import BlockingBus, connect_blocking
from tradealgo.config import SessionDir
from tradealgo.domain.errors import BadConfig, BusUnavailable
from tradealgo.domain.state import Action, Control, Module
from tradealgo.running import account_is_gone

BUS_TIMEOUT_S = 1.0


def request(folder: SessionDir, control: Control) -> dict[str, Any]:
    """Ask it, and say what was reached: `{"action", "flag", "bus", "signalled"}`, of a kill also `"watched"`.

    "Reached" is not "done": the session's own state says what became of it.
    Raises BadConfig for a re-arm without a reason, BusUnavailable where nothing was reached.
    """
    if control.action is Action.REARM and not control.reason.strip():
        raise BadConfig("a re-arm needs a reason: say what was found, and why trading is safe again")
    if not control.ts:
        control = msgspec.structs.replace(control, ts=time.time_ns())
    control = control.cleaned()
    reached: dict[str, Any] = {"action": control.action.value, "flag": False, "bus": False, "signalled": 0}
    if control.action is Action.KILL:
        reached["flag"] = _flagged(folder, control)
        reached["signalled"] = _signal_gatekeeper(folder)
        reached["watched"] = reached["flag"] and _start_emergency(folder)
    error = _publish(folder, control)
    reached["bus"] = error is None
    if error is not None and not reached["flag"]:
        raise BusUnavailable(f"{control.action} did not reach session {folder.path.name}: {error}; {_mend(control)}")
    return reached


def _mend(control: Control) -> str:
    if control.action is Action.KILL:
        return "nor could its flag file be written: close what is open on the broker's own terminal"
    return "is it running?"


def _flagged(folder: SessionDir, control: Control) -> bool:
    """Whether the flag file is in place. A full disk has room for its name where it has none for its words; where it has
    not even that, it mustn't keep the kill from the stream.
    """
    try:
        write_flag(folder.kill_flag, control)
    except OSError:
        with contextlib.suppress(OSError):
            folder.kill_flag.touch()
        return folder.kill_flag.exists()
    return True


def write_flag(path: Path, control: Control) -> None:
    """Put the kill's flag file in place, all of it or nothing, on the disk before this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with open(temporary, "w") as file:
            json.dump({"source": control.source, "reason": control.reason, "ts": control.ts}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _publish(folder: SessionDir, control: Control) -> str | None:
    """Put it on the control stream; what went wrong, or None."""
    manifest = folder.read_manifest()
    try:
        client = connect_blocking(
            manifest.resolved_bus_url(), socket_timeout=BUS_TIMEOUT_S, socket_connect_timeout=BUS_TIMEOUT_S
        )
        with contextlib.closing(BlockingBus(client, manifest.session_id)) as bus:
            bus.control(control)
    except (redis.RedisError, BadConfig) as error:
        return f"the bus can't be reached ({error})"
    return None


def _start_emergency(folder: SessionDir) -> bool:
    """Start the process that takes the kill over from a Gatekeeper that doesn't answer; whether there was need to.

    A paper account ends with its exchange; a live session may have positions after a power cut.
    """
    if account_is_gone(folder):
        return False
    try:
        folder.logs.mkdir(parents=True, exist_ok=True)
        with open(folder.logs / "emergency.log", "ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "tradealgo.gatekeeper.emergency", "--session-dir", str(folder.path), "--flagged"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=folder.path,
            )  # fmt: skip
    except OSError:
        return False
    return True


def _signal_gatekeeper(folder: SessionDir) -> int:
    """Wake the Gatekeeper to look at the flag; its pid, 0 if it isn't there to be woken (it polls the flag anyway)."""
    try:
        pid = int((folder.pids / f"{Module.GATEKEEPER.value}.pid").read_text())
        if not _is_gatekeeper(pid, folder):
            return 0
        os.kill(pid, signal.SIGUSR1)
    except (OSError, ValueError):
        return 0
    return pid


def _is_gatekeeper(pid: int, folder: SessionDir) -> bool:
    """Whether the process of that number is this session's Gatekeeper: numbers are used again."""
    if sys.platform == "linux":
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    else:
        command = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True).stdout
    return "tradealgo.gatekeeper" in command and str(folder.path) in command
