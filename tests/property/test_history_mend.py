"""Whatever is wrong with a file of candles, the rules give the clean day back."""

import datetime as dt

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.hours import at
from tradealgo.research.history import to_array, to_frame
from tradealgo.research.repair import mend, probe

DAYS = [dt.date(2026, 11, 19), dt.date(2026, 11, 20), dt.date(2026, 11, 23)]
INDEX = probe("NIFTY 50")
OPEN, CLOSE = dt.time(9, 15), dt.time(15, 30)


def clean_days(days: list[dt.date]) -> pd.DataFrame:
    """Whole days of an index, each minute's price its own."""
    starts = np.concatenate([np.arange(at(d, OPEN), at(d, CLOSE), MINUTE_NS) for d in days])
    array = np.zeros(len(starts), CANDLE)
    array["start"] = starts
    array["close"] = 25_000 + np.arange(len(starts)) * 0.05
    array["open"], array["high"], array["low"] = array["close"] - 1, array["close"] + 2, array["close"] - 2
    return to_frame(array)


def prints(days: list[dt.date], *times: dt.time) -> pd.DataFrame:
    """A row of nonsense at each time of each day."""
    array = np.zeros(len(days) * len(times), CANDLE)
    array["start"] = [at(d, t) for d in days for t in times]
    for name in ("open", "high", "low", "close"):
        array[name] = 1.0
    return to_frame(array)


@given(
    days=st.lists(st.sampled_from(DAYS), min_size=1, unique=True).map(sorted),
    end_labelled=st.booleans(),
    pre_open=st.booleans(),
    late=st.booleans(),
    holes=st.sets(st.integers(5, 300), max_size=20),
    again=st.lists(st.integers(0, 374), max_size=10),
    seed=st.none() | st.integers(0, 2**16),
)
def test_mending_gives_the_clean_days_back(
    days: list[dt.date], end_labelled: bool, pre_open: bool, late: bool, holes: set[int], again: list[int],
    seed: int | None,
) -> None:  # fmt: skip
    """Labels, prints out of hours, gaps, repeated rows and disorder, all at once; each is counted."""
    clean = clean_days(days)
    clean = clean[~np.isin(np.arange(len(clean)) % 375, list(holes))]
    spoilt = pd.concat([clean, clean.iloc[[n % len(clean) for n in again]]])
    if end_labelled:
        spoilt.index = spoilt.index + pd.Timedelta(minutes=1)
    if pre_open:
        spoilt = pd.concat([spoilt, prints(days, dt.time(9, 8))])
    if late:
        spoilt = pd.concat([spoilt, prints(days, dt.time(15, 45), dt.time(16, 0))])
    if seed is not None:
        spoilt = spoilt.sample(frac=1, random_state=seed)
    mended, repairs = mend(spoilt.rename_axis("start"), INDEX)
    assert to_array(mended).tolist() == to_array(clean).tolist()
    assert repairs.count("end_labelled") == end_labelled * (len(clean) + (pre_open + 2 * late) * len(days))
    assert repairs.count("pre_open_print") == pre_open * len(days)
    assert repairs.count("out_of_session") == late * 2 * len(days)
    assert repairs.count("missing_minutes") == len(holes) * len(days)
    assert repairs.count("duplicate") == len(again)


@given(st.sets(st.integers(0, 374), max_size=300))
def test_filling_leaves_no_gap(holes: set[int]) -> None:
    """Filled days have every minute; what was there is unchanged."""
    clean = clean_days(DAYS[:1])
    left = clean[~np.isin(np.arange(375), list(holes))]
    filled, _ = mend(left, INDEX, labelled="start", fill=True)
    assert to_array(filled)["start"].tolist() == to_array(clean)["start"].tolist()
    assert filled.loc[left.index].equals(left)
    flat = filled[~filled.index.isin(left.index)]
    assert (flat["high"] == flat["low"]).all()
    assert not flat["volume"].any()
