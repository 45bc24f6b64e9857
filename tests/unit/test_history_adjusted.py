"""Kept candles of a share that was split since: Kite tells all of its history anew."""

import datetime as dt
from pathlib import Path

import pytest

from tradealgo.domain.hours import IST
from tradealgo.research import kite_history
from tradealgo.research.kite_history import history


class Client:
    """What `history` asks of a KiteConnect: one candle a weekday, at one price."""

    def __init__(self) -> None:
        self.price, self.asked = 1_000.0, 0

    def instruments(self, exchange: str) -> list[dict]:
        return [{"tradingsymbol": "INFY", "instrument_token": 1}]

    def historical_data(self, token: int, begin: dt.datetime, end: dt.datetime, interval: str, oi: bool) -> list[dict]:
        self.asked += 1
        count = (end.date() - begin.date()).days + 1
        days = [begin.date() + dt.timedelta(days=n) for n in range(count)]
        return [
            {"date": dt.datetime.combine(d, dt.time(9, 15), IST), "volume": 1, "oi": 0}
            | dict.fromkeys(("open", "high", "low", "close"), self.price)
            for d in days
            if d.weekday() < 5
        ]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kite_history, "SECONDS_APART", 0.0)


def closes(client: Client | None, last: str, cache: Path) -> list[float]:
    found = history("NSE:INFY", "2025-06-02", last, kite=client, cache=cache, progress=False)
    return found["NSE:INFY"]["close"].unique().tolist()


def test_what_was_kept_before_a_bonus_is_read_again(tmp_path: Path) -> None:
    """Half the price since: no history of two scales, now or later."""
    client = Client()
    assert closes(client, "2025-08-29", tmp_path) == [1_000.0]
    client.price = 500.0
    assert closes(client, "2025-12-30", tmp_path) == [500.0]
    assert closes(None, "2025-12-30", tmp_path) == [500.0]


def test_what_is_still_true_is_kept(tmp_path: Path) -> None:
    """One question more before windows are added, none where all are there."""
    client = Client()
    closes(client, "2025-08-29", tmp_path)
    asked = client.asked
    closes(client, "2025-08-29", tmp_path)
    assert client.asked == asked
    closes(client, "2025-12-30", tmp_path)
    kept = len(list(tmp_path.rglob("*.parquet")))
    assert client.asked == kept + 1
