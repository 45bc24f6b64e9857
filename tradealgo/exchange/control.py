"""The control API under `/_paper/`: the opening bell, the clock, faults, the reference ledger. No login needed."""

from __future__ import annotations

import msgspec
from aiohttp import web

from tradealgo.domain.errors import InvalidInput
from tradealgo.exchange.faults import Fault
from tradealgo.exchange.http import Answer, exchange_of, json_of
from tradealgo.exchange.protocol import bad_input


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /_paper/clock: data seconds to move on."""

    advance_s: float


async def start(request: web.Request) -> Answer:
    """Ring the opening bell; a second time changes nothing."""
    exchange = exchange_of(request)
    exchange.start()
    return exchange.status()


async def clock(request: web.Request) -> Answer:
    return exchange_of(request).status()


async def advance(request: web.Request) -> Answer:
    """Move the data clock on, and play all that it brings before the answer."""
    exchange = exchange_of(request)
    try:
        step = msgspec.convert(await json_of(request), Step)
    except msgspec.ValidationError as error:
        raise bad_input(f'Expected {{"advance_s": seconds}}: {error}.') from error
    if not 0 <= step.advance_s <= 86_400:
        raise bad_input(f"advance_s is {step.advance_s:g}: expected 0 to 86,400 seconds.")
    await exchange.advance(step.advance_s)
    return exchange.status()


async def ledger(request: web.Request) -> Answer:
    """Cash, positions, charges and MTM in paise, and the data time that they are of."""
    exchange = exchange_of(request)
    engine = exchange.engine
    return engine.ledger.as_json(engine.last_prices()) | {"ts_event": exchange.position}


async def faults(request: web.Request) -> Answer:
    exchange = exchange_of(request)
    return {"armed": exchange.faults.armed(), "struck": exchange.faults.struck}


async def arm(request: web.Request) -> Answer:
    """Arm one fault, or a list of them."""
    exchange, body = exchange_of(request), await json_of(request)
    try:
        for each in body if isinstance(body, list) else [body]:
            exchange.misbehave(msgspec.convert(each, Fault))
    except (msgspec.ValidationError, InvalidInput) as error:
        raise bad_input(f"Not a fault: {error}.") from error
    return {"armed": exchange.faults.armed(), "struck": exchange.faults.struck}


async def clear(request: web.Request) -> Answer:
    exchange_of(request).faults.clear()
    return {"armed": [], "struck": exchange_of(request).faults.struck}
