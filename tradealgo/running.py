"""What of a session runs: its processes, found by their command lines, and the exchange that a paper account lives in."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tradealgo.config import Mode, SessionDir

#: The package that sees a kill through where the Gatekeeper doesn't.
EMERGENCY = "tradealgo.gatekeeper.emergency"


def processes(folder: SessionDir) -> list[Any]:
    """This user's processes (psutil) whose command line names the session's folder or its sockets, but `emergencies`."""
    return [p for p in _processes(folder) if EMERGENCY not in p.info["cmdline"]]


def emergencies(folder: SessionDir) -> list[Any]:
    """The processes (psutil) that watch over a kill of the session, and finish it if need be."""
    return [p for p in _processes(folder) if EMERGENCY in p.info["cmdline"]]


def alive(folders: Iterable[SessionDir]) -> list[SessionDir]:
    """Those of which a process runs, but `emergencies`: one look at the processes for all."""
    commands = [c for p in _own_processes() if EMERGENCY not in (c := p.info["cmdline"])]
    found = []
    for folder in folders:
        marks = _marks(folder)
        if any(_belongs(command, marks) for command in commands):
            found.append(folder)
    return found


def has_ended(folder: SessionDir) -> bool:
    """Whether nothing of a session is left: no process of its own, nor the exchange that a paper account lives in.

    While a session's exchange is being started again its supervisor is there. From another container with the same home
    only its socket is to be seen.
    """
    manifest = folder.read_manifest()
    if manifest.mode is Mode.PAPER and _listens(manifest.rest_url):
        return False
    return not processes(folder) and not _takes_calls(folder.supervisor_socket)


def account_is_gone(folder: SessionDir) -> bool:
    """Whether a paper session has ended, and its account with its exchange. False where that can't be found out: a kill
    waits for no look that fails.
    """
    with contextlib.suppress(Exception):
        return folder.read_manifest().mode is Mode.PAPER and has_ended(folder)
    return False


def _listens(url: str) -> bool:
    """Whether anything listens at an address with a port, as a paper exchange has one."""
    where = urllib.parse.urlsplit(url)
    if where.hostname is None or where.port is None:
        return False
    try:
        socket.create_connection((where.hostname, where.port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _takes_calls(path: Path) -> bool:
    """Whether anything listens on a unix socket."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as wire:
        wire.settimeout(1.0)
        try:
            wire.connect(str(path))
        except OSError:
            return False
    return True


def _processes(folder: SessionDir) -> list[Any]:
    marks = _marks(folder)
    return [p for p in _own_processes() if _belongs(p.info["cmdline"], marks)]


def _marks(folder: SessionDir) -> tuple[str, str]:
    return str(folder.path), str(folder.sockets_path)  # to look for what is gone makes no folder


def _own_processes() -> list[Any]:
    """This user's, but this one, that may be of a session."""
    import psutil

    return [
        p for p in psutil.process_iter(["cmdline", "uids"])
        if p.pid != os.getpid() and p.info["uids"] and p.info["uids"].real == os.getuid() and _is_ours(p.info["cmdline"])
    ]  # fmt: skip


def _is_ours(command: list[str] | None) -> bool:
    """Whether a command line is a module's, the supervisor's, or the bus server's under its own title."""
    line = " ".join(command or ())
    return "--session-dir" in line or "supervisor.supervisord" in line or "unixsocket" in line


def _belongs(command: list[str], marks: tuple[str, str]) -> bool:
    line = " ".join(command)
    return any(mark in line and re.search(re.escape(mark) + r"(/|\s|$)", line) for mark in marks)
