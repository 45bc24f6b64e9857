"""What the exchange remembers over a kill -9: an append-only log of JSON lines, and the clock's position beside it.

A line is written to the file before the answer that acknowledges it is sent. There is no fsync: that guards against
a machine's death, and the session's other state would be gone with it too.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tradealgo.exchange.accounts import Login
from tradealgo.exchange.gtt import Gtt
from tradealgo.exchange.orders import BookOrder, Conversion, Execution

_CLOCK = struct.Struct("<q?")  # position in UTC nanoseconds, whether the opening bell has rung


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the log: exactly one field is set."""

    order: BookOrder | None = None
    execution: Execution | None = None
    login: Login | None = None
    conversion: Conversion | None = None
    gtt: Gtt | None = None


class Store:
    """The log and the clock file of one exchange. Without a folder it remembers nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._log = self._clock = -1
        self._encoder = msgspec.json.Encoder()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._log = os.open(folder / "log.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._clock = os.open(folder / "clock", os.O_RDWR | os.O_CREAT, 0o600)

    def load(self) -> list[Entry]:
        """All whole lines, oldest first; a line that a kill cut short was never acknowledged, and is cut off."""
        if self._log < 0:
            return []
        data = b"".join(iter(lambda: os.read(self._log, 1 << 20), b""))
        whole = data.rfind(b"\n") + 1
        os.ftruncate(self._log, whole)
        decoder = msgspec.json.Decoder(Entry)
        return [decoder.decode(line) for line in data[:whole].splitlines()]

    def append(self, entries: Iterable[Entry]) -> None:
        """Write these lines, all in one call of the system."""
        if self._log >= 0:
            lines = b"".join(self._encoder.encode(e) + b"\n" for e in entries)
            if lines:
                os.write(self._log, lines)

    def load_clock(self) -> tuple[int, bool] | None:
        """Where the data clock stood, and whether it ran; None on a first start."""
        data = os.pread(self._clock, _CLOCK.size, 0) if self._clock >= 0 else b""
        return _CLOCK.unpack(data) if len(data) == _CLOCK.size else None

    def save_clock(self, position: int, started: bool) -> None:
        if self._clock >= 0:
            os.pwrite(self._clock, _CLOCK.pack(position, started), 0)

    def close(self) -> None:
        for number in (self._log, self._clock):
            if number >= 0:
                os.close(number)
        self._log = self._clock = -1
