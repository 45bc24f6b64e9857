"""Candle files as they come: CSV with or without a header, gzipped or not, and Parquet.

Without a header a line is `symbol,yyyymmdd,HH:MM,open,high,low,close,volume,oi` (a common text format of NSE data sets).
With one, columns are found by name. Times without a zone are IST.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tradealgo.domain.errors import BadCandles

if TYPE_CHECKING:
    import pandas as pd

INDIA = "Asia/Kolkata"
COLUMNS = ["open", "high", "low", "close", "volume", "oi"]
TEXT_COLUMNS = ["symbol", "date", "time", *COLUMNS]
_STARTS = ("start", "datetime", "timestamp", "date", "time")
_SYMBOLS = ("symbol", "key", "tradingsymbol", "ticker")
_MEND = "mend or delete the line"


def read_raw(path: Path, symbol: str | None = None) -> tuple[pd.DataFrame, str]:
    """The rows of a file as they stand, on a tz-aware "start" index, and the symbol they are of.

    Raises:
        BadCandles: no such file, a malformed line (with its number), or several symbols and none chosen.
    """
    if not path.exists():
        raise BadCandles(f"there is no candle file {path}: give the path of a CSV, text or Parquet file")
    raw, first_line = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    raw, name = _one_symbol(raw, symbol, path)
    frame = raw.set_axis(_starts(raw, path, first_line))
    for column in COLUMNS:
        if column not in frame:
            if column not in ("volume", "oi"):
                raise BadCandles(f"{path} has columns {', '.join(map(str, raw.columns))}: it lacks {column!r}")
            frame[column] = 0.0
    _check(frame, raw, path, first_line)
    return frame[COLUMNS].astype("float64").rename_axis("start"), name


def _read_parquet(path: Path) -> tuple[pd.DataFrame, int]:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise BadCandles(f"{path} can't be read as Parquet: {error}") from error
    named = frame.reset_index() if frame.index.name else frame
    return named.rename(columns=lambda c: str(c).strip().lower()).reset_index(drop=True), 1


def _first_line(path: Path) -> str:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt") as file:  # type: ignore[operator]
            return str(file.readline()).strip()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadCandles(f"{path} can't be read: {error}") from error


def _read_text(path: Path) -> tuple[pd.DataFrame, int]:
    import pandas as pd

    head = _first_line(path)
    if not head:
        raise BadCandles(f"{path} is empty: expected lines of {','.join(TEXT_COLUMNS)}")
    header = any(word in head.lower() for word in ("open", "close"))
    names = None if header else TEXT_COLUMNS[: head.count(",") + 1]
    text = dict.fromkeys((*_STARTS, *_SYMBOLS), str)
    try:
        # a blank line must keep its place, so that a row's number tells its line
        frame = pd.read_csv(path, header=0 if header else None, names=names, dtype=text, skip_blank_lines=False)  # type: ignore[call-overload]
    except (ValueError, OSError, EOFError) as error:
        raise BadCandles(f"{path} can't be read: {error}") from error
    return frame.rename(columns=lambda c: str(c).strip().lower()).dropna(how="all"), 2 if header else 1


def _one_symbol(raw: pd.DataFrame, symbol: str | None, path: Path) -> tuple[pd.DataFrame, str]:
    column = next((c for c in _SYMBOLS if c in raw), None)
    if column is None:
        return raw, symbol or path.name.split(".")[0]
    there = raw[column].dropna().unique().tolist()
    if symbol is None and len(there) != 1:
        raise BadCandles(
            f"{path} holds {len(there)} instruments ({', '.join(map(str, there[:5]))} …): choose one with symbol="
        )
    if symbol is not None and symbol not in there:
        raise BadCandles(f"{path} has no {symbol!r}: it holds {', '.join(map(str, there[:5]))}")
    name = symbol or str(there[0])
    return raw[(raw[column] == name) | raw[column].isna()], name


def _starts(raw: pd.DataFrame, path: Path, first_line: int) -> pd.DatetimeIndex:
    import pandas as pd

    column = next((c for c in _STARTS if c in raw), None)
    if column is None:
        raise BadCandles(
            f"{path} has columns {', '.join(map(str, raw.columns))}: it lacks a time ({', '.join(_STARTS)})"
        )
    given = raw[column]
    if column == "date" and "time" in raw:
        given = given.str.strip() + " " + raw["time"].str.strip()
    compact = "%Y%m%d %H:%M" if "time" in raw and column == "date" and str(given.iloc[0])[:8].isdigit() else None
    if given.dtype == object or pd.api.types.is_string_dtype(given.dtype):
        parsed = _parsed(given, compact)
    elif pd.api.types.is_integer_dtype(given.dtype):
        parsed = pd.Series(pd.to_datetime(given, unit="ns", utc=True), raw.index)
    else:
        parsed = given
    if parsed.isna().any():
        row = int(np.flatnonzero(parsed.isna())[0])
        raise BadCandles(f"{_place(raw, path, first_line, row)}: {given.iloc[row]!r} is not a time; {_MEND}")
    index = pd.DatetimeIndex(parsed)
    index = index.tz_localize(INDIA) if index.tz is None else index.tz_convert(INDIA)
    return index.as_unit("ns")


def _parsed(texts: pd.Series, form: str | None) -> pd.Series:
    import pandas as pd

    if form is None:
        first = str(texts.iloc[0])
        zoned = first[10:].find("+") >= 0 or first.endswith("Z")
        day_first = not first[:4].isdigit()  # 04-08-2025 is the fourth of August in India
        return pd.to_datetime(
            texts, errors="coerce", utc=zoned, format="ISO8601" if zoned else None, dayfirst=day_first
        )
    return pd.to_datetime(texts, errors="coerce", format=form)


def _place(raw: pd.DataFrame, path: Path, first_line: int, row: int) -> str:
    return f"{path}, line {int(raw.index[row]) + first_line}"


def _check(frame: pd.DataFrame, raw: pd.DataFrame, path: Path, first_line: int) -> None:
    """Raise BadCandles for the first row that isn't a candle."""
    import pandas as pd

    for column in COLUMNS:
        if not pd.api.types.is_numeric_dtype(frame[column].dtype):
            frame[column] = pd.to_numeric(frame[column], errors="coerce")
    values = frame[COLUMNS].to_numpy("float64")
    opened, high, low, close, volume, oi = values.T
    faults = (
        ("a number is missing or malformed", ~np.isfinite(values).all(axis=1)),
        ("a price is not positive", (values[:, :4] <= 0).any(axis=1)),
        ("low and high don't enclose open and close", (low > np.minimum(opened, close)) | (high < np.maximum(opened, close))),
        ("volume or oi is negative", (volume < 0) | (oi < 0)),
    )  # fmt: skip
    for text, rows in faults:
        if rows.any():
            row = int(np.flatnonzero(rows)[0])
            line = ",".join(str(v) for v in raw.iloc[row].tolist())
            raise BadCandles(f"{_place(raw, path, first_line, row)}: {text} in {line!r}; {_MEND}")
