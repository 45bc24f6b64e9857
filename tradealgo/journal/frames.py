"""Messages as DataFrames that people read: IST times, rupees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from tradealgo.bus.codec import MESSAGE_TYPES
from tradealgo.bus.keys import Stream
from tradealgo.domain.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

    from tradealgo.domain.state import Beat

#: Columns in paise on the bus, in rupees in a frame.
PAISE = {Stream.MTM: ("realised", "unrealised", "charges", "mtm", "drawdown", "limit")}

#: What a frame is indexed by; the others are numbered.
INDEX = {Stream.CANDLES: "start", Stream.SIGNALS: "start", Stream.MTM: "ts_event", Stream.FILLS: "ts_event"}


def recorded_stream(name: str) -> Stream:
    """The stream of a frame's name. Raises InvalidInput."""
    try:
        stream = Stream(name)
    except ValueError:
        stream = Stream.TICKS
    if stream not in MESSAGE_TYPES:
        names = ", ".join(s.value for s in MESSAGE_TYPES)
        raise InvalidInput(f"there is no table {name!r}: expected one of {names}")
    return stream


def frame(stream: Stream, rows: Iterable[msgspec.Struct | Mapping[str, Any]]) -> pd.DataFrame:
    """Messages of one stream, or their rows, as a DataFrame with one column a field."""
    import pandas as pd

    plain = [r if isinstance(r, Mapping) else {f: getattr(r, f) for f in r.__struct_fields__} for r in rows]
    table = pd.DataFrame(plain, columns=list(MESSAGE_TYPES[stream].__struct_fields__))
    for column in table.columns:
        if column.startswith("ts") or column == "start":
            table[column] = _times(table[column])
    for column in PAISE.get(stream, ()):
        table[column] = table[column] / 100
    index = INDEX.get(stream)
    return table.set_index(index) if index else table


def health_frame(beats: list[Beat]) -> pd.DataFrame:
    """A row a module; `lag_ms` is how far it is behind the stream that it is furthest behind."""
    lags = [[v for name, v in b.figures.items() if name.startswith("lag_ms")] for b in beats]
    table = frame(Stream.HEALTH, beats).assign(lag_ms=[max(lag, default=None) for lag in lags])
    for name in ("ts", "ts_event"):
        table[name] = table[name].dt.floor("s")
    return table.set_index("module")[["state", "lag_ms", "ts", "ts_event", "pid"]]


def _times(column: Any) -> Any:
    """UTC nanoseconds as IST; 0, which means that it never happened, as NaT."""
    import pandas as pd

    return pd.to_datetime(column.where(column != 0), unit="ns", utc=True).dt.tz_convert("Asia/Kolkata")
