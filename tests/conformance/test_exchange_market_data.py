"""Instruments, quotes and candles through the official client."""

from __future__ import annotations

import datetime as dt

import pytest
from kiteconnect import KiteConnect
from kiteconnect.exceptions import InputException

from tradealgo.exchange.testing import RunningExchange

INFY = 408065


def test_instruments_dump(kite: KiteConnect) -> None:
    """The CSV is parsed by the client; an index is an EQ row of segment INDICES."""
    rows = {r["tradingsymbol"]: r for r in kite.instruments()}
    assert set(rows) == {"INFY", "RELIANCE", "NIFTY 50"}
    assert rows["INFY"]["instrument_token"] == INFY
    assert rows["INFY"]["exchange_token"] == str(INFY >> 8)
    assert (rows["NIFTY 50"]["instrument_type"], rows["NIFTY 50"]["segment"]) == ("EQ", "INDICES")
    assert [r["exchange"] for r in kite.instruments("NFO")] == []


def test_quotes(kite: KiteConnect) -> None:
    """quote, ohlc and ltp agree; depth is five a side and never crossed; unknown names are left out."""
    key = "NSE:INFY"
    quote = kite.quote([key, "NSE:NOSUCH", "NSE:NIFTY 50"])
    assert set(quote) == {key, "NSE:NIFTY 50"}
    assert quote[key]["last_price"] == kite.ltp(key)[key]["last_price"]
    assert quote[key]["ohlc"] == kite.ohlc(key)[key]["ohlc"]
    buy, sell = quote[key]["depth"]["buy"], quote[key]["depth"]["sell"]
    assert len(buy) == len(sell) == 5
    assert buy[0]["price"] < sell[0]["price"]
    assert quote[key]["lower_circuit_limit"] < quote[key]["last_price"] < quote[key]["upper_circuit_limit"]
    assert isinstance(quote[key]["timestamp"], dt.datetime)
    assert kite.ltp(str(INFY))[str(INFY)]["instrument_token"] == INFY


def test_too_many_quotes(kite: KiteConnect) -> None:
    """At most 500 instruments a quote."""
    with pytest.raises(InputException):
        kite.quote([f"NSE:X{i}" for i in range(501)])


def test_historical_candles_never_look_ahead(paper: RunningExchange, kite: KiteConnect) -> None:
    """Minutes up to the data clock only; the running one agrees with the quote."""
    paper.advance(330)
    candles = kite.historical_data(INFY, "2026-11-20 09:15:00", "2026-11-20 15:30:00", "minute", oi=True)
    assert len(candles) == 7
    assert candles[0]["date"].isoformat() == "2026-11-20T09:15:00+05:30"
    quote = kite.quote("NSE:INFY")["NSE:INFY"]
    assert candles[-1]["close"] == quote["last_price"]
    assert sum(c["volume"] for c in candles) == quote["volume"]
    assert max(c["high"] for c in candles) == quote["ohlc"]["high"]
    assert candles[0]["oi"] == 0


def test_historical_intervals(paper: RunningExchange, kite: KiteConnect) -> None:
    """Five minutes are five minutes; a day is a day."""
    paper.advance(3600)
    day = dt.datetime(2026, 11, 20)
    minutes = kite.historical_data(INFY, day, day + dt.timedelta(days=1), "minute")
    fives = kite.historical_data(INFY, day, day + dt.timedelta(days=1), "5minute")
    whole = kite.historical_data(INFY, day, day + dt.timedelta(days=1), "day")
    assert fives[0]["open"] == minutes[0]["open"]
    assert fives[0]["close"] == minutes[4]["close"]
    assert fives[0]["high"] == max(c["high"] for c in minutes[:5])
    assert [c["date"].minute for c in fives[:3]] == [15, 20, 25]
    assert len(whole) == 1
    assert whole[0]["volume"] == sum(c["volume"] for c in minutes)


@pytest.mark.parametrize(
    ("token", "start", "end", "interval", "text"),
    [
        (INFY, "2026-11-20", "2026-11-21", "2minute", "interval"),
        (INFY, "2026-01-01", "2026-11-20", "minute", "max limit: 60 days"),
        (INFY, "2026-11-21", "2026-11-20", "minute", "after"),
        (INFY, "yesterday", "2026-11-20", "minute", "from"),
        (12345, "2026-11-20", "2026-11-21", "minute", "token"),
    ],
)
def test_historical_refusals(kite: KiteConnect, token: int, start: str, end: str, interval: str, text: str) -> None:
    """Each bad request is an InputException."""
    with pytest.raises(InputException, match=text):
        kite.historical_data(token, start, end, interval)
