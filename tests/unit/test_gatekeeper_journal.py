"""The journal: durable order, a chain that shows tampering, and a gate that comes back from it as it was."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from gate_world import CALL, INFY, INSTRUMENTS, SECOND, World

from tradealgo.domain.errors import InvalidInput
from tradealgo.domain.orders import Intent
from tradealgo.domain.state import Action
from tradealgo.gatekeeper.core import Gate
from tradealgo.gatekeeper.explain import explain
from tradealgo.gatekeeper.journal import ROOM, Journal, JournalError, open_readonly, read, verify
from tradealgo.gatekeeper.messages import Kind, Note, Record
from tradealgo.gatekeeper.situation import Terms


def note(text: str) -> Record:
    return Record(Kind.NOTE, Note(code="X", text=text))


def written(path: Path, count: int = 5) -> Path:
    journal = Journal(path)
    for number in range(count):
        journal.append([note(f"a{number}"), note(f"b{number}")], number)
    journal.close()
    return path


def test_what_is_appended_comes_back_in_order(tmp_path: Path) -> None:
    """Across a restart too, with sequence numbers that go on."""
    path = written(tmp_path / "j.db")
    journal = Journal(path)
    assert journal.append([note("last")], 9) == 11
    rows = list(journal.rows(after=8))
    assert [(r.seq, r.message.text) for r in rows] == [(9, "a4"), (10, "b4"), (11, "last")]
    assert verify(path) == 11


def test_a_file_whose_writer_died_at_once_reads_as_empty(tmp_path: Path) -> None:
    """Its table isn't there yet: the kill's helpers and the desk may look at that moment too."""
    path = tmp_path / "journal.sqlite"
    sqlite3.connect(path).execute("PRAGMA journal_mode=WAL")
    db = open_readonly(path)
    assert list(read(db)) == []
    db.close()
    assert verify(path) == 0


def test_another_database_is_no_journal(tmp_path: Path) -> None:
    """An empty one would have said that a session ended clean."""
    path = tmp_path / "journal.sqlite"
    sqlite3.connect(path).execute("CREATE TABLE candles (x)")
    with pytest.raises(JournalError, match="no journal"):
        open_readonly(path)


@pytest.mark.parametrize("payload", [b"\xc1", b"\x81\xa4code\xa1\xff"])
def test_a_record_that_cannot_be_read_is_named(payload: bytes, tmp_path: Path) -> None:
    """Noise, or text that isn't UTF-8."""
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO records VALUES (1, 1, ?, ?, ?)", (Kind.NOTE.value, payload, b""))
    with pytest.raises(JournalError, match="record 1 of the journal, a NOTE, can't be read"):
        list(read(open_readonly(path)))


def test_a_table_of_a_backup_tool_beside_ours_is_no_matter(tmp_path: Path) -> None:
    """The emergency kill must still read it."""
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    sqlite3.connect(path).execute("CREATE TABLE _litestream_seq (id INTEGER)")
    db = open_readonly(path)
    assert list(read(db)) == []
    db.close()


def test_a_new_journals_log_never_grows(tmp_path: Path) -> None:
    """It has its whole length from the start, so that a commit waits for its own bytes alone."""
    journal = Journal(tmp_path / "j.db")
    size = (tmp_path / "j.db-wal").stat().st_size
    for number in range(50):
        journal.append([note("x" * 5_000)], number)
    assert (tmp_path / "j.db-wal").stat().st_size == size > ROOM
    assert verify(tmp_path / "j.db") == 50


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE records SET payload = x'80' WHERE seq = 4",
        "UPDATE records SET ts = 0 WHERE seq = 7",
        "UPDATE records SET kind = 'ALERT' WHERE seq = 7",
        "DELETE FROM records WHERE seq = 3",
        "UPDATE records SET hash = x'00' WHERE seq = 10",
        "DELETE FROM records WHERE seq = 1",
    ],
)
def test_tampering_shows(tmp_path: Path, tampering: str) -> None:
    """A changed, dropped or re-stamped record breaks the chain."""
    path = written(tmp_path / "j.db")
    db = sqlite3.connect(path)
    db.execute(tampering)
    db.commit()
    db.close()
    with pytest.raises(JournalError, match="is not what the Gatekeeper wrote"):
        verify(path)


def test_a_batch_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """All of it or none, and the next one goes on from the last good record."""
    path = tmp_path / "j.db"
    journal = Journal(path)
    journal.append([note("good")], 1)
    with pytest.raises(TypeError):
        journal.append([note("half"), Record(Kind.NOTE, object())], 2)
    journal.append([note("next")], 3)
    assert [r.message.text for r in journal.rows()] == ["good", "next"]
    assert verify(path) == 2


def test_a_gate_restored_from_its_journal_is_the_gate(tmp_path: Path) -> None:
    """Orders, fills, positions, requests, kill and day count, through the real file."""
    world = World(3)
    world.advance(SECOND)
    world.ask(INFY, 10)
    world.ask(CALL, 65)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.ask(INFY, 0, Intent.EXIT)
    world.say(Action.HALT)
    world.advance(SECOND)
    world.say(Action.KILL)
    world.advance(100_000_000)
    journal = Journal(tmp_path / "j.db")
    journal.append([Record(kind, message) for kind, message in world.journal], 1)
    other = Gate(Terms("s1", "A1", 250_000.0), world.limits, INSTRUMENTS)
    other.restore((r.kind, r.message) for r in journal.rows())
    gate = world.gate
    assert other.book.orders == gate.book.orders
    assert other.book.working == gate.book.working
    assert set(other.state.seen) == set(gate.state.seen)
    assert set(other.pending) == set(gate.pending)
    assert other.killer.status == gate.killer.status
    assert "person" in other.overrides
    assert "person" in gate.overrides
    assert other.calls.next_id == gate.calls.next_id
    assert other.calls.budget.day_count(world.now) == gate.calls.budget.day_count(world.now) > 0
    for instrument in INSTRUMENTS:
        assert other.book.position(instrument.instrument_token) == gate.book.position(instrument.instrument_token)


def test_an_order_is_explained_from_request_to_fill(tmp_path: Path) -> None:
    """By tag, by order id, by the beginning of its request id; a name that fits nothing says what would."""
    world = World(3)
    world.advance(SECOND)
    asked = world.ask(INFY, 10, reason="crossed above", ts_event=world.now, ts_signalled=world.now)
    assert asked is not None
    world.advance(SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)
    denied = world.ask(INFY, 10_000, reference_price=1.0)
    assert denied is not None
    path = tmp_path / "j.db"
    Journal(path).append([Record(kind, message) for kind, message in world.journal], world.now)
    order = next(iter(world.gate.book.orders.values()))
    story = explain(path, order.tag)
    assert story == explain(path, asked.request_id) == explain(path, str(order.order_id))
    places = [
        story.index(word)
        for word in ("tick ", "crossed above", "request ", "verdict  yes", "call ", "answer ", "fill ")
    ]
    assert places == sorted(places)
    assert "FAT_FINGER" in explain(path, denied.request_id)
    assert re.search(r"exposure [\d.]+, mtm -?\d+\.\d+,", story)  # both in rupees
    with pytest.raises(InvalidInput, match="expected a tag"):
        explain(path, "nobody")
