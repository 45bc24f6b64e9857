"""`tradealgo launch --foreground`: for a container or a service manager, which watch one process: its end is the session's."""

from __future__ import annotations

import signal
import sys
import threading

from tradealgo.live.session import UNSUPERVISED, LiveSession
from tradealgo.live.supervisor import is_supervised


def told_to_end() -> threading.Event:
    """Set by SIGTERM or Ctrl-C. From before the session is told of: whoever hears of it may end it at once."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    return told


def stay(session: LiveSession, told: threading.Event) -> bool:
    """Until the session has ended (False) or somebody says that it should (True).

    While modules trade on without a supervisor they need this process too: people are told, and it stays.
    """
    is_known = False
    while (supervised := is_supervised(session.folder)) or session.is_running:
        if not supervised and not is_known:
            is_known = True
            _tell(session)
        if told.wait(1.0):
            return True
    return False


def _tell(session: LiveSession) -> None:
    from tradealgo.monitor.shell import tell

    text = f"{session.id} runs, but {UNSUPERVISED}: kill it, then stop it"
    print(text, file=sys.stderr, flush=True)
    tell(f"CRITICAL · {session.manifest.mode} {session.manifest.account} · launch", text)
