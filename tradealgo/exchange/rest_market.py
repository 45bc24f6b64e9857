"""REST: the instruments dump, quotes and historical candles. Shapes as in Kite Connect v3's documentation."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import numpy as np
from aiohttp import web

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.errors import UnknownInstrument
from tradealgo.domain.hours import IST, IST_OFFSET_NS
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.ticks import FLAG_INDEX
from tradealgo.exchange import packets
from tradealgo.exchange.http import Answer, exchange_of
from tradealgo.exchange.protocol import bad_input, rupees, time_text
from tradealgo.exchange.service import PaperExchange

QUOTE_LIMITS = {"quote": 500, "ohlc": 1_000, "ltp": 1_000}
#: Interval: (minutes, days a request may span).
INTERVALS = {
    "minute": (1, 60), "3minute": (3, 100), "5minute": (5, 100), "10minute": (10, 100), "15minute": (15, 200),
    "30minute": (30, 200), "60minute": (60, 400), "day": (0, 2_000),
}  # fmt: skip
_COLUMNS = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,"
    "instrument_type,segment,exchange"
)


# ---------------------------------------------------------------------------------------------- instruments


def _row(i: Instrument) -> str:
    kind = "EQ" if i.kind is Kind.INDEX else i.kind.value
    segment = i.segment or ("INDICES" if i.kind is Kind.INDEX else i.exchange)
    expiry = i.expiry.isoformat() if i.expiry else ""
    return (
        f'{i.instrument_token},{i.instrument_token >> 8},{i.tradingsymbol},"{i.name}",0,{expiry},{i.strike:g},'
        f"{i.tick_size:g},{i.lot_size},{kind},{segment},{i.exchange}"
    )


async def instruments(request: web.Request) -> web.StreamResponse:
    """The dump as CSV, compressed for clients that say they can read that."""
    wanted = request.match_info.get("exchange")
    buffer = io.StringIO()
    print(_COLUMNS, file=buffer)
    for instrument in exchange_of(request).market.instruments:
        if wanted is None or instrument.exchange == wanted:
            print(_row(instrument), file=buffer)
    response = web.Response(text=buffer.getvalue(), content_type="text/csv")
    response.enable_compression()
    return response


# ---------------------------------------------------------------------------------------------- quotes


def _asked(request: web.Request, kind: str) -> list[tuple[str, np.void]]:
    """What was asked for and exists, with its latest tick. Unknown names are left out, as Kite does."""
    keys = list(dict.fromkeys(request.query.getall("i", [])))
    if not keys:
        raise bad_input("Missing `i`.")
    if len(keys) > QUOTE_LIMITS[kind]:
        raise bad_input(f"Too many instruments: at most {QUOTE_LIMITS[kind]} a request.")
    exchange, found = exchange_of(request), []
    for key in keys:
        token = _token(exchange, key)
        if token is not None and exchange.engine.board.tick(token)["ts_event"]:
            found.append((key, exchange.engine.board.tick(token)))
    return found


def _token(exchange: PaperExchange, key: str) -> int | None:
    try:
        if key.isdigit():
            return exchange.market.instruments.by_token(int(key)).instrument_token
        return exchange.market.instruments.find(key).instrument_token if ":" in key else None
    except UnknownInstrument:
        return None


def _ltp(tick: np.void) -> dict[str, Any]:
    return {"instrument_token": int(tick["instrument_token"]), "last_price": float(tick["last_price"])}


def _ohlc(tick: np.void) -> dict[str, Any]:
    return _ltp(tick) | {"ohlc": {name: float(tick[name]) for name in ("open", "high", "low", "close")}}


def _quote(exchange: PaperExchange, tick: np.void) -> dict[str, Any]:
    instrument = exchange.market.instruments.by_token(int(tick["instrument_token"]))
    head = {"timestamp": time_text(int(tick["ts_event"]))}
    change = {"net_change": round(float(tick["last_price"] - tick["close"]), 4)}
    if not instrument.tradable:
        return _ohlc(tick) | head | change
    low, high = exchange.engine.board.band(instrument)
    levels = packets.depth(np.array([tick]))[0]
    rows = [{"price": float(p), "quantity": int(q), "orders": int(n)} for q, p, n in levels.tolist()]
    return (
        _ohlc(tick)
        | head
        | change
        | {
            "last_trade_time": time_text(int(tick["last_trade_time"])),
            "last_quantity": int(tick["last_quantity"]),
            "buy_quantity": int(tick["buy_quantity"]),
            "sell_quantity": int(tick["sell_quantity"]),
            "volume": int(tick["volume"]),
            "average_price": float(tick["average_price"]),
            "oi": int(tick["oi"]),
            "oi_day_high": int(tick["oi"]),
            "oi_day_low": int(tick["oi"]),
            "lower_circuit_limit": rupees(low),
            "upper_circuit_limit": rupees(high),
            "depth": {"buy": rows[: packets.DEPTH_LEVELS], "sell": rows[packets.DEPTH_LEVELS :]},
        }
    )


async def quote(request: web.Request) -> Answer:
    return {key: _quote(exchange_of(request), tick) for key, tick in _asked(request, "quote")}


async def ohlc(request: web.Request) -> Answer:
    return {key: _ohlc(tick) for key, tick in _asked(request, "ohlc")}


async def ltp(request: web.Request) -> Answer:
    return {key: _ltp(tick) for key, tick in _asked(request, "ltp")}


# ---------------------------------------------------------------------------------------------- candles


def _instant(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d"):
        try:
            return int(dt.datetime.strptime(text, form).replace(tzinfo=IST).timestamp()) * 1_000_000_000
        except ValueError:
            continue
    raise bad_input(f"Invalid `{name}` date.")


async def historical(request: web.Request) -> Answer:
    """Candles of the day that is played, up to the data clock; other days have none."""
    exchange, interval = exchange_of(request), request.match_info["interval"]
    if interval not in INTERVALS:
        raise bad_input("invalid interval")
    begin, end = _instant(request, "from"), _instant(request, "to")
    minutes, days = INTERVALS[interval]
    if end < begin:
        raise bad_input("from date cannot be after to date")
    if end - begin > days * 86_400_000_000_000:
        raise bad_input(f"interval exceeds max limit: {days} days")
    text = request.match_info["token"]
    token = _token(exchange, text) if text.isdigit() else None
    if token is None:
        raise bad_input("invalid token")
    candles = _so_far(exchange, token)
    seen = candles[(candles["start"] >= begin) & (candles["start"] <= end)]
    return {"candles": _rows(seen, minutes, request.query.get("oi") == "1")}


def _so_far(exchange: PaperExchange, token: int) -> np.ndarray:
    """The day's closed minutes, and the running one as its ticks have made it so far."""
    candles, now = exchange.market.candles[token], exchange.position
    closed = candles[candles["start"] + MINUTE_NS <= now]
    start = now // MINUTE_NS * MINUTE_NS
    ticks = exchange.tape.between(start - 1, now)
    ticks = ticks[(ticks["instrument_token"] == token) & (ticks["ts_event"] < exchange.market.hours(token).close)]
    is_index = ticks["flags"] & FLAG_INDEX > 0
    ticks = ticks[is_index | (ticks["last_trade_time"] >= start)]  # the others traded before it
    if not len(ticks) or not (candles["start"] == start).any():
        return closed
    prices, running = ticks["last_price"], np.zeros(1, CANDLE)
    traded = int(ticks["volume"][-1]) - int(closed["volume"].sum())
    running[0] = (start, prices[0], prices.max(), prices.min(), prices[-1], traded, ticks["oi"][-1])
    return np.concatenate([closed, running])


def _rows(candles: np.ndarray, minutes: int, with_oi: bool) -> list[list[object]]:
    """Candles of `minutes` (0: the day), each counted from the day's first minute at 09:15."""
    if not len(candles):
        return []
    first = (candles["start"][0] + IST_OFFSET_NS) // (86_400 * 10**9) * (86_400 * 10**9) - IST_OFFSET_NS
    anchor = first + (9 * 60 + 15) * MINUTE_NS
    groups = (candles["start"] - anchor) // (minutes * MINUTE_NS) if minutes else np.zeros(len(candles), np.int64)
    out: list[list[object]] = []
    for group in np.unique(groups):
        part = candles[groups == group]
        start = anchor + int(group) * minutes * MINUTE_NS if minutes else first
        when = dt.datetime.fromtimestamp(int(start) // 10**9, IST).strftime("%Y-%m-%dT%H:%M:%S+0530")
        row: list[object] = [
            when, float(part["open"][0]), float(part["high"].max()), float(part["low"].min()),
            float(part["close"][-1]), int(part["volume"].sum()),
        ]  # fmt: skip
        out.append([*row, int(part["oi"][-1])] if with_oi else row)
    return out
