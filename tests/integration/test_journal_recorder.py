"""The Recorder: every entry is one row, whatever is killed, read twice or read again."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from tradealgo.bus.keys import Stream, instruments_key, stream_key
from tradealgo.bus.redis_bus import Bus, Entry
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.candles import ClosedCandle
from tradealgo.domain.errors import BadConfig, InvalidInput
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.orders import BrokerUpdate, Fill, Intent, Order, OrderRequest, OrderState, Side, Verdict
from tradealgo.domain.signals import SignalRecord
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import (
    Action,
    Alert,
    Beat,
    Control,
    KillCause,
    KillState,
    Level,
    Module,
    MtmPoint,
    SessionState,
    TradingState,
)
from tradealgo.journal.recorder import record
from tradealgo.journal.store import Record, database_url
from tradealgo.process import Process

INFY = Instrument(instrument_token=408065, exchange="NSE", tradingsymbol="INFY", kind=Kind.EQUITY, tick_size=0.05)

ONE_OF_EACH: dict[Stream, msgspec.Struct] = {
    Stream.UPDATES: BrokerUpdate(data={"order_id": "1", "meta": {"a": [1, None]}}, ts_init=5),
    Stream.CANDLES: ClosedCandle(408065, 60, 60_000_000_000, 1.0, 2.0, 0.5, 1.5, 100.0, 0.0, 7, 1, 2, 3),
    Stream.SIGNALS: SignalRecord(408065, 60_000_000_000, 1, math.nan, "fast above slow", 1.5, 2, 3),
    Stream.REQUESTS: OrderRequest(
        request_id="s:1:2", session_id="s", strategy="EmaCross", instrument_token=408065, instrument="NSE:INFY",
        side=Side.BUY, quantity=10, position_after=10, reference_price=1.5, intent=Intent.ENTRY, start=60, stop=None,
    ),
    Stream.VERDICTS: Verdict(
        request_id="s:1:2", instrument="NSE:INFY", code="SUBMIT", text="", figures={"value": 15.0, "n": 1}, ts=4
    ),
    Stream.ORDERS: Order(
        tag="TABC", request_id="s:1:2", session_id="s", instrument_token=408065, instrument="NSE:INFY", side=Side.BUY,
        quantity=10, price=1.55, intent=Intent.ENTRY, state=OrderState.OPEN, order_id="11",
    ),
    Stream.FILLS: Fill(
        trade_id="9", tag="TABC", order_id="11", instrument_token=408065, instrument="NSE:INFY", side=Side.BUY,
        quantity=10, price=1.55, ts_event=60_000_000_000,
    ),
    Stream.MTM: MtmPoint(1, 2, 300, -200, 10, 90, -5, -2_000_000),
    Stream.STATE: SessionState(trading=TradingState.HALTED, kill=KillState.TRIPPED, cause=KillCause.PERSON, ts=9),
    Stream.CONTROL: Control(action=Action.KILL, source="desk", reason="drill", force=True, ts=8),
    Stream.HEALTH: Beat(module=Module.CONSUMER, pid=1, ts=7, state="READY", figures={"lag": 0, "word": "x"}),
    Stream.ALERTS: Alert(level=Level.CRITICAL, module=Module.MONITOR, code="NO_TICKS", text="no ticks", ts=6),
}  # fmt: skip


def manifest(session_id: str) -> Manifest:
    return Manifest(
        session_id=session_id, mode=Mode.PAPER, account="PAPER1", strategy="m:C", parameters={}, sizing=Sizing(lots=1),
        instruments=("NSE:INFY",), capital=1e6,
    )  # fmt: skip


@pytest.fixture
async def process(bus: Bus, tmp_path: Path) -> Process:
    """A Recorder's process frame on a real bus, its session's instruments known."""
    await bus.client.set(instruments_key(bus.session_id), msgspec.msgpack.encode([INFY]))
    return Process(Module.RECORDER, SessionDir(tmp_path), manifest(bus.session_id), bus)


async def run_until_recorded(process: Process, points: int) -> None:
    """Run the loop of a new Recorder until so many points of MTM and the session's instruments are rows; stop it as the
    supervisor would."""
    process = Process(Module.RECORDER, process.folder, process.manifest, process.bus)
    before = await process.bus.last(Stream.HEALTH)
    task = asyncio.ensure_future(record(process))
    async with asyncio.timeout(60):
        while not await process.bus.read({Stream.HEALTH: before.id if before else b"0"}, block_ms=1_000):
            pass  # its first READY: the tables are there
        store, session_id = Record(database_url(process.folder), read_only=True), process.bus.session_id
        while len(store.rows(session_id, Stream.MTM)) < points or not store.instruments(session_id):
            assert not task.done(), task.exception()
            await asyncio.sleep(0.05)
    store.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """URL of a real PostgreSQL server on a unix socket; skips where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    if initdb is None or (os.getuid() == 0 and shutil.which("runuser") is None):
        pytest.skip("no PostgreSQL server here")
    pytest.importorskip("psycopg")
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    # Not in pytest's folders, which are closed to other users
    with tempfile.TemporaryDirectory(prefix="tradealgo-pg-", ignore_cleanup_errors=True) as folder:
        if as_user:
            shutil.chown(folder, "postgres")
        subprocess.run(
            [*as_user, initdb, "-D", f"{folder}/data", "-A", "trust", "-U", "t", "-N"],
            check=True,
            cwd="/",
            capture_output=True,
        )
        server = subprocess.Popen(
            [*as_user, Path(initdb).with_name("postgres"), "-D", f"{folder}/data", "-k", folder, "-h", "", "-F"],
            cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            url = f"postgresql://t@/postgres?host={folder}"
            wait_until_it_answers(url, server)
            yield url
        finally:
            at_once = ("stop", "-m", "immediate", "-D", f"{folder}/data")  # waits for no client to leave
            subprocess.run(
                [*as_user, Path(initdb).with_name("pg_ctl"), *at_once], check=True, cwd="/", capture_output=True
            )
            server.wait(60)


def pg_ctl(url: str, *what: str) -> None:
    """Stop or start the server of a URL, and wait until that is done."""
    folder = url.partition("host=")[2]
    initdb = shutil.which("initdb") or str(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[-1])
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    command = [*as_user, str(Path(initdb).with_name("pg_ctl")), "-D", f"{folder}/data", "-w", *what]
    if "start" in what:
        command += ["-o", f"-k {folder} -h '' -F"]
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


def wait_until_it_answers(url: str, server: subprocess.Popen[bytes]) -> None:
    """It refuses while it starts."""
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        try:
            return psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


def check_round_trip(store: Record) -> None:
    entries = [Entry(stream, b"1700000000000-%d" % n, m) for n, (stream, m) in enumerate(ONE_OF_EACH.items())]
    store.save("s", entries)
    store.save("s", entries)
    for entry in entries:
        (found,) = store.entries("s", entry.stream)
        assert found.id == entry.id
        assert msgspec.json.encode(found.message) == msgspec.json.encode(entry.message)
    assert store.cursors("s")[Stream.ALERTS] == b"1700000000000-11"
    assert store.cursors("other")[Stream.ALERTS] == b"0"
    store.save_session(manifest("s"), [INFY])
    store.save_session(manifest("s"), [INFY])
    assert store.instruments("s") == [INFY]
    assert store.instruments("other") == []


def test_every_message_comes_back_from_sqlite_as_it_went_in(tmp_path: Path) -> None:
    """Each stream's message, nan, None, enum and nested dict included, survives the round trip, once."""
    check_round_trip(Record(database_url(SessionDir(tmp_path))))


def test_every_message_comes_back_from_postgresql(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on PostgreSQL, named by TRADEALGO_DATABASE_URL."""
    monkeypatch.setenv("TRADEALGO_DATABASE_URL", postgresql)
    url = database_url(SessionDir("/nowhere"))
    assert url.drivername == "postgresql+psycopg"
    check_round_trip(Record(url))


def test_a_record_of_an_older_release_is_read_and_written_on(tmp_path: Path) -> None:
    """Fields that messages have got since have their defaults; nobody need migrate anything."""
    url = sa.URL.create("sqlite", database=str(tmp_path / "old.db"))
    entries = [Entry(stream, b"1-0", message) for stream, message in ONE_OF_EACH.items()]
    store = Record(url)
    store.save("s", entries)
    store.close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for table, column in (("control", "order"), ("orders", "trigger"), ("requests", "group")):
            connection.exec_driver_sql(f'alter table "{table}" drop column "{column}"')
    for read_only in (True, False):
        store = Record(url, read_only=read_only)
        for stream in (Stream.CONTROL, Stream.ORDERS, Stream.REQUESTS):
            assert [e.message for e in store.entries("s", stream)] == [ONE_OF_EACH[stream]]
        store.close()
    store = Record(url)
    store.save("s", [Entry(Stream.CONTROL, b"2-0", ONE_OF_EACH[Stream.CONTROL])])
    assert [e.message for e in store.entries("s", Stream.CONTROL)] == 2 * [ONE_OF_EACH[Stream.CONTROL]]
    store.close()


def test_a_bad_database_url_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be a URL is refused without repeating it: it may hold a password."""
    monkeypatch.setenv("TRADEALGO_DATABASE_URL", "not a url secret")
    with pytest.raises(BadConfig, match="expected postgresql://") as caught:
        database_url(SessionDir(tmp_path))
    assert "secret" not in str(caught.value)


async def test_a_recorder_that_dies_and_returns_writes_each_entry_once(process: Process) -> None:
    """Entries before, between and after two runs are all there, in order, none twice."""
    bus = process.bus
    for n in range(1_200):  # more than one batch
        await bus.publish(Stream.MTM, MtmPoint(n + 1, n, n, 0, 0, n, 0, -1))
    await run_until_recorded(process, 1_200)
    for n in range(1_200, 1_500):
        await bus.publish(Stream.MTM, MtmPoint(n + 1, n, n, 0, 0, n, 0, -1))
    await run_until_recorded(process, 1_500)
    store = Record(database_url(process.folder), read_only=True)
    rows = store.rows(bus.session_id, Stream.MTM)
    assert [r["mtm"] for r in rows] == list(range(1_500))
    assert store.instruments(bus.session_id) == [INFY]


async def test_a_stopped_recorder_drains_what_is_on_the_bus(process: Process) -> None:
    """What was published just before the stop is in the record after it."""
    task = asyncio.ensure_future(record(process))
    await process.bus.read({Stream.HEALTH: b"0"}, block_ms=10_000)  # its first beat: READY
    for n in range(2_000):
        await process.bus.publish(Stream.MTM, MtmPoint(n + 1, n, n, 0, 0, n, 0, -1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rows = Record(database_url(process.folder), read_only=True).rows(process.bus.session_id, Stream.MTM)
    assert [r["mtm"] for r in rows] == list(range(2_000))


async def alerts_of(bus: Bus, count: int) -> list[Alert]:
    """The alerts, once there are so many."""
    found: list[Entry] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            found += await bus.read({Stream.ALERTS: found[-1].id if found else b"0"}, block_ms=1_000)
    return [e.message for e in found]


async def test_a_database_that_restarts_is_told_and_loses_nothing(
    postgresql: str, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL stops in the middle and comes back: the Recorder lives on, says both once, and has every entry once."""
    monkeypatch.setenv("TRADEALGO_DATABASE_URL", postgresql)
    bus = process.bus
    task = asyncio.ensure_future(record(process))
    await bus.read({Stream.HEALTH: b"0"}, block_ms=30_000)  # its first beat: READY
    for n in range(300):
        await bus.publish(Stream.MTM, MtmPoint(n + 1, n, n, 0, 0, n, 0, -1))
        if n == 100:
            await asyncio.to_thread(pg_ctl, postgresql, "stop", "-m", "fast")
    (away,) = await alerts_of(bus, 1)
    assert (away.code, away.resolved) == ("DATABASE", False)
    assert "nothing is recorded until it does" in away.text
    await asyncio.to_thread(pg_ctl, postgresql, "start")
    _, back = await alerts_of(bus, 2)
    assert (back.code, back.resolved) == ("DATABASE", True)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rows = Record(database_url(process.folder), read_only=True).rows(bus.session_id, Stream.MTM)
    assert [r["mtm"] for r in rows] == list(range(300))


async def test_a_database_that_is_not_there_yet_is_waited_for(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told with its own words; a stop doesn't wait for it. It begins as soon as it is there."""
    folder = tmp_path / "not yet"
    monkeypatch.setenv("TRADEALGO_DATABASE_URL", f"sqlite:///{folder}/record.db")
    for ready in (False, True):
        task = asyncio.ensure_future(record(process))
        (away, *_) = await alerts_of(process.bus, 1 + ready)
        assert "unable to open database file" in away.text
        if ready:
            folder.mkdir()
            await process.bus.read({Stream.HEALTH: b"0"}, block_ms=30_000)  # its first beat: READY
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (folder / "record.db").exists()


async def test_frames_have_indian_times_and_rupees(process: Process) -> None:
    """A recorded stream as a DataFrame: IST index, money in rupees; an unknown name gets a sentence."""
    await process.bus.publish(Stream.MTM, MtmPoint(1_700_000_000_000_000_000, 0, 150, 0, 0, 150, 0, -100))
    await run_until_recorded(process, 1)
    store = Record(database_url(process.folder), read_only=True)
    frame = store.frame(process.bus.session_id, "mtm")
    assert frame["mtm"].tolist() == [1.5]
    assert str(frame.index[0]) == "2023-11-15 03:43:20+05:30"
    assert frame["ts"].isna().all()
    with pytest.raises(InvalidInput, match="no table 'ticks': expected one of"):
        store.frame(process.bus.session_id, "ticks")


def test_the_record_is_readable_while_it_is_written(tmp_path: Path) -> None:
    """A reader sees committed rows during a writer's open transaction (SQLite in WAL mode)."""
    writer = Record(database_url(SessionDir(tmp_path)))
    writer.save("s", [Entry(Stream.MTM, b"1-0", ONE_OF_EACH[Stream.MTM])])
    with writer._engine.begin() as connection:
        connection.execute(sa.text("insert into mtm (session_id, entry_ms, entry_seq) values ('s', 2, 0)"))
        assert len(Record(database_url(SessionDir(tmp_path)), read_only=True).rows("s", Stream.MTM)) == 1


async def test_entries_that_cant_be_kept_are_left_out_and_told_once(process: Process) -> None:
    """A notebook's nonsense on `control` (an unknown action, no message, a number that no column holds) among good
    entries: all others are rows, what comes later too, and one alert says so."""
    key, bus = stream_key(process.bus.session_id, Stream.CONTROL), process.bus
    good = Control(action=Action.HALT, source="cli", reason="drill", ts=1)
    await bus.publish(Stream.CONTROL, good)
    await bus.client.xadd(key, {b"m1": msgspec.msgpack.encode({"action": "PAUSE", "source": "notebook"})})
    await bus.client.xadd(key, {b"m1": msgspec.msgpack.encode({"action": "HALT", "source": "x", "ts": 2**64 - 1})})
    await bus.publish(Stream.CONTROL, good)
    await bus.client.xadd(key, {b"nothing": b"known"})
    await bus.publish(Stream.MTM, MtmPoint(1, 1, 1, 0, 0, 1, 0, -1))
    task = asyncio.ensure_future(record(process))
    (alert,) = await alerts_of(bus, 1)  # it is told once the entries of the same read are rows
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store = Record(database_url(process.folder), read_only=True)
    assert [e.message for e in store.entries(bus.session_id, Stream.CONTROL)] == [good, good]
    assert len(store.rows(bus.session_id, Stream.MTM)) == 1
    assert len(await bus.range(Stream.ALERTS)) == 1
    assert (alert.code, "PAUSE" in alert.text) == ("UNREADABLE", True)
