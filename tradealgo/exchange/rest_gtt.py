"""REST: GTT triggers, margins of orders and baskets, the contract note."""

from __future__ import annotations

import msgspec
from aiohttp import web

from tradealgo.exchange import charges_json, gtt
from tradealgo.exchange.http import Answer, exchange_of, form_of, json_of
from tradealgo.exchange.protocol import bad_input


async def place(request: web.Request) -> Answer:
    exchange, form = exchange_of(request), await form_of(request)
    gtts, now = exchange.engine.gtts, exchange.engine.now
    if len(gtts.watched()) >= gtt.MAX_ACTIVE:
        raise bad_input(f"At most {gtt.MAX_ACTIVE} active triggers.")
    new = gtt.read(dict(form), exchange.market.instruments, gtts.next_id(), now)
    gtts.put(new)
    exchange.flush()
    return {"trigger_id": new.trigger_id}


async def modify(request: web.Request) -> Answer:
    exchange, form = exchange_of(request), await form_of(request)
    old = exchange.engine.gtts.active(request.match_info["trigger_id"])
    new = gtt.read(dict(form), exchange.market.instruments, old.trigger_id, exchange.engine.now)
    exchange.engine.gtts.put(msgspec.structs.replace(new, created=old.created))
    exchange.flush()
    return {"trigger_id": old.trigger_id}


async def delete(request: web.Request) -> Answer:
    exchange = exchange_of(request)
    old = exchange.engine.gtts.active(request.match_info["trigger_id"])
    exchange.engine.gtts.put(msgspec.structs.replace(old, status="deleted", updated=exchange.engine.now))
    exchange.flush()
    return {"trigger_id": old.trigger_id}


async def all_triggers(request: web.Request) -> Answer:
    exchange = exchange_of(request)
    return [gtt.gtt_json(g, exchange.accounts.account) for g in exchange.engine.gtts.by_id.values()]


async def one(request: web.Request) -> Answer:
    exchange = exchange_of(request)
    return gtt.gtt_json(exchange.engine.gtts.get(request.match_info["trigger_id"]), exchange.accounts.account)


async def order_margins(request: web.Request) -> Answer:
    legs = charges_json.read_legs(await json_of(request))
    return charges_json.order_margins(exchange_of(request).engine, legs)


async def basket_margins(request: web.Request) -> Answer:
    legs = charges_json.read_legs(await json_of(request))
    consider = request.query.get("consider_positions", "true").lower() != "false"
    compact = request.query.get("mode") == "compact"
    return charges_json.basket_margins(exchange_of(request).engine, legs, consider, compact)


async def contract_note(request: web.Request) -> Answer:
    legs = charges_json.read_legs(await json_of(request))
    return charges_json.contract_note(exchange_of(request).engine, legs)
