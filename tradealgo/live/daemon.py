"""supervisord as a session runs it: on a full disk it goes on.

Where it can't write to a module's log it prints the error, to a file on the same disk, which would be its end: its
modules would trade on with nobody to start them again.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TextIO


class Unfailing(io.TextIOBase):
    """A stream whose writes may come to nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


def main() -> None:
    """Run supervisord by the arguments that follow its name."""
    from supervisor import supervisord

    sys.stdout, sys.stderr = Unfailing(sys.stdout), Unfailing(sys.stderr)
    supervisord.main(sys.argv[2:])
