"""Candles from Kite's historical endpoint: cut into windows, at the allowed rate, each kept as Parquet once it is complete.

Windows lie on a fixed grid of days, so that overlapping requests share them, and an interrupted download goes on where
it stopped. A window that reaches today is never kept: its candles still change. After a split or bonus Kite gives all of
a share's history anew, so before windows are added the oldest one kept is compared with what Kite says of it now.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tradealgo.config import home
from tradealgo.domain.candles import MINUTE_NS
from tradealgo.domain.errors import BadConfig, InvalidInput, OutcomeUnknown, TokenDead, UnknownInstrument
from tradealgo.domain.hours import IST
from tradealgo.domain.instruments import Instrument
from tradealgo.research.candle_files import COLUMNS, INDIA
from tradealgo.research.repair import mend, probe

if TYPE_CHECKING:
    import pandas as pd
    from kiteconnect import KiteConnect

#: Kite's intervals: minutes of a candle, and days that one request may span.
INTERVALS: dict[str, tuple[int, int]] = {
    "minute": (1, 60),
    "3minute": (3, 100),
    "5minute": (5, 100),
    "10minute": (10, 100),
    "15minute": (15, 200),
    "30minute": (30, 200),
    "60minute": (60, 400),
    "day": (1_440, 2_000),
}
SECONDS_APART = 1 / 3  # Kite allows 3 historical requests a second
COOL_OFF_S = 10.0  # after a 429
ATTEMPTS = 4
_SAME_PRICE = 0.001  # a fraction: adjusting for a split or bonus moves prices by far more


def windows(start: dt.date, end: dt.date, days: int) -> list[tuple[dt.date, dt.date]]:
    """First and last day of each grid window that touches `start` to `end`."""
    first, last = start.toordinal() // days, end.toordinal() // days
    return [(dt.date.fromordinal(n * days), dt.date.fromordinal(n * days + days - 1)) for n in range(first, last + 1)]


class Downloader:
    """Reads windows through the official client, no faster than allowed.

    Args:
        kite: a logged-in KiteConnect; None reads what the cache has, and refuses the rest.
        cache: folder of the Parquet files.
        today: the day from which on windows are not complete.
        sleep, monotonic: the clock, to be replaced in tests.
    """

    def __init__(
        self, kite: KiteConnect | None, cache: Path, today: dt.date, *, sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._kite, self._cache, self._today = kite, cache, today
        self._sleep, self._monotonic = sleep, monotonic
        self._next = 0.0
        self._tokens: dict[str, dict[str, int]] = {}

    def read(self, key: str, interval: str, window: tuple[dt.date, dt.date]) -> pd.DataFrame:
        """One window's candles, from the cache or from Kite."""
        import pandas as pd

        path = self._path(key, interval, window)
        if path.exists():
            return pd.read_parquet(path)
        frame = self._fetched(key, interval, window)
        if window[1] < self._today:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            frame.to_parquet(temporary)
            os.replace(temporary, path)
        return frame

    def _path(self, key: str, interval: str, window: tuple[dt.date, dt.date]) -> Path:
        return self._cache / interval / quote(key, safe="") / f"{window[0]}_{window[1]}.parquet"

    def drop_outdated(self, key: str, interval: str, spans: Sequence[tuple[dt.date, dt.date]]) -> None:
        """Forget a key's kept windows if Kite now has other prices for the oldest of them, and any of `spans` must be fetched."""
        import pandas as pd

        if self._kite is None or all(self._path(key, interval, w).exists() for w in spans):
            return
        kept = sorted(self._path(key, interval, spans[0]).parent.glob("*.parquet"))
        frame = next((f for f in map(pd.read_parquet, kept) if len(f)), None)
        if frame is None:
            return
        day = frame.index[-1].date()
        now = self._fetched(key, interval, (day, day))["close"]
        then = frame["close"].reindex(now.index)
        if ((then / now - 1.0).abs() > _SAME_PRICE).any():
            for path in kept:
                path.unlink()

    def _fetched(self, key: str, interval: str, window: tuple[dt.date, dt.date]) -> pd.DataFrame:
        if self._kite is None:
            raise BadConfig(
                f"{key}'s candles from {window[0]} to {window[1]} are not in {self._cache}: "
                "pass kite=, a logged-in KiteConnect, to download them"
            )
        begin = dt.datetime.combine(window[0], dt.time())
        end = dt.datetime.combine(min(window[1], self._today), dt.time(23, 59, 59))
        token, read = self._token(key), self._kite.historical_data
        return framed(self._asked(lambda: read(token, begin, end, interval, oi=True)))

    def _token(self, key: str) -> int:
        """Today's token of a key, from the broker's dump. Raises UnknownInstrument."""
        exchange, _, symbol = key.partition(":")
        if exchange not in self._tokens:
            assert self._kite is not None
            dump = self._kite.instruments
            rows = self._asked(lambda: dump(exchange))
            self._tokens[exchange] = {row["tradingsymbol"]: row["instrument_token"] for row in rows}
        found = self._tokens[exchange].get(symbol)
        if found is None:
            raise UnknownInstrument(
                f"{key!r} is not in today's dump of {exchange}: expired contracts have no history at Kite; "
                "write keys as NSE:INFY"
            )
        return found

    def _asked(self, call: Callable[[], Any]) -> Any:
        """An answer, asked for again after what may pass: reading twice does no harm."""
        import requests
        from kiteconnect.exceptions import DataException, KiteException, NetworkException, TokenException

        for attempt in range(1, ATTEMPTS + 1):
            self._wait()
            try:
                return call()
            except TokenException as error:
                raise TokenDead(f"Kite refuses the access token ({error}): log in again") from error
            except KiteException as error:
                passes = isinstance(error, NetworkException | DataException) or error.code == 429 or error.code >= 500
                if not passes:
                    raise InvalidInput(f"Kite refuses the request for candles: {error}") from error
                failed: Exception = error
            # The client's own errors over an answer that isn't Kite's are TypeError and KeyError
            except (requests.ConnectionError, requests.Timeout, TypeError, KeyError) as error:
                failed = error
            if attempt == ATTEMPTS:
                raise OutcomeUnknown(f"Kite gave no candles in {ATTEMPTS} attempts: {failed!r}") from failed
            self._sleep(COOL_OFF_S if getattr(failed, "code", 0) == 429 else float(attempt))

    def _wait(self) -> None:
        now = self._monotonic()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + SECONDS_APART


def framed(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows of `KiteConnect.historical_data` as a frame."""
    import pandas as pd

    stamps = pd.DatetimeIndex(pd.to_datetime([r["date"] for r in records], utc=True), name="start")
    values = {name: [float(r.get(name, 0.0)) for r in records] for name in COLUMNS}
    return pd.DataFrame(values, index=stamps.tz_convert(INDIA).as_unit("ns"))


def history(
    instruments: str | Instrument | Sequence[str | Instrument],
    start: dt.date | str,
    end: dt.date | str,
    interval: str = "minute",
    *,
    kite: KiteConnect | None = None,
    cache: Path | str | None = None,
    progress: bool = True,
) -> dict[str, pd.DataFrame]:
    """Candles by key from Kite, `start` to `end` (both days included), mended like a file's.

    Args:
        instruments: one key such as "NSE:INFY", or several.
        interval: "minute", "3minute", … "60minute" or "day".
        kite: a logged-in KiteConnect; None uses the cache alone.
        cache: folder of what was downloaded before; `history` in TRADEALGO_HOME by default.

    Raises:
        InvalidInput: an interval that Kite doesn't have, days in the wrong order.
        UnknownInstrument, BadConfig, TokenDead, OutcomeUnknown: as their texts say. Windows read so far are kept.
    """
    first, last = (dt.date.fromisoformat(d) if isinstance(d, str) else d for d in (start, end))
    if interval not in INTERVALS:
        raise InvalidInput(f"unknown interval {interval!r}: expected one of {', '.join(INTERVALS)}")
    if last < first:
        raise InvalidInput(f"history ends ({last}) before it starts ({first}): swap them")
    given = [instruments] if isinstance(instruments, str | Instrument) else list(instruments)
    keys = [i if isinstance(i, str) else i.key for i in given]
    folder = Path(cache) if cache is not None else home() / "history"
    downloader = Downloader(kite, folder, dt.datetime.now(IST).date())
    spans = windows(first, last, INTERVALS[interval][1])
    for key in keys:
        downloader.drop_outdated(key, interval, spans)
    parts: dict[str, list[pd.DataFrame]] = {key: [] for key in keys}
    for key, window in _counted([(k, w) for k in keys for w in spans], progress):
        parts[key].append(downloader.read(key, interval, window))
    return {key: _joined(key, frames, first, last, interval) for key, frames in parts.items()}


def _counted(work: list[tuple[str, tuple[dt.date, dt.date]]], progress: bool) -> Iterator[Any]:
    from tqdm.auto import tqdm

    yield from tqdm(work, desc="history", unit="window", leave=False, disable=not progress or len(work) < 3)


def _joined(key: str, frames: list[pd.DataFrame], first: dt.date, last: dt.date, interval: str) -> pd.DataFrame:
    import pandas as pd

    frame = pd.concat([f for f in frames if len(f)] or frames[:1])
    days = frame.index.date  # type: ignore[attr-defined]
    frame = frame[(days >= first) & (days <= last)]
    minutes = INTERVALS[interval][0]
    if not len(frame) or interval == "day":
        return frame
    mended, repairs = mend(frame, probe(key), interval_ns=minutes * MINUTE_NS, labelled="start")
    mended.attrs["repairs"] = repairs.plain()
    return mended
