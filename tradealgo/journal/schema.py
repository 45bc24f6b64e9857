"""The tables: one a stream, its columns made from the message's fields, the stream entry's id as the key.

The same entry written twice is one row, so the Recorder may always read a stretch of a stream again.
"""

from __future__ import annotations

import enum
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from tradealgo.bus.codec import MESSAGE_TYPES
from tradealgo.bus.keys import Stream

#: All streams but the ticks, which are the bulk and belong in files of their own.
RECORDED = tuple(MESSAGE_TYPES)

KEY_COLUMNS = ("session_id", "entry_ms", "entry_seq")

_SQL_TYPES: dict[type, type[sa.types.TypeEngine[Any]]] = {
    bool: sa.Boolean,
    int: sa.BigInteger,
    float: sa.Double,
    str: sa.Text,
    dict: sa.JSON,
}


@functools.cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, tuple[type, bool]]:
    """A message's fields: (the plain type, whether None is allowed)."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        plain = next(o for o in options if o is not types.NoneType)
        found[name] = (typing.get_origin(plain) or plain, types.NoneType in options)
    return found


def _column(name: str, plain: type) -> sa.Column[Any]:
    sql_type = sa.Text if issubclass(plain, enum.Enum) else _SQL_TYPES[plain]
    return sa.Column(name, sql_type())


def _table(metadata: sa.MetaData, stream: Stream) -> sa.Table:
    fields = _hints(MESSAGE_TYPES[stream])
    key: list[sa.Column[Any]] = [
        sa.Column("session_id", sa.Text(), primary_key=True),
        # Redis's entry id is milliseconds and a sequence: two numbers sort as ids do, a text doesn't.
        sa.Column("entry_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("entry_seq", sa.BigInteger(), primary_key=True, autoincrement=False),
    ]
    columns = [_column(n, plain) for n, (plain, _) in fields.items() if n not in KEY_COLUMNS]
    return sa.Table(stream.value, metadata, *key, *columns)


METADATA = sa.MetaData()
#: What the rows are about: the manifest of each session, and its instruments as the broker's dump had them that day.
SESSIONS = sa.Table(
    "sessions", METADATA,
    sa.Column("session_id", sa.Text(), primary_key=True),
    sa.Column("manifest", sa.JSON(), nullable=False),
    sa.Column("instruments", sa.JSON(), nullable=False),
)  # fmt: skip
TABLES: dict[Stream, sa.Table] = {stream: _table(METADATA, stream) for stream in RECORDED}


def split_id(entry_id: bytes) -> tuple[int, int]:
    """A Redis entry id as its two numbers."""
    ms, _, seq = entry_id.partition(b"-")
    return int(ms), int(seq or 0)


def to_row(session_id: str, entry_id: bytes, message: msgspec.Struct) -> dict[str, Any]:
    """A stream entry as a row of its table."""
    ms, seq = split_id(entry_id)
    row = {name: _plain(getattr(message, name)) for name in message.__struct_fields__}
    return row | {"session_id": session_id, "entry_ms": ms, "entry_seq": seq}


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float) and math.isnan(value):
        return None  # SQLite keeps no nan, PostgreSQL's JSON knows none
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def to_message(stream: Stream, row: Mapping[str, Any]) -> Any:
    """The message of a row: what `to_row` was given. A field that the row lacks has its default."""
    kind = MESSAGE_TYPES[stream]
    return kind(**{name: _typed(row[name], *hint) for name, hint in _hints(kind).items() if name in row})


def with_default(table: sa.Table, column: sa.Column[Any]) -> sa.Column[Any]:
    """A column for a table that has rows already: they get the field's default."""
    field = next(f for f in msgspec.structs.fields(MESSAGE_TYPES[Stream(table.name)]) if f.name == column.name)
    default = None if field.default is msgspec.NODEFAULT else _plain(field.default)
    literal = None if default is None else sa.literal(default, column.type)
    return sa.Column(column.name, column.type, server_default=literal)


def _typed(value: Any, plain: type, optional: bool) -> Any:
    if value is None:
        return math.nan if plain is float and not optional else None
    return plain(value) if issubclass(plain, enum.Enum) else value
