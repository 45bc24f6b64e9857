"""Binary frames, read back by the official client's own parser."""

import datetime as dt

import numpy as np
import pytest
from kiteconnect.ticker import KiteTicker

from tradealgo.domain.ticks import MODE_FULL, empty_ticks
from tradealgo.exchange.market import MarketDay, simulated_day
from tradealgo.exchange.packets import depth, encode_frame, frame_header
from tradealgo.exchange.tape import Tape

DAY = dt.date(2026, 11, 23)
KEYS = ["NSE:NIFTY 50", "NSE:INFY", "NFO:NIFTY26NOVFUT"]


@pytest.fixture(scope="module")
def market_day() -> MarketDay:
    return simulated_day(DAY, 3, KEYS)


@pytest.fixture(scope="module")
def ticks(market_day: MarketDay) -> np.ndarray:
    return Tape(market_day).between(market_day.open - 10**11, market_day.open + 5 * 60 * 10**9)


def parse(frame: bytes) -> list[dict]:
    return KiteTicker("key", "token")._parse_binary(frame)


def in_frame_order(ticks: np.ndarray) -> np.ndarray:
    return ticks[np.argsort(ticks["flags"] == 0, kind="stable")]


@pytest.mark.parametrize("mode", ["ltp", "quote", "full"])
def test_client_reads_token_and_last_price(ticks: np.ndarray, mode: str) -> None:
    """Every mode carries token and last price, to the paisa."""
    parsed = parse(encode_frame(ticks, mode))
    expected = in_frame_order(ticks)
    assert [p["instrument_token"] for p in parsed] == expected["instrument_token"].tolist()
    assert [p["last_price"] for p in parsed] == expected["last_price"].tolist()
    assert {p["mode"] for p in parsed} == {mode}


def test_client_reads_full_packets(ticks: np.ndarray) -> None:
    """Everything of a tick but the index's missing fields comes back from a full packet."""
    for tick, packet in zip(in_frame_order(ticks), parse(encode_frame(ticks)), strict=True):
        assert packet["exchange_timestamp"] == dt.datetime.fromtimestamp(tick["ts_event"] / 1e9)
        assert packet["ohlc"] == {name: tick[name] for name in ("open", "high", "low", "close")}
        assert packet["change"] == (tick["last_price"] - tick["close"]) * 100 / tick["close"]
        if packet["tradable"]:
            assert packet["volume_traded"] == tick["volume"]
            assert packet["average_traded_price"] == tick["average_price"]
            assert packet["last_traded_quantity"] == tick["last_quantity"]
            assert packet["total_buy_quantity"] == tick["buy_quantity"]
            assert packet["total_sell_quantity"] == tick["sell_quantity"]
            assert packet["oi"] == tick["oi"]
            best = packet["depth"]["buy"][0], packet["depth"]["sell"][0]
            assert [b["price"] for b in best] == [tick["bid_price"], tick["ask_price"]]
            assert [b["quantity"] for b in best] == [tick["bid_quantity"], tick["ask_quantity"]]


def test_depth_descends_and_ascends(ticks: np.ndarray) -> None:
    """Bids fall and asks rise from the best level, without crossing."""
    levels = depth(ticks[(ticks["mode"] == MODE_FULL) & (ticks["bid_price"] > 0)])
    prices = levels["price"]
    assert len(prices)
    assert (np.diff(prices[:, :5]) < 0).all()
    assert (np.diff(prices[:, 5:]) > 0).all()
    assert (prices[:, 0] < prices[:, 5]).all()
    assert (levels["orders"] > 0).all()


def test_depth_stops_at_zero() -> None:
    """A bid at the lowest tick has nothing below it, and an absent ask has no levels."""
    tick = empty_ticks(1)
    tick["bid_price"], tick["bid_quantity"] = 0.05, 75
    levels = depth(tick)[0]
    assert levels["price"].tolist() == [0.05] + [0.0] * 9
    assert levels["quantity"].tolist() == [75] + [0] * 9


def test_change_of_a_falling_index_is_negative(ticks: np.ndarray) -> None:
    """The index's price change is two's complement."""
    tick = ticks[ticks["flags"] != 0][:1].copy()
    tick["last_price"], tick["close"] = 100.0, 101.5
    body = encode_frame(tick)[4:]
    assert int.from_bytes(body[24:28], "big", signed=True) == -150


def test_a_frame_counts_to_65535() -> None:
    """More packets than a frame's count can say are refused."""
    assert frame_header(65_535) == b"\xff\xff"
    with pytest.raises(ValueError, match="65536 packets"):
        frame_header(65_536)
