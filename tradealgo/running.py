"""What of a session runs: its processes, found by their command lines, and the exchange that a paper account lives in."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import urllib.parse
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


def has_ended(folder: SessionDir) -> bool:
    """Whether nothing of a session is left: no process of its own, nor the exchange that a paper account lives in.

    While a session's exchange is being started again its supervisor is there.
    """
    manifest = folder.read_manifest()
    return not (manifest.mode is Mode.PAPER and _listens(manifest.rest_url)) and not processes(folder)


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


def _processes(folder: SessionDir) -> list[Any]:
    import psutil

    marks = (str(folder.path), str(folder.sockets_path))  # to look for what is gone makes no folder
    return [
        p for p in psutil.process_iter(["cmdline", "uids"])
        if p.pid != os.getpid() and p.info["uids"] and p.info["uids"].real == os.getuid()
        and _belongs(p.info["cmdline"] or (), marks)
    ]  # fmt: skip


def _belongs(command: list[str] | tuple[str, ...], marks: tuple[str, str]) -> bool:
    """Whether a command line is one of ours: a module, the supervisor, or the bus server under its own title."""
    line = " ".join(command)
    ours = "--session-dir" in line or "supervisor.supervisord" in line or "unixsocket" in line
    return ours and any(re.search(re.escape(mark) + r"(/|\s|$)", line) for mark in marks)
