"""What the exchange remembers."""

from __future__ import annotations

from pathlib import Path

from tradealgo.exchange.accounts import Login
from tradealgo.exchange.store import Entry, Store


def entry(number: int) -> Entry:
    return Entry(login=Login(number=number, access_token="t", created=1, expires=2))


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    """What one process wrote the next one reads."""
    first = Store(tmp_path)
    first.append([entry(1)])
    first.append([entry(2), entry(3)])
    assert Store(tmp_path).load() == [entry(1), entry(2), entry(3)]


def test_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """A line that a kill cut short is dropped, and the next one is whole again."""
    Store(tmp_path).append([entry(1)])
    with open(tmp_path / "log.jsonl", "ab") as file:
        file.write(b'{"login":{"num')
    second = Store(tmp_path)
    assert second.load() == [entry(1)]
    second.append([entry(2)])
    assert Store(tmp_path).load() == [entry(1), entry(2)]


def test_clock_position_survives(tmp_path: Path) -> None:
    """The last position and whether the bell has rung; none at first."""
    assert Store(tmp_path).load_clock() is None
    store = Store(tmp_path)
    store.save_clock(5, False)
    store.save_clock(7, True)
    assert Store(tmp_path).load_clock() == (7, True)


def test_without_a_folder_nothing_is_kept() -> None:
    """An exchange for a test may have no memory."""
    store = Store(None)
    store.append([entry(1)])
    store.save_clock(1, True)
    assert store.load() == []
    assert store.load_clock() is None
