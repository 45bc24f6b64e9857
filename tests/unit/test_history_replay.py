"""Candles of the past played again: market files and the real data set."""

import datetime as dt
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tradealgo.config import Market
from tradealgo.domain.errors import BadCandles, BadConfig, UnknownInstrument
from tradealgo.domain.instruments import InstrumentBook
from tradealgo.exchange.listing import listing
from tradealgo.exchange.market import load_market, market_from_file, simulated_day
from tradealgo.exchange.tape import Tape
from tradealgo.research.history import (
    as_future,
    as_instrument,
    market_of,
    read_candles,
    repairs_of,
    simulated,
    to_array,
    write_market,
    write_market_day,
)

DAY = dt.date(2026, 11, 23)
KEYS = ["NSE:NIFTY 50", "NSE:INFY", "NFO:NIFTY26NOVFUT"]


def test_a_market_file_plays_what_was_written(tmp_path: Path) -> None:
    """Candles, instruments and previous closes come back, and so the same ticks."""
    day = simulated_day(DAY, 2, KEYS)
    write_market_day(tmp_path / "day.parquet", day)
    played = market_from_file(tmp_path / "day.parquet")
    assert list(played.instruments) == list(day.instruments)
    assert Tape(played).between(0, 2**62).tobytes() == Tape(day).between(0, 2**62).tobytes()


def test_simulated_frames_are_the_markets() -> None:
    """What a notebook gets for a simulated day is what the paper exchange plays."""
    day = simulated_day(DAY, 2, KEYS)
    for key, frame in simulated(DAY.isoformat(), 2, KEYS).items():
        assert to_array(frame).tobytes() == day.candles[day.instruments.find(key).instrument_token].tobytes()


def test_load_market_from_a_file(tmp_path: Path) -> None:
    """A manifest's file is played for its own day, in part if asked."""
    path = str(tmp_path / "day.parquet")
    write_market_day(path, simulated_day(DAY, 2, KEYS))
    loaded = load_market(Market(day="2026-11-23", file=path), ["NSE:INFY"])
    assert [i.key for i in loaded.instruments] == ["NSE:INFY"]
    with pytest.raises(BadConfig, match="holds 2026-11-23"):
        load_market(Market(day="2026-11-25", file=path))
    with pytest.raises(UnknownInstrument):
        load_market(Market(day="2026-11-23", file=path), ["NSE:TCS"])


def test_files_that_are_no_market(tmp_path: Path) -> None:
    """A Parquet file without instrument facts, and one that is no Parquet, are refused."""
    next(iter(simulated(DAY, 1, KEYS[:1]).values())).to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(BadCandles, match="write_market"):
        market_from_file(tmp_path / "plain.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(BadCandles, match="can't be read as Parquet"):
        market_from_file(tmp_path / "text.parquet")


def test_replays_are_of_one_day() -> None:
    """Frames of several days need a choice."""
    infy = InstrumentBook(listing(DAY)).find("NSE:INFY")
    one, other = (next(iter(simulated(d, 1, ["NSE:INFY"]).values())) for d in (DAY, dt.date(2026, 11, 25)))
    with pytest.raises(BadCandles, match="holds one day, got 2"):
        market_of([as_instrument(one, infy), as_instrument(other, infy)])
    assert market_of([as_instrument(one, infy)]).day == DAY


SHARED = Path(os.environ.get("TRADEALGO_SHARED_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


@pytest.fixture(scope="module")
def nifty_file() -> Path:
    path = SHARED / "nifty_1min_2022.txt.gz"
    if not path.exists():
        pytest.skip(f"no real candles at {path}: set TRADEALGO_SHARED_DATA to their folder")
    return path


def test_a_real_year_needs_no_clean_up_by_hand(nifty_file: Path) -> None:
    """2022's NIFTY minutes load within seconds, mended by named rules."""
    began = time.process_time()  # not the wall clock, by which the machine's other work counts too
    frame = read_candles(nifty_file)
    assert time.process_time() - began < 10
    repairs = repairs_of(frame)
    assert repairs.count("end_labelled") == 93_370
    assert repairs.count("pre_open_print") == 248
    assert repairs.count("out_of_session") == 490
    assert len(frame) == 93_370 - 248 - 490
    assert {f"{t:%H:%M}" for t in frame.groupby(frame.index.date).head(1).index} == {"09:15", "18:15"}
    assert len(to_array(frame)) == len(frame)


def test_a_real_day_replays_as_the_months_future(nifty_file: Path, tmp_path: Path) -> None:
    """A day of the index becomes a tradable future whose ticks build its candles."""
    frame = read_candles(nifty_file)
    replay = as_future(frame, "NIFTY", "2022-01-04")
    assert replay.instrument.key == "NFO:NIFTY22JANFUT"
    assert replay.instrument.lot_size == 65
    assert replay.previous_close == frame.loc["2022-01-03", "close"].iloc[-1]
    day = load_market(Market(day="2022-01-04", file=str(write_market(tmp_path / "day.parquet", [replay]))))
    ticks = Tape(day).between(day.open - 1, day.close)
    assert ticks["last_price"].max() == replay.candles["high"].max()
    assert np.isin(replay.candles["close"], ticks["last_price"]).all()
    assert ticks["close"][0] == replay.previous_close
    with pytest.raises(BadCandles, match="say which one"):
        as_future(frame)
