"""The bus of running sessions: a thin reader and writer of streams over redis-py (hiredis), async and blocking.

The cores never see it. Every module's shell and every notebook goes through these two classes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import msgspec
import redis
import redis.asyncio

from tradealgo.bus.codec import TICKS_FIELD, TickFrame, decode, encode, encode_ticks, ticks_value
from tradealgo.bus.keys import GATEKEEPER_GROUP, KEEP_S, MAX_ENTRIES, Stream, stream_key
from tradealgo.bus.wires import Wires
from tradealgo.domain.errors import BadFrame

#: Entries onto streams, and perhaps a snapshot: atomic as a MULTI is, for half of the client's work. Keys: the streams, then
#: the snapshot's. Arguments: how many streams; each one's way of trimming and bound; each entry's stream number, field
#: and value; the snapshot.
_ADD_ALL = """
local streams = tonumber(ARGV[1])
for i = 2 + 2 * streams, #ARGV - (#KEYS - streams), 3 do
  local n = tonumber(ARGV[i])
  if ARGV[2 * n] == '' then
    redis.call('XADD', KEYS[n], '*', ARGV[i + 1], ARGV[i + 2])
  else
    redis.call('XADD', KEYS[n], ARGV[2 * n], '~', ARGV[2 * n + 1], '*', ARGV[i + 1], ARGV[i + 2])
  end
end
if #KEYS > streams then
  redis.call('SET', KEYS[#KEYS], ARGV[#ARGV])
end
"""

#: Tick frames handed to the socket together. With 100 ticks each they just fit the buffer that Linux gives a unix socket:
#: more of them would be copied to wait, and the server wait for them.
_AT_ONCE = 12


class Entry(NamedTuple):
    """One message read from a stream. `id` is Redis's entry id, to read on from. Who reads with `keep_bad` gets an entry that
    can't be decoded too, its message the BadFrame: one bad entry mustn't hide all that comes after it."""

    stream: Stream
    id: bytes
    message: Any


class Raw(NamedTuple):
    """One entry as it lies in its stream."""

    stream: Stream
    id: bytes
    fields: dict[bytes, bytes]


def _fields(message: Any) -> dict[bytes, bytes]:
    return encode_ticks(message) if isinstance(message, TickFrame) else encode(message)


def _trimming(stream: Stream) -> tuple[str, int]:
    """How a stream is kept short, in XADD's words: ("", 0) for one that isn't."""
    if stream in KEEP_S:
        return "MINID", int(time.time() * 1_000) - KEEP_S[
            stream
        ] * 1_000  # ids begin with the wall clock's milliseconds
    limit = MAX_ENTRIES[stream]
    return ("MAXLEN", limit) if limit else ("", 0)


def _xadd_arguments(session_id: str, stream: Stream, message: Any) -> tuple[str, Any, dict[str, Any]]:
    way, bound = _trimming(stream)
    options = {way.lower(): bound, "approximate": True} if way else {}
    return stream_key(session_id, stream), _fields(message), options


def _all_arguments(session_id: str, messages: Iterable[tuple[Stream, Any]]) -> tuple[list[str], list[Any]]:
    """Keys and arguments of `_ADD_ALL`, without a snapshot."""
    numbers: dict[Stream, int] = {}
    entries: list[Any] = []
    for stream, message in messages:
        number = numbers.setdefault(stream, len(numbers) + 1)
        for field, value in _fields(message).items():
            entries += (number, field, value)
    trimming = [word for stream in numbers for word in _trimming(stream)]
    return [stream_key(session_id, s) for s in numbers], [len(numbers), *trimming, *entries]


def _packed_ticks(session_id: str, frames: Iterable[TickFrame], now: int) -> list[bytes]:
    """An XADD for each frame, as it goes over the wire; the first one also trims."""
    key = stream_key(session_id, Stream.TICKS).encode()
    way, bound = _trimming(Stream.TICKS)
    lead = _packed(b"XADD", key, way.encode(), b"~", b"%d" % bound, b"*", TICKS_FIELD)
    plain = _packed(b"XADD", key, b"*", TICKS_FIELD)
    packed: list[bytes] = []
    for frame in frames:
        header, ticks = ticks_value(frame, now)
        packed += (lead, b"$%d\r\n" % (len(header) + len(ticks)), header, ticks, b"\r\n")
        lead = plain
    return packed


def _packed(*arguments: bytes) -> bytes:
    """The beginning of a command that has one argument more."""
    words = (b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments)
    return b"*%d\r\n" % (len(arguments) + 1) + b"".join(words)


def _entries(streams: dict[bytes, Stream], reply: Any, *, keep_bad: bool) -> list[Entry]:
    rows = reply.items() if isinstance(reply, dict) else reply or ()
    found: list[Entry] = []
    for key, batches in rows:
        stream = streams[key if isinstance(key, bytes) else key.encode()]
        for batch in batches:
            # redis-py answers [[(id, fields), …]] under RESP3 and [(id, fields), …] under RESP2
            rows_of = batch if isinstance(batch, list) else (batch,)
            found.extend(_stream_entries(stream, rows_of, keep_bad=keep_bad))
    return found


def _raw(streams: dict[bytes, Stream], reply: Any) -> list[Raw]:
    """Of an answer as the server gave it: {key: [[id, [field, value]], …]} under RESP3, [[key, …], …] under RESP2."""
    rows = reply.items() if isinstance(reply, dict) else reply or ()
    return [
        Raw(streams[key], entry_id, dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {})  # {}: it was trimmed
        for key, entries in rows
        for entry_id, flat in entries
    ]


def _stream_entries(stream: Stream, rows: Any, *, keep_bad: bool = False) -> list[Entry]:
    # redis-py's stubs allow str and None everywhere: with decode_responses=False ids, fields and values are bytes
    message_of = _decoded_or_bad if keep_bad else decode
    return [Entry(stream, entry_id, message_of(stream, fields)) for entry_id, fields in rows]


def _decoded_or_bad(stream: Stream, fields: dict[bytes, bytes]) -> Any:
    try:
        return decode(stream, fields)
    except BadFrame as error:
        return error


def connect(url: str, **options: Any) -> redis.asyncio.Redis:
    """An asyncio client for `redis://…`, `rediss://…` or `unix:///path`. Answers are bytes.

    redis-py's own socket time-out sends each command through `asyncio.wait_for`, which costs a task, and which before
    Python 3.12 swallows a cancellation that comes as the send ends: a module would ignore its SIGTERM. A server on
    this machine needs no time-out: where it ends, the socket ends at once.
    """
    if url.startswith("unix:") or sys.version_info < (3, 12):
        options.setdefault("socket_timeout", None)
    return redis.asyncio.Redis.from_url(url, decode_responses=False, **options)


def connect_blocking(url: str, **options: Any) -> redis.Redis:
    """A blocking client for the same URLs."""
    return redis.Redis.from_url(url, decode_responses=False, **options)


class Bus:
    """One session's streams, for the modules (asyncio)."""

    def __init__(self, client: redis.asyncio.Redis, session_id: str) -> None:
        self.client = client
        self.session_id = session_id
        self._wires = Wires(client)
        self._add_all = client.register_script(_ADD_ALL)
        self.read_to: dict[Stream, bytes] = {}  # the last entry read of each stream that is read here

    async def publish(self, stream: Stream, message: msgspec.Struct) -> bytes:
        """Append one message; returns its entry id."""
        key, fields, options = _xadd_arguments(self.session_id, stream, message)
        return cast(bytes, await self.client.xadd(key, fields, **options))

    async def publish_many(
        self, messages: Iterable[tuple[Stream, msgspec.Struct]], *, snapshot: tuple[str, bytes] | None = None
    ) -> None:
        """Append all at once, in order, with a restart snapshot (key, bytes) if given: all of it or nothing."""
        keys, arguments = _all_arguments(self.session_id, messages)
        if snapshot is not None:
            keys.append(snapshot[0])
            arguments.append(snapshot[1])
        if not keys:
            return
        try:
            await self._wires.ask("EVALSHA", self._add_all.sha, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:  # a server that doesn't know it yet: nothing was done
            await self._add_all(keys=keys, args=arguments)

    async def publish_ticks(self, frames: Sequence[TickFrame]) -> None:
        """Append tick frames, stamped with the time, in order. After an error some of them may be there.

        They are sent a few at a time and the answers read at the end: the server takes the first while the rest is packed.
        What redis-py does for a command takes longer than the rest of a frame's way: here its connection takes them packed.
        """
        connection = await self._wires.take()
        try:
            for at in range(0, len(frames), _AT_ONCE):
                some = frames[at : at + _AT_ONCE]
                await connection.send_packed_command(_packed_ticks(self.session_id, some, time.time_ns()))
            for _ in frames:
                await connection.read_response()
        except BaseException:  # answers may be outstanding, which the next command would take for its own
            await connection.disconnect(nowait=True)
            raise
        finally:
            self._wires.give(connection)

    async def read(
        self, after: dict[Stream, bytes], *, block_ms: int | None = None, count: int = 100, keep_bad: bool = False
    ) -> list[Entry]:
        """Entries later than `after` (b"0": from the beginning, b"$": only new ones), in stream order. Waits up to `block_ms`."""
        rows = await self.read_raw(after, block_ms=block_ms, count=count)
        message_of = _decoded_or_bad if keep_bad else decode
        entries = [Entry(stream, entry_id, message_of(stream, fields)) for stream, entry_id, fields in rows]
        self.read_to.update((entry.stream, entry.id) for entry in entries)
        return entries

    async def read_raw(
        self, after: dict[Stream, bytes], *, block_ms: int | None = None, count: int = 100, group: tuple[str, ...] = ()
    ) -> list[Raw]:
        """As `read`, or with a `group` and the name of who reads as `read_group`; nothing is decoded nor noted as read."""
        keys = {stream_key(self.session_id, s).encode(): s for s in after}
        command: list[Any] = ["XREADGROUP", "GROUP", *group] if group else ["XREAD"]
        command += ("COUNT", count) if block_ms is None else ("COUNT", count, "BLOCK", block_ms)
        return _raw(keys, await self._wires.ask(*command, "STREAMS", *keys, *after.values()))

    async def lags(self) -> dict[Stream, float]:
        """Of each stream that is read here: for how many seconds the oldest entry not read yet has been waiting."""
        after = dict(self.read_to)
        pipeline = self.client.pipeline(transaction=False)
        for stream, entry_id in after.items():
            pipeline.xrange(stream_key(self.session_id, stream), b"(" + entry_id, count=1)
        now = time.time()
        return {
            stream: max(0.0, now - int(rows[0][0].partition(b"-")[0]) / 1_000) if rows else 0.0
            for stream, rows in zip(after, await pipeline.execute(), strict=True)
        }

    async def range(
        self,
        stream: Stream,
        start: bytes = b"-",
        end: bytes = b"+",
        count: int | None = None,
        *,
        keep_bad: bool = False,
    ) -> list[Entry]:
        """Entries from `start` to `end` inclusive (prefix an id with b"(" to leave it out)."""
        rows = await self.client.xrange(stream_key(self.session_id, stream), start, end, count)
        return _stream_entries(stream, rows, keep_bad=keep_bad)

    async def last(self, stream: Stream) -> Entry | None:
        """The newest entry."""
        rows = await self.client.xrevrange(stream_key(self.session_id, stream), count=1)
        return next(iter(_stream_entries(stream, rows)), None)

    async def newest(self, stream: Stream, count: int, *, keep_bad: bool = False) -> list[Entry]:
        """The newest entries, oldest of them first."""
        rows = await self.client.xrevrange(stream_key(self.session_id, stream), count=count)
        return _stream_entries(stream, rows, keep_bad=keep_bad)[::-1]

    async def open_group(self, stream: Stream = Stream.REQUESTS, group: str = GATEKEEPER_GROUP) -> None:
        """Make a consumer group that reads from the beginning, if it isn't there."""
        try:
            await self.client.xgroup_create(stream_key(self.session_id, stream), group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def read_group(
        self, consumer: str, *, stream: Stream = Stream.REQUESTS, group: str = GATEKEEPER_GROUP,
        pending: bool = False, block_ms: int | None = None, count: int = 100,
    ) -> list[Entry]:  # fmt: skip
        """New entries of a group, or with `pending` those delivered to `consumer` and never acknowledged."""
        after = {stream: b"0" if pending else b">"}
        rows = await self.read_raw(after, block_ms=block_ms, count=count, group=(group, consumer))
        return [Entry(stream, entry_id, decode(stream, fields)) for _, entry_id, fields in rows]

    async def acknowledge(
        self, ids: Sequence[bytes], *, stream: Stream = Stream.REQUESTS, group: str = GATEKEEPER_GROUP
    ) -> None:
        """Say that these entries are in the journal."""
        if ids:
            await self.client.xack(stream_key(self.session_id, stream), group, *ids)

    async def close(self) -> None:
        await self.client.aclose()


class BlockingBus:
    """One session's streams, for notebooks, the CLI and the Recorder's queries. It can only write to CONTROL."""

    def __init__(self, client: redis.Redis, session_id: str) -> None:
        self.client = client
        self.session_id = session_id

    def control(self, message: msgspec.Struct) -> bytes:
        """Ask something of the Gatekeeper."""
        key, fields, options = _xadd_arguments(self.session_id, Stream.CONTROL, message)
        return cast(bytes, self.client.xadd(key, fields, **options))

    def read(
        self, after: dict[Stream, bytes], *, block_ms: int | None = None, count: int = 1_000, keep_bad: bool = False
    ) -> list[Entry]:
        """As `Bus.read`."""
        keys = {stream_key(self.session_id, s).encode(): s for s in after}
        reply = self.client.xread({k: after[s] for k, s in keys.items()}, count=count, block=block_ms)
        return _entries(keys, reply, keep_bad=keep_bad)

    def range(self, stream: Stream, start: bytes = b"-", end: bytes = b"+", count: int | None = None) -> list[Entry]:
        """As `Bus.range`."""
        rows = self.client.xrange(stream_key(self.session_id, stream), start, end, count)
        return _stream_entries(stream, rows)

    def last(self, stream: Stream) -> Entry | None:
        """As `Bus.last`."""
        rows = self.client.xrevrange(stream_key(self.session_id, stream), count=1)
        return next(iter(_stream_entries(stream, rows)), None)

    def close(self) -> None:
        self.client.close()
