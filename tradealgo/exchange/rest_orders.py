"""REST: orders, trades, positions. Shapes as in Kite Connect v3's documentation."""

from __future__ import annotations

from aiohttp import web

from tradealgo.exchange.faults import Fault
from tradealgo.exchange.http import Answer, exchange_of, form_of
from tradealgo.exchange.ledger import position_json
from tradealgo.exchange.orders import execution_json, order_json
from tradealgo.exchange.protocol import bad_order


async def place(request: web.Request) -> Answer:
    exchange, form = exchange_of(request), await form_of(request)
    refusal: Fault | None = exchange.faults.take(("reject",))
    placed = exchange.engine.place(request.match_info["variety"], form, refusal.text if refusal else None)
    exchange.flush()
    if not placed.children:
        return {"order_id": placed.order_id}
    children = [{"order_id": c} if isinstance(c, str) else {"error": c.body()} for c in placed.children]
    return {"order_id": placed.order_id, "children": children}


async def modify(request: web.Request) -> Answer:
    exchange, form = exchange_of(request), await form_of(request)
    order_id = exchange.engine.modify(request.match_info["variety"], request.match_info["order_id"], form)
    exchange.flush()
    return {"order_id": order_id}


async def cancel(request: web.Request) -> Answer:
    exchange = exchange_of(request)
    variety, order_id = request.match_info["variety"], request.match_info["order_id"]
    exchange.engine.cancel(variety, order_id)
    exchange.flush()
    if exchange.faults.take(("fill_after_cancel",)):
        exchange.engine.fill_after_cancel(order_id)
        exchange.flush()
    return {"order_id": order_id}


async def orders(request: web.Request) -> Answer:
    exchange = exchange_of(request)
    return [order_json(o, exchange.accounts.account) for o in exchange.engine.book.all()]


async def order_history(request: web.Request) -> Answer:
    """All records of an order, oldest first."""
    exchange, order_id = exchange_of(request), request.match_info["order_id"]
    if order_id not in exchange.engine.book:
        raise bad_order("Couldn't find that `order_id`.", 404)
    return [order_json(o, exchange.accounts.account) for o in exchange.engine.book.history[order_id]]


async def order_trades(request: web.Request) -> Answer:
    engine, order_id = exchange_of(request).engine, request.match_info["order_id"]
    if order_id not in engine.book:
        raise bad_order("Couldn't find that `order_id`.", 404)
    return [
        execution_json(e, engine.instruments.by_token(e.instrument_token)) for e in engine.book.executions_of(order_id)
    ]


async def trades(request: web.Request) -> Answer:
    engine = exchange_of(request).engine
    return [execution_json(e, engine.instruments.by_token(e.instrument_token)) for e in engine.book.executions]


async def positions(request: web.Request) -> Answer:
    """All that traded today, flat rows included; nothing is carried from an earlier day, so net and day are equal."""
    engine = exchange_of(request).engine
    rows = [
        position_json(
            h, engine.instruments.by_token(token), engine.board.last_price(token), engine.board.close_price(token)
        )
        for (token, _), h in engine.ledger.holdings.items()
    ]  # fmt: skip
    return {"net": rows, "day": rows}


async def convert(request: web.Request) -> Answer:
    """PUT /portfolio/positions: move an open position to another product."""
    exchange, form = exchange_of(request), await form_of(request)
    exchange.engine.convert(form)
    exchange.flush()
    return True


async def holdings(request: web.Request) -> Answer:
    """Shares in the demat account: the paper account begins with none, and deliveries settle the next day."""
    return []


async def nothing(request: web.Request) -> Answer:
    """Lists that are always empty on paper."""
    return []
