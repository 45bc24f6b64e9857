"""The record's database: SQLite in the session's folder, or what TRADEALGO_DATABASE_URL names (PostgreSQL, TimescaleDB)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Entry
from tradealgo.config import Manifest, SessionDir
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.instruments import Instrument
from tradealgo.journal.schema import KEY_COLUMNS, METADATA, RECORDED, SESSIONS, TABLES, to_message, to_row, with_default


def database_url(folder: SessionDir) -> sa.URL:
    """Where the session's rows are. Raises BadConfig."""
    text = os.environ.get("TRADEALGO_DATABASE_URL", "")
    if not text:
        return sa.URL.create("sqlite", database=str(folder.record))
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise BadConfig(
            "TRADEALGO_DATABASE_URL is no database URL: expected postgresql://user:password@host/name or sqlite:///file"
        ) from None
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


class Record:
    """Rows of sessions: written in batches by the Recorder, read by everyone (blocking; run it in a thread).

    Args:
        url: of the database; tables are made if missing, unless `read_only`.
    """

    def __init__(self, url: sa.URL, *, read_only: bool = False) -> None:
        self._engine = sa.create_engine(url)
        self._insert = postgresql.insert if url.get_backend_name() == "postgresql" else sqlite.insert
        if read_only:
            return
        METADATA.create_all(self._engine)
        self._add_columns()
        if url.get_backend_name() == "postgresql":
            self._make_hypertables()
        elif url.get_backend_name() == "sqlite":
            with self._engine.begin() as connection:
                connection.exec_driver_sql(
                    "PRAGMA journal_mode=WAL"
                )  # readers and the writer don't wait for each other

    def _add_columns(self) -> None:
        """Tables that an older release made get the fields which messages have since."""
        with self._engine.begin() as connection:
            for table in TABLES.values():
                for column in self._missing(connection, table):
                    definition = sa.schema.CreateColumn(with_default(table, column)).compile(
                        dialect=self._engine.dialect
                    )
                    connection.exec_driver_sql(f'alter table "{table.name}" add column {definition}')

    def _missing(self, connection: sa.Connection, table: sa.Table) -> list[sa.Column[Any]]:
        """Columns that a table in the database doesn't have."""
        there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        return [column for column in table.columns if column.name not in there]

    def _make_hypertables(self) -> None:
        """With TimescaleDB in the database, one chunk a day."""
        with self._engine.begin() as connection:
            if not connection.scalar(sa.text("select 1 from pg_extension where extname = 'timescaledb'")):
                return
            for table in TABLES.values():
                connection.execute(
                    sa.text(
                        "select create_hypertable(:name, 'entry_ms', chunk_time_interval => 86400000, "
                        "if_not_exists => true, migrate_data => true)"
                    ),
                    {"name": table.name},
                )

    def save_session(self, manifest: Manifest, instruments: Iterable[Instrument]) -> None:
        """Keep what the session is; again is no harm."""
        row = {
            "session_id": manifest.session_id,
            "manifest": msgspec.to_builtins(manifest),
            "instruments": msgspec.to_builtins(list(instruments)),
        }
        with self._engine.begin() as connection:
            connection.execute(self._insert(SESSIONS).values(row).on_conflict_do_nothing())

    def save(self, session_id: str, entries: Iterable[Entry]) -> None:
        """Write entries in one transaction. One that is there already stays as it is."""
        rows: dict[Stream, list[dict[str, Any]]] = defaultdict(list)
        for stream, entry_id, message in entries:
            rows[stream].append(to_row(session_id, entry_id, message))
        with self._engine.begin() as connection:
            for stream, batch in rows.items():
                connection.execute(self._insert(TABLES[stream]).on_conflict_do_nothing(), batch)

    def cursors(self, session_id: str) -> dict[Stream, bytes]:
        """The last entry id of each stream that is in the record; b"0" for none."""
        with self._engine.connect() as connection:
            return {s: self._last_id(connection, TABLES[s], session_id) for s in RECORDED}

    def _last_id(self, connection: sa.Connection, table: sa.Table, session_id: str) -> bytes:
        ms, seq = table.c.entry_ms, table.c.entry_seq
        query = sa.select(ms, seq).where(table.c.session_id == session_id).order_by(ms.desc(), seq.desc()).limit(1)
        found = connection.execute(query).first()
        return b"%d-%d" % tuple(found) if found else b"0"

    def rows(self, session_id: str, stream: Stream, *, last: int | None = None) -> list[dict[str, Any]]:
        """A stream's rows in the order of the bus, or only the last ones. Fields younger than the record are left out."""
        table = TABLES[stream]
        newest_first = (table.c.entry_ms.desc(), table.c.entry_seq.desc())
        with self._engine.connect() as connection:
            lacks = self._missing(connection, table)
            columns = [column for column in table.columns if column not in set(lacks)]
            query = sa.select(*columns).where(table.c.session_id == session_id).order_by(*newest_first).limit(last)
            return [dict(row) for row in connection.execute(query).mappings()][::-1]

    def entries(self, session_id: str, stream: Stream, *, last: int | None = None) -> Iterator[Entry]:
        """A stream's entries as they were on the bus."""
        for row in self.rows(session_id, stream, last=last):
            yield Entry(stream, b"%d-%d" % (row["entry_ms"], row["entry_seq"]), to_message(stream, row))

    def instruments(self, session_id: str) -> list[Instrument]:
        """The session's instruments; empty if it ended before it had any."""
        query = sa.select(SESSIONS.c.instruments).where(SESSIONS.c.session_id == session_id)
        with self._engine.connect() as connection:
            return msgspec.convert(connection.scalar(query) or [], list[Instrument])

    def frame(self, session_id: str, name: str) -> Any:
        """A stream's rows as a DataFrame; see `journal.frames`. Raises InvalidInput for a name that isn't recorded."""
        from tradealgo.journal.frames import frame, recorded_stream

        stream = recorded_stream(name)
        rows = self.rows(session_id, stream)
        return frame(stream, [{k: v for k, v in row.items() if k not in KEY_COLUMNS} for row in rows])

    def close(self) -> None:
        self._engine.dispose()


def open_record(folder: SessionDir) -> Record:
    """The record of a session, to read."""
    return Record(database_url(folder), read_only=True)
