"""Bad input over the bus, to a real Gatekeeper at a real exchange: denied with code and figures, nothing sent, nothing lost."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gate_session import GateSession, gate_session

from tradealgo.bus.codec import encode
from tradealgo.bus.keys import GATEKEEPER_GROUP, Stream, stream_key
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.exchange.testing import RunningExchange, running_exchange

INFY = "NSE:INFY"
DAY_NS = 86_400 * 10**9
#: What is asked for beside 10 INFY, the denial's code, and the figures that must be there.
BAD: tuple[tuple[dict[str, Any], str, set[str]], ...] = (
    ({"reference_price": math.nan}, "BAD_PRICE", {"reference_price"}),
    ({"reference_price": math.inf}, "BAD_PRICE", {"reference_price"}),
    ({"reference_price": -1_500.0}, "BAD_PRICE", {"reference_price"}),
    ({"reference_price": 0.0}, "BAD_PRICE", {"reference_price"}),
    ({"reference_price": 1e300}, "BAD_PRICE", {"reference_price"}),
    ({"reference_price": 15.0}, "FAT_FINGER", {"reference", "last_price", "gap"}),
    ({"stop": math.nan}, "BAD_PRICE", {"stop"}),
    ({"target": -1.0}, "BAD_PRICE", {"target"}),
    ({"quantity": 0}, "BAD_QUANTITY", {"quantity", "limit"}),
    ({"quantity": -10}, "BAD_QUANTITY", {"quantity", "limit"}),
    ({"quantity": 2**40, "position_after": 2**40}, "BAD_QUANTITY", {"quantity", "limit"}),
    ({"quantity": 100_000, "position_after": 100_000}, "ORDER_VALUE", {"value", "limit"}),
    ({"intent": Intent.KILL}, "BAD_INTENT", {"intent"}),
    ({"request_id": "x" * 201}, "BAD_ID", {"length"}),
    ({"session_id": "somebody-else"}, "WRONG_SESSION", {"session"}),
    ({"instrument": "NSE:TCS"}, "UNKNOWN_INSTRUMENT", {"instrument", "token"}),
    ({"instrument_token": 1}, "UNKNOWN_INSTRUMENT", {"instrument", "token"}),
    ({"start": -DAY_NS}, "OLD_REQUEST", {"start"}),  # counted from the session's own candle
    ({"ts_requested": 10**18}, "STALE_REQUEST", {"age_s", "limit_s"}),
    ({"ts_requested": 4 * 10**18}, "FUTURE_REQUEST", {"age_s"}),
)
TEN: dict[str, Any] = {"key": INFY, "side": Side.BUY, "quantity": 10, "position_after": 10}
GARBAGE: tuple[dict[bytes, bytes], ...] = (
    {b"m1": b"\xc1garbage"},
    {b"m1": msgspec.msgpack.encode({"request_id": "bad"}).replace(b"bad", b"b\xffd")},  # not UTF-8
    {b"m1": b""},
    {b"nothing": b"at all"},
    {b"m1": msgspec.msgpack.encode({"request_id": "r", "quantity": "ten"})},
    {b"m1": msgspec.msgpack.encode([1] * 10_000)},
)


@pytest.fixture
def paper() -> Iterator[RunningExchange]:
    with running_exchange([INFY, "NSE:RELIANCE"]) as running:
        running.open_market()
        yield running


@pytest.fixture
async def session(paper: RunningExchange, bus_url: str, tmp_path: Path) -> AsyncIterator[GateSession]:
    async with gate_session(paper, bus_url, tmp_path, Limits(stale_price_s=600.0)) as running:
        yield running


async def test_bad_requests_are_denied_with_code_and_figures(session: GateSession) -> None:
    """Each has its verdict, in words and figures; the broker never hears of any, and a good one passes after them all."""
    asked = {}
    for number, (changes, code, figures) in enumerate(BAD):
        if changes.get("start"):
            changes = {"start": session.paper.exchange.position + changes["start"]}
        request = await session.ask(**(TEN | {"request_id": f"bad-{number}"} | changes))
        asked[request.request_id] = (code, figures)
    for request_id, (code, figures) in asked.items():
        verdict = await session.verdict(request_id)
        assert verdict.code == code, verdict
        assert figures <= set(verdict.figures), verdict
        assert len(verdict.text) > 10
        print(f"{verdict.code:>20}  {verdict.text}  {verdict.figures}")
    assert session.broker_orders() == []
    assert await session.orders() == {}
    good = await session.ask(INFY, Side.BUY, 10, 10)
    assert (await session.verdict(good.request_id)).code == "SUBMIT"
    await session.order(good, OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.FILLED)
    assert len(session.broker_orders()) == 1
    verdicts = [e.message.request_id for e in await session.bus.range(Stream.VERDICTS)]
    assert sorted(verdicts) == sorted([*asked, good.request_id]), "one verdict each"


async def test_what_is_no_request_is_told_and_blocks_nothing(session: GateSession) -> None:
    """Noise, emptiness, the wrong fields, the wrong types: MALFORMED, acknowledged, and never seen again."""
    key = stream_key(session.session_id, Stream.REQUESTS)
    entries = [await session.bus.client.xadd(key, fields) for fields in GARBAGE]
    good = await session.ask(INFY, Side.BUY, 10, 10)
    for entry in entries:
        verdict = await session.verdict(f"?{entry.decode()}")
        assert verdict.code == "MALFORMED"
        print(verdict.text[:150])
    assert (await session.verdict(good.request_id)).code == "SUBMIT"

    async def acknowledged() -> bool:
        return (await session.bus.client.xpending(key, GATEKEEPER_GROUP))["pending"] == 0

    await session.until(acknowledged, what="all entries acknowledged")


async def test_yesterdays_stream_is_refused_as_a_whole(session: GateSession) -> None:
    """The same ids, fields and all of a day ago: no order, also when it comes twice."""
    day_ago = session.paper.exchange.position - DAY_NS
    old = [
        await session.ask(INFY, side, 10, after, intent, start=day_ago + n, ts_requested=10**18)
        for n, (side, after, intent) in enumerate(
            [(Side.BUY, 10, Intent.ENTRY), (Side.SELL, 0, Intent.EXIT), (Side.SELL, -10, Intent.ENTRY)]
        )
    ]
    for request in old:
        verdict = await session.verdict(request.request_id)
        assert verdict.code == "OLD_REQUEST", verdict
    good = await session.ask(INFY, Side.BUY, 10, 10)
    await session.order(good, OrderState.OPEN, OrderState.FILLED)
    key = stream_key(session.session_id, Stream.REQUESTS)
    for request in (*old, good):
        await session.bus.client.xadd(key, encode(request))  # the very same once more
    other = msgspec.structs.replace(good, quantity=20, position_after=20)  # … and another one under a used id
    await session.bus.client.xadd(key, encode(other))

    async def told() -> Any:
        rows = [e.message for e in await session.bus.range(Stream.VERDICTS)]
        return [v for v in rows if v.code == "DUPLICATE"]

    assert (await session.until(told, what="DUPLICATE"))[0].figures["request_id"] == good.request_id
    await asyncio.sleep(0.3)
    assert len(session.broker_orders()) == 1
