"""The Recorder's loop: streams to rows, in batches, each entry once.

It reads on from the last row of each stream, so a crash loses nothing that is still on the bus, and an entry read
twice is one row. Nothing else waits for it.
"""

from __future__ import annotations

import asyncio

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Entry
from tradealgo.journal.store import Record, database_url
from tradealgo.process import Process

BLOCK_MS = 500
#: Entries a stream in one read. At a stop it reads until there are none.
BATCH = 500
#: A pause that lets entries gather: one transaction costs as much for one row as for a hundred.
GATHER_S = 0.1


async def record(process: Process) -> None:
    """Run until cancelled; then write what is left on the bus. Blocking database calls are in a thread."""
    store = await asyncio.to_thread(Record, database_url(process.folder))
    session_id = process.manifest.session_id
    cursors = await asyncio.to_thread(store.cursors, session_id)
    naming = asyncio.ensure_future(_save_session(process, store))
    written = 0
    await process.say("READY")
    try:
        while True:
            entries = await process.bus.read(cursors, block_ms=BLOCK_MS, count=BATCH)
            written += await _write(store, session_id, cursors, entries)
            process.figures["rows"] = written
            if naming.done():
                naming.result()  # raises what it raised
            await asyncio.sleep(GATHER_S)
    finally:
        naming.cancel()
        while entries := await process.bus.read(cursors, count=BATCH):
            await _write(store, session_id, cursors, entries)
        store.close()


async def _write(store: Record, session_id: str, cursors: dict[Stream, bytes], entries: list[Entry]) -> int:
    if entries:
        await asyncio.to_thread(store.save, session_id, entries)
        cursors.update({e.stream: e.id for e in entries})
    return len(entries)


async def _save_session(process: Process, store: Record) -> None:
    book = await process.instruments()
    await asyncio.to_thread(store.save_session, process.manifest, list(book))
