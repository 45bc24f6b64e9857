"""The write-ahead journal: append-only, hash-chained, durable before anything leaves. One SQLite file a session.

A row's hash is SHA-256 of the previous row's hash, the wall time, the kind and the payload, so that a row that was
changed, dropped or put in later shows. Payloads are msgpack of the messages (JSON has no NaN, and bad requests are kept
as they came).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tradealgo.domain.errors import TradeAlgoError
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import Fill, Order, OrderRequest, Verdict
from tradealgo.domain.state import Alert, SessionState
from tradealgo.gatekeeper.messages import (
    AnswerRecord,
    CallRecord,
    ControlRecord,
    Kind,
    Note,
    Override,
    RearmRecord,
    Record,
)

TYPES: dict[Kind, Any] = {
    Kind.VERDICT: Verdict,
    Kind.ORDER: Order,
    Kind.FILL: Fill,
    Kind.STATE: SessionState,
    Kind.ALERT: Alert,
    Kind.REQUEST: OrderRequest,
    Kind.CALL: CallRecord,
    Kind.ANSWER: AnswerRecord,
    Kind.CONTROL: ControlRecord,
    Kind.OVERRIDE: Override,
    Kind.REARM: RearmRecord,
    Kind.NOTE: Note,
    Kind.INSTRUMENTS: list[Instrument],
}

_SCHEMA = """
CREATE {}TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY, ts INTEGER NOT NULL, kind TEXT NOT NULL, payload BLOB NOT NULL, hash BLOB NOT NULL
)
"""
_FIRST = b"\0" * 32
#: Bytes of the write-ahead log when SQLite, by default, moves it into the file and begins it anew: 1,000 pages.
ROOM = 4_096_000


class JournalError(TradeAlgoError):
    """The file is no journal, or its hash chain doesn't hold: something else than the Gatekeeper has changed it."""


class Row(NamedTuple):
    """One record as read back. `ts` is the wall clock when it was written (UTC ns)."""

    seq: int
    ts: int
    kind: Kind
    message: Any


def chained(previous: bytes, ts: int, kind: str, payload: bytes) -> bytes:
    """The hash of a row that follows one whose hash is `previous`."""
    return hashlib.sha256(previous + ts.to_bytes(8, "big") + kind.encode() + b"\0" + payload).digest()


class Journal:
    """Opens the file, making it if need be. Not safe for two threads at once; the caller sees to that."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        # FULL: a commit is on the disk when it returns, power cut or not; half a millisecond on an SSD
        self._db.execute("PRAGMA synchronous=FULL")
        if not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            self._make_room()
        self._db.execute(_SCHEMA.format(""))
        last = self._db.execute("SELECT seq, hash, ts FROM records ORDER BY seq DESC LIMIT 1").fetchone()
        self.seq: int = last[0] if last else 0
        self._hash: bytes = last[1] if last else _FIRST
        self.last_ts: int = last[2] if last else 0  # when the last record was written
        self._encoder = msgspec.msgpack.Encoder()

    def _make_room(self) -> None:
        """Write the new file's log once at the length at which it is begun anew: a commit that makes a file longer waits
        for the file system's own journal too, which takes half as long again.
        """
        self._db.execute("CREATE TABLE room (zeros BLOB)")
        self._db.execute("INSERT INTO room VALUES (zeroblob(?))", (ROOM,))
        self._db.execute("DROP TABLE room")
        self._db.execute("VACUUM")  # pages that are free for use again would cost a commit one more to write
        self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def append(self, records: Sequence[Record], ts: int) -> int:
        """Write all in one commit; returns the first one's sequence number. Durable when it returns."""
        rows, first, tip = [], self.seq + 1, self._hash
        for number, record in enumerate(records, first):
            payload = self._encoder.encode(record.message)
            tip = chained(tip, ts, record.kind, payload)
            rows.append((number, ts, record.kind.value, payload, tip))
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self.seq, self._hash, self.last_ts = first + len(rows) - 1, tip, ts
        return first

    def close(self) -> None:
        self._db.close()

    def rows(self, after: int = 0, kinds: Sequence[Kind] = ()) -> Iterator[Row]:
        """Records later than `after`, of these kinds (all if none), in order."""
        yield from read(self._db, after, kinds)


def read(db: sqlite3.Connection, after: int = 0, kinds: Sequence[Kind] = ()) -> Iterator[Row]:
    """Records of an open journal, in order. Kinds that this version doesn't know are left out. Raises JournalError."""
    decoders = {kind: msgspec.msgpack.Decoder(type_) for kind, type_ in TYPES.items()}
    wanted = set(kinds or Kind)
    for seq, ts, kind, payload in db.execute(
        "SELECT seq, ts, kind, payload FROM records WHERE seq > ? ORDER BY seq", (after,)
    ):
        if kind in wanted:
            try:
                message = decoders[Kind(kind)].decode(payload)
            except ValueError as error:
                raise JournalError(f"record {seq} of the journal, a {kind}, can't be read: {error}") from error
            yield Row(seq, ts, Kind(kind), message)


def open_readonly(path: Path | str) -> sqlite3.Connection:
    """A journal that somebody else writes; empty where its writer has only just begun, or died so early.

    Raises JournalError for a database of anything else.
    """
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "records" not in tables and tables - {"room"}:  # a backup tool may keep tables of its own beside ours
        db.close()
        raise JournalError(f"{path} has the tables {', '.join(sorted(tables))}: it is no journal of a session")
    if "records" not in tables:
        db.execute(_SCHEMA.format("TEMPORARY "))
    return db


def verify(path: Path | str) -> int:
    """Check the whole chain; returns the number of records. Raises JournalError with the first bad record."""
    db = open_readonly(path)
    tip, count = _FIRST, 0
    try:
        for seq, ts, kind, payload, digest in db.execute(
            "SELECT seq, ts, kind, payload, hash FROM records ORDER BY seq"
        ):
            count += 1
            tip = chained(tip, ts, kind, payload)
            if seq != count or digest != tip:
                raise JournalError(
                    f"record {seq} of {path} is not what the Gatekeeper wrote: its place or its hash is wrong"
                )
    finally:
        db.close()
    return count
