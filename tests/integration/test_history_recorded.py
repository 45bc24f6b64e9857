"""A session's recorded candles, played again."""

from pathlib import Path

import pytest

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Entry
from tradealgo.config import Manifest, Market, Mode, SessionDir
from tradealgo.domain.candles import ClosedCandle
from tradealgo.domain.errors import BadCandles
from tradealgo.domain.sizing import Sizing
from tradealgo.exchange.market import MarketDay, load_market, simulated_day
from tradealgo.journal.store import Record, database_url
from tradealgo.research.history import as_recorded, write_market

KEYS = ("NSE:INFY", "NFO:NIFTY26NOVFUT")
DAY = "2026-11-20"


def recorded_session(folder: Path, played: MarketDay, *, interval: int = 60, minutes: int = 385) -> SessionDir:
    """A session folder whose Recorder wrote the candles of a day."""
    session = SessionDir(folder)
    manifest = Manifest(
        session_id="s1", mode=Mode.PAPER, account="PAPER1", strategy="m:S", parameters={}, instruments=KEYS,
        capital=1e6, sizing=Sizing(units=1), interval=interval, market=Market(day=DAY),
    )  # fmt: skip
    session.write_manifest(manifest)
    record = Record(database_url(session))
    record.save_session(manifest, list(played.instruments))
    rows = [
        ClosedCandle(token, interval, *row, ticks=5, ts_event=row[0], ts_init=row[0], ts_closed=row[0])
        for token, candles in played.candles.items()
        for row in candles[:minutes].tolist()
    ]
    rows.sort(key=lambda c: c.start)
    record.save("s1", [Entry(Stream.CANDLES, b"%d-0" % (n + 1), row) for n, row in enumerate(rows)])
    record.close()
    return session


@pytest.fixture(scope="module")
def played() -> MarketDay:
    import datetime as dt

    return simulated_day(dt.date.fromisoformat(DAY), 3, KEYS)


def test_a_recorded_session_is_played_again(played: MarketDay, tmp_path: Path) -> None:
    """The market file of a record holds the candles that the session saw."""
    session = recorded_session(tmp_path / "session", played)
    path = write_market(tmp_path / "again.parquet", as_recorded(session.path))
    again = load_market(Market(day=DAY, file=str(path)))
    assert list(again.instruments) == list(played.instruments)
    for token, candles in played.candles.items():
        assert again.candles[token].tolist() == candles.tolist()


def test_what_cannot_be_played_again(played: MarketDay, tmp_path: Path) -> None:
    """Candles longer than a minute, and a session without any, are refused."""
    with pytest.raises(BadCandles, match="candles of 300 s"):
        as_recorded(recorded_session(tmp_path / "long", played, interval=300, minutes=2))
    with pytest.raises(BadCandles, match="recorded no candles"):
        as_recorded(recorded_session(tmp_path / "empty", played, minutes=0))
