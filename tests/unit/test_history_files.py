"""Reading candle files: what is mended, by which rule, and what is refused."""

import datetime as dt
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tradealgo.domain.candles import CANDLE
from tradealgo.domain.errors import BadCandles, InvalidInput
from tradealgo.domain.hours import at
from tradealgo.research.history import (
    candles,
    day_of,
    days_of,
    read_candles,
    repairs_of,
    resample,
    to_array,
    to_frame,
)

DAY = "20220103"


def line(time: str, price: float = 100.0, *, day: str = DAY, symbol: str = "NIFTY") -> str:
    return f"{symbol},{day},{time},{price},{price + 2},{price - 2},{price + 1},0,0"


def minutes(first: str, count: int) -> list[str]:
    return [t.strftime("%H:%M") for t in pd.date_range(f"2022-01-03 {first}", periods=count, freq="min")]


def written(path: Path, lines: list[str]) -> Path:
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_end_labelled_minutes_move_back(tmp_path: Path) -> None:
    """A day from 09:16 to 15:30, with a pre-open print and closing prints, becomes 09:15 to 15:29."""
    rows = [line("09:08")] + [line(t) for t in minutes("09:16", 375)] + [line("15:31"), line("15:32")]
    frame = read_candles(written(tmp_path / "nifty.txt.gz", rows))
    assert [f"{frame.index[i]:%H:%M}" for i in (0, -1)] == ["09:15", "15:29"]
    assert [(r.found, r.count, r.rule) for r in repairs_of(frame)] == [
        ("end_labelled", 378, "shift_back"),
        ("pre_open_print", 1, "drop"),
        ("out_of_session", 2, "drop"),
    ]


def test_start_labelled_minutes_stay(tmp_path: Path) -> None:
    """A day from 09:15 to 15:29 needs no mending, and says so."""
    frame = read_candles(written(tmp_path / "a.txt", [line(t) for t in minutes("09:15", 375)]))
    assert len(frame) == 375
    assert str(repairs_of(frame)) == "nothing to mend"


def test_labels_can_be_told(tmp_path: Path) -> None:
    """A part of a day doesn't show how it is labelled: the caller may say."""
    path = written(tmp_path / "a.txt", [line(t) for t in minutes("10:01", 20)])
    assert f"{read_candles(path).index[0]:%H:%M}" == "10:01"
    assert f"{read_candles(path, labelled='end').index[0]:%H:%M}" == "10:00"


def test_duplicates_and_disorder(tmp_path: Path) -> None:
    """The later row of a minute wins, and rows come out ascending."""
    rows = [line(t) for t in minutes("09:15", 375)]
    rows = [*rows[10:20], *rows[:10], *rows[20:], line("09:30", 555.0)]
    frame = read_candles(written(tmp_path / "a.txt", rows))
    assert frame.index.is_monotonic_increasing
    assert frame.loc["2022-01-03 09:30", "open"].item() == 555.0
    repairs = repairs_of(frame)
    assert repairs.count("out_of_order") == 2
    assert repairs.count("duplicate") == 1
    assert "2 rows differ" in str(repairs)


def test_gaps_are_left_or_filled(tmp_path: Path) -> None:
    """Missing minutes are counted; filled ones are flat at the last close, without volume."""
    rows = [line(t, 100.0 + n) for n, t in enumerate(minutes("09:15", 375)) if n not in (0, 5, 6)]
    path = written(tmp_path / "a.txt", rows)
    left = read_candles(path, labelled="start")
    assert len(left) == 372
    assert repairs_of(left)[0].rule == "leave_gap"
    filled = read_candles(path, labelled="start", fill=True)
    assert len(filled) == 375
    assert repairs_of(filled).count("missing_minutes") == 3
    assert filled.iloc[5][["open", "high", "low", "close", "volume"]].tolist() == [105.0] * 4 + [0.0]
    assert filled.iloc[0]["close"] == left.iloc[0]["close"]  # nothing came before: the first close known


def test_an_evening_session_that_no_table_knows(tmp_path: Path) -> None:
    """A day with trading in the evening only keeps its longest run of minutes."""
    rows = [line("18:08", day="20231112")] + [line(t, day="20231112") for t in minutes("18:15", 60)]
    frame = read_candles(written(tmp_path / "a.txt", rows))
    assert len(frame) == 60


def test_derivatives_trade_on_to_1540(tmp_path: Path) -> None:
    """From August 2026 a future keeps its minutes to 15:39; an index ends at 15:29."""
    for symbol, count in (("NIFTY26NOVFUT", 385), ("NIFTY 50", 375)):
        rows = [line(t, day="20261123", symbol=symbol) for t in minutes("09:15", 390)]
        assert len(read_candles(written(tmp_path / "a.txt", rows))) == count


def test_a_share_without_derivatives_trades_on_to_1530(tmp_path: Path) -> None:
    """Auction prints after 15:15 are dropped; minute after minute of them are continuous trading."""
    for late, count in ((["15:20", "15:35"], 360), (minutes("15:15", 15), 375)):
        rows = [line(t, day="20261123", symbol="INFY") for t in [*minutes("09:15", 360), *late]]
        assert len(read_candles(written(tmp_path / "a.txt", rows))) == count


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("NIFTY,20220103,09:17,100,102", "missing or malformed"),
        ("NIFTY,20220103,09:17,100,x,98,101,0,0", "missing or malformed"),
        ("NIFTY,20220103,09:61,100,102,98,101,0,0", "not a time"),
        ("NIFTY,20220103,09:17,100,102,99,98,0,0", "don't enclose"),
        ("NIFTY,20220103,09:17,0,102,0,101,0,0", "not positive"),
        ("NIFTY,20220103,09:17,100,102,98,101,-5,0", "negative"),
        ("NIFTY,20220103,09:17,100,102,98,101,0,0,7", "9 fields in line 3"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, bad: str, text: str) -> None:
    """The error names the file and the line, blank lines counted."""
    path = written(tmp_path / "nifty.txt", [line("09:15"), "", bad, line("09:18")])
    with pytest.raises(BadCandles, match=text) as caught:
        read_candles(path)
    assert str(path) in str(caught.value)
    assert "line 3" in str(caught.value)


def test_a_header_counts_as_a_line(tmp_path: Path) -> None:
    """With a header the first row is line 2."""
    path = written(
        tmp_path / "a.csv", ["start,open,high,low,close", "2022-01-03 09:15,1,2,1,2", "2022-01-03 09:16,1,2,x,2"]
    )
    with pytest.raises(BadCandles, match=r"a\.csv, line 3"):
        read_candles(path)


@pytest.mark.parametrize(
    "header",
    ["Date,Open,High,Low,Close,Volume,OI", "datetime,open,high,low,close,volume", "timestamp,open,high,low,close"],
)
@pytest.mark.parametrize("when", ["2022-01-03 09:15:00", "2022-01-03T09:15:00+05:30", "2022-01-03 03:45:00Z"])
def test_csv_columns_are_found_by_name(tmp_path: Path, header: str, when: str) -> None:
    """Times with a zone are converted; without one they are IST; absent volume and oi are 0."""
    values = ",".join(["10", "12", "9", "11", "5", "6"][: header.count(",")])
    frame = read_candles(written(tmp_path / "infy.csv", [header, f"{when},{values}"]), labelled="start")
    assert to_array(frame)["start"].tolist() == [at(dt.date(2022, 1, 3), dt.time(9, 15))]
    assert frame[["open", "high", "low", "close"]].iloc[0].tolist() == [10, 12, 9, 11]


def test_several_symbols_need_a_choice(tmp_path: Path) -> None:
    """A file of two instruments is read one at a time."""
    rows = [line(t, symbol=s) for s in ("AAA", "BBB") for t in minutes("09:15", 3)]
    path = written(tmp_path / "a.txt", rows)
    with pytest.raises(BadCandles, match="choose one with symbol="):
        read_candles(path)
    assert len(read_candles(path, symbol="BBB")) == 3
    with pytest.raises(BadCandles, match="has no 'CCC'"):
        read_candles(path, symbol="CCC")


def test_parquet_comes_back(tmp_path: Path) -> None:
    """A frame saved as Parquet is read as it was."""
    frame = read_candles(written(tmp_path / "a.txt", [line(t) for t in minutes("09:15", 375)]))
    frame.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read_candles(tmp_path / "a.parquet"), frame)


def test_files_that_are_none(tmp_path: Path) -> None:
    """No file, an empty one and a broken archive get a sentence each."""
    with pytest.raises(BadCandles, match="there is no candle file"):
        read_candles(tmp_path / "none.csv")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BadCandles, match="is empty"):
        read_candles(tmp_path / "empty.txt")
    (tmp_path / "broken.txt.gz").write_bytes(b"no gzip")
    with pytest.raises(BadCandles, match="can't be read"):
        read_candles(tmp_path / "broken.txt.gz")
    (tmp_path / "no.csv").write_text("start,open,high,low,closing\n2022-01-03 09:15,2,3,1,2\n")
    with pytest.raises(BadCandles, match="lacks 'close'"):
        read_candles(tmp_path / "no.csv")


def test_arrays_and_frames_agree() -> None:
    """An array becomes a frame and the same array again."""
    array = np.zeros(3, CANDLE)
    array["start"] = at(dt.date(2022, 1, 3), dt.time(9, 15)) + np.arange(3) * 60_000_000_000
    array["close"] = [1.5, 2.5, 3.5]
    assert to_array(to_frame(array)).tolist() == array.tolist()
    assert to_frame(array).index.name == "start"
    with pytest.raises(BadCandles, match="tz-aware"):
        to_array(to_frame(array).tz_localize(None))
    with pytest.raises(BadCandles, match="don't ascend"):
        to_array(to_frame(array[::-1]))


def test_days_and_ranges(tmp_path: Path) -> None:
    """`day_of` cuts a day, `candles` a span of days; a day without candles is named with what there is."""
    rows = [line(t, day=d) for d in ("20220103", "20220104", "20220105") for t in minutes("09:15", 375)]
    path = written(tmp_path / "a.txt", rows)
    frame = read_candles(path)
    assert len(days_of(frame)) == 3
    assert set(day_of(frame, "2022-01-04").index.date) == {dt.date(2022, 1, 4)}
    assert len(candles(path, "2022-01-04", "2022-01-05")) == 750
    assert len(candles(path, minutes=15)) == 75
    with pytest.raises(BadCandles, match="3 days from 2022-01-03 to 2022-01-05"):
        day_of(frame, dt.date(2022, 1, 6))
    with pytest.raises(InvalidInput, match="day '04-01-2022' is not a date: write it as 2026-11-23"):
        day_of(frame, "04-01-2022")


def test_resampling_counts_from_the_open(tmp_path: Path) -> None:
    """Hourly candles begin at 09:15 even where the first minute is missing; the last is short."""
    rows = [line(t, 100.0 + n) for n, t in enumerate(minutes("09:15", 375)) if n]
    hourly = resample(read_candles(written(tmp_path / "a.txt", rows), labelled="start"), 60)
    assert [f"{t:%H:%M}" for t in hourly.index] == ["09:15", "10:15", "11:15", "12:15", "13:15", "14:15", "15:15"]
    assert hourly.iloc[0][["open", "high", "low", "close"]].tolist() == [101.0, 161.0, 99.0, 160.0]


def header_file(path: Path, stamps: pd.DatetimeIndex, form: str) -> Path:
    """A CSV with a header, whose times are written as `form` says."""
    prices = dict.fromkeys(("open", "high", "low", "close"), 100.0)
    pd.DataFrame({"date": stamps.strftime(form), **prices}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("form", ["%d-%m-%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%Y-%m-%d %H:%M", "%d-%b-%Y %H:%M"])
def test_dates_are_read_day_first_as_india_writes_them(tmp_path: Path, form: str) -> None:
    """The fourth to the eighth of August stay these days, however they are written."""
    days = pd.bdate_range("2025-08-04", "2025-08-08")
    stamps = pd.DatetimeIndex(
        [t for d in days for t in pd.date_range(d + pd.Timedelta("9h15min"), periods=375, freq="min")]
    )
    frame = read_candles(header_file(tmp_path / "a.csv", stamps, form))
    assert frame.index.tz_localize(None).equals(stamps.rename("start"))
    assert str(repairs_of(frame)) == "nothing to mend"


def test_long_candles_labelled_by_their_end_move_by_their_own_length(tmp_path: Path) -> None:
    """A five-minute file from 09:20 to 15:30 becomes 09:15 to 15:25, and no minute is missing from it."""
    stamps = pd.date_range("2022-01-03 09:20", "2022-01-03 15:30", freq="5min")
    frame = read_candles(header_file(tmp_path / "a.csv", stamps, "%Y-%m-%d %H:%M"))
    assert [f"{frame.index[i]:%H:%M}" for i in (0, -1)] == ["09:15", "15:25"]
    assert [(r.found, r.count) for r in repairs_of(frame)] == [("end_labelled", 75)]


def test_days_that_do_not_trade_are_told(tmp_path: Path) -> None:
    """Rows of a plain Saturday are kept, since the exchange may hold a session on any day, and named; a known session isn't."""
    rows = [line(t, day=day) for day in ("20240301", "20240302", "20240309") for t in minutes("09:15", 20)]
    repairs = repairs_of(read_candles(written(tmp_path / "a.txt", rows)))
    told = next(r for r in repairs if r.found == "day_off")
    assert (told.count, told.rule) == (20, "keep")
    assert told.detail == "on Sat 2024-03-09: drop them if they are wrong"


def test_a_price_that_halves_over_night_is_told(tmp_path: Path) -> None:
    """A share's split or bonus that nobody adjusted for; an option may jump."""
    rows = [line(t, symbol="ABC") for t in minutes("09:15", 20)]
    rows += [line(t, 50.0, day="20220104", symbol="ABC") for t in minutes("09:15", 20)]
    repairs = repairs_of(read_candles(written(tmp_path / "a.txt", rows)))
    told = next(r for r in repairs if r.found == "night_jump")
    assert (told.count, told.rule, told.detail) == (1, "keep", "first on 2022-01-04, from 101 to 50")
    text = (tmp_path / "a.txt").read_text().replace("ABC", "NIFTY22JAN17000CE")
    (tmp_path / "b.txt").write_text(text)
    assert not repairs_of(read_candles(tmp_path / "b.txt")).count("night_jump")
