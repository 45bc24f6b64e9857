"""The Recorder's loop: streams to rows, in batches, each entry once.

It reads on from the last row of each stream, so a crash loses nothing that is still on the bus, and an entry read
twice is one row. Nothing else waits for it. While the database doesn't answer it tells people and tries on; the bus keeps the
entries. An entry that can't be decoded or kept (anybody's notebook may write to
`control`) is counted and left out; the first one is alerted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import sqlalchemy as sa

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Entry
from tradealgo.domain.errors import BadFrame
from tradealgo.domain.state import Level
from tradealgo.journal.store import Record, database_url
from tradealgo.process import Process

BLOCK_MS = 500
#: Entries a stream in one read. At a stop it reads until there are none.
BATCH = 500
#: A pause that lets entries gather: one transaction costs as much for one row as for a hundred.
GATHER_S = 0.1
#: Between two tries of a database that doesn't answer.
RETRY_S = 1.0
#: It is away, starts, or is full or locked.
AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError)

P = ParamSpec("P")
T = TypeVar("T")


async def record(process: Process) -> None:
    """Run until cancelled; then write what is left on the bus. Blocking database calls are in a thread."""
    store = await _answer(process, Record, database_url(process.folder))
    session_id = process.manifest.session_id
    cursors = await _answer(process, store.cursors, session_id)
    naming = asyncio.ensure_future(_save_session(process, store))
    written = left_out = 0
    await process.say("READY")
    try:
        while True:
            entries = await process.bus.read(cursors, block_ms=BLOCK_MS, count=BATCH, keep_bad=True)
            bad = await _answer(process, _write, store, session_id, cursors, entries)
            written += len(entries) - len(bad)
            if bad and not left_out:
                await process.alert(Level.WARNING, "UNREADABLE", f"the record leaves out what can't be kept: {bad[0]}")
            left_out += len(bad)
            process.figures |= {"rows": written, "bad_entries": left_out}
            if naming.done():
                naming.result()  # raises what it raised
            await asyncio.sleep(GATHER_S)
    finally:
        naming.cancel()
        try:
            while entries := await process.bus.read(cursors, count=BATCH, keep_bad=True):
                await asyncio.to_thread(_write, store, session_id, cursors, entries)
        except AWAY as error:  # a stop doesn't wait for it
            process.log.error("the record lacks what came last", error=_reason(error))
        store.close()


async def _answer(process: Process, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a blocking call of the database gives, made again until it answers. People are told at the second refusal: the
    first may be of a connection from before a restart.
    """
    refusals = 0
    while True:
        try:
            found = await asyncio.to_thread(call, *args, **kwargs)
        except AWAY as error:
            refusals += 1
            if refusals == 2:
                text = f"the record's database doesn't answer, {_reason(error)}: nothing is recorded until it does"
                await process.alert(Level.WARNING, "DATABASE", text)
            await asyncio.sleep(RETRY_S)
        else:
            if refusals >= 2:
                await process.alert(Level.WARNING, "DATABASE", "the record's database answers again", resolved=True)
            return found


def _reason(error: Exception) -> str:
    """The database's own words, in a line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def _write(store: Record, session_id: str, cursors: dict[Stream, bytes], entries: list[Entry]) -> list[Exception]:
    """Keep entries and take the cursors behind them. Returns why some couldn't be kept."""
    good = [e for e in entries if not isinstance(e.message, BadFrame)]
    bad: list[Exception] = [e.message for e in entries if isinstance(e.message, BadFrame)]
    if good:
        bad += _save(store, session_id, good)
    cursors.update({e.stream: e.id for e in entries})
    return bad


def _save(store: Record, session_id: str, entries: list[Entry]) -> list[Exception]:
    """In one transaction; where the database refuses a value (a number of more than 64 bits, on PostgreSQL a NUL in a
    text), one by one without those. Returns the refusals."""
    try:
        store.save(session_id, entries)
    except (sa.exc.DataError, OverflowError) as error:
        if len(entries) > 1:
            return [refusal for entry in entries for refusal in _save(store, session_id, [entry])]
        return [BadFrame(f"{entries[0].stream} entry {entries[0].id.decode()}: {error.args[0]}")]
    return []


async def _save_session(process: Process, store: Record) -> None:
    book = await process.instruments()
    await _answer(process, store.save_session, process.manifest, list(book))
