"""The story of an order in words, from the audit trail: tick, candle, signal, request, verdict, calls, answers, fills."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable
from pathlib import Path

from tradealgo.domain.errors import InvalidInput
from tradealgo.domain.hours import IST, ist_text
from tradealgo.domain.orders import SUBMIT, Fill, Intent, Order, OrderRequest, Verdict
from tradealgo.gatekeeper.journal import Row, open_readonly, read
from tradealgo.gatekeeper.messages import AnswerRecord, CallRecord, Kind

#: Stands in a protective order's request id between the request that opened the position and a number.
PROTECTIVE = "+"
KINDS = (Kind.REQUEST, Kind.VERDICT, Kind.ORDER, Kind.CALL, Kind.ANSWER, Kind.FILL)


def explain(journal: Path | str, name: str) -> str:
    """All that happened to an order.

    Args:
        journal: the session's `journal.db`; a session that runs may be read too.
        name: a tag, a broker's order id or a request id, whole or its beginning.

    Raises:
        InvalidInput: none, or several, are called so.
    """
    with contextlib.closing(open_readonly(journal)) as db:
        rows = list(read(db, kinds=KINDS))
    return "\n".join(_story(rows, _request_id(rows, name)))


def _request_id(rows: list[Row], name: str) -> str:
    """The request that a name stands for."""
    found: dict[str, None] = {}
    for row in rows:
        message = row.message
        if isinstance(message, OrderRequest | Verdict):
            names: Iterable[str | None] = (message.request_id,)
        elif isinstance(message, Order):
            names = (message.request_id, message.tag, message.order_id)
        else:
            continue
        if name in names:
            return message.request_id.partition(PROTECTIVE)[0]
        if any(n and n.startswith(name) for n in names):
            found[message.request_id.partition(PROTECTIVE)[0]] = None
    if len(found) == 1:
        return next(iter(found))
    what = (
        f"{len(found)} requests begin so: write more of it" if found else "expected a tag, an order id or a request id"
    )
    raise InvalidInput(f"no order is called {name!r}: {what}")


def _story(rows: list[Row], request_id: str) -> list[str]:
    tags = {r.message.tag for r in rows if isinstance(r.message, Order) and _serves(r.message, request_id)}
    before: dict[str, Order] = {}
    lines: list[str] = []
    for row in rows:
        message = row.message
        if isinstance(message, OrderRequest) and message.request_id == request_id:
            lines += _request_lines(message)
        elif isinstance(message, Verdict) and message.request_id == request_id:
            lines += _verdict_lines(row.ts, message)
        elif isinstance(message, Order) and message.tag in tags:
            lines += _order_lines(row.ts, before.get(message.tag), message)
            before[message.tag] = message
        elif isinstance(message, CallRecord | AnswerRecord) and message.tag in tags:
            lines.append(_call_line(row.ts, message))
        elif isinstance(message, Fill) and message.tag in tags:
            lines.append(
                f"{_wall(row.ts)}  fill     {message.quantity} at Rs {message.price:,.2f}, "
                f"exchange time {ist_text(message.ts_event)} (trade {message.trade_id})"
            )
    return lines


def _serves(order: Order, request_id: str) -> bool:
    """Whether an order is the request's own, or protects what that opened."""
    return order.request_id.partition(PROTECTIVE)[0] == request_id


def _request_lines(request: OrderRequest) -> list[str]:
    lines = []
    if request.ts_event:
        lines.append(f"{_wall(request.ts_init)}  tick     of exchange time {ist_text(request.ts_event)} came in")
    if request.ts_closed:
        lines.append(
            f"{_wall(request.ts_closed)}  candle   {request.instrument} from {ist_text(request.start)} closed "
            f"at Rs {request.reference_price:,.2f}"
        )
    if request.ts_signalled:
        why = f": {request.reason}" if request.reason else ""
        lines.append(f"{_wall(request.ts_signalled)}  signal   {request.strategy}{why}")
    lines.append(
        f"{_wall(request.ts_requested)}  request  {request.intent} {request.side} {request.quantity} "
        f"{request.instrument}, to hold {request.position_after} ({request.request_id})"
    )
    return lines


def _verdict_lines(ts: int, verdict: Verdict) -> list[str]:
    said = "yes" if verdict.code == SUBMIT else f"no, {verdict.code}"
    figures = ", ".join(_figure(verdict.code, name, value) for name, value in verdict.figures.items())
    return [f"{_wall(ts)}  verdict  {said}: {verdict.text}", *([f"{' ' * 24}with {figures}"] if figures else [])]


def _figure(code: str, name: str, value: object) -> str:
    """A figure of a verdict as people read it: money in rupees. MTM and its line are kept in paise."""
    if isinstance(value, int) and (name == "mtm" or (code, name) == ("MTM_LOSS", "limit")):
        value = value / 100
    return f"{name} {value}"


def _order_lines(ts: int, before: Order | None, order: Order) -> list[str]:
    if before is None:
        return [
            f"{_wall(ts)}  order    {order.tag}: {order.intent} {order.side} {order.quantity} {order.instrument} "
            f"{_terms(order)} is {order.state}"
        ]
    changes = []
    if order.state is not before.state:
        changes.append(f"{before.state} → {order.state}")
    if order.filled_quantity != before.filled_quantity:
        changes.append(
            f"filled {order.filled_quantity} of {order.quantity}"
            + (f" at Rs {order.average_price:,.2f} on average" if order.average_price else "")
        )
    if order.price != before.price:
        changes.append(f"limit Rs {before.price:,.2f} → Rs {order.price:,.2f}")
    if order.order_id != before.order_id:
        changes.append(f"the broker's order {order.order_id}")
    if order.text != before.text:
        changes.append(f"“{order.text}”")
    return [f"{_wall(ts)}  order    {order.tag}: {', '.join(changes)}"] if changes else []


def _terms(order: Order) -> str:
    """At which prices an order goes, and what a protective one is for."""
    limit = f"at Rs {order.price:,.2f}" if order.price else "at the market"
    trigger = f", triggered at Rs {order.trigger:,.2f}," if order.trigger else ""
    return f"{limit}{trigger}{f' ({order.reason})' if order.intent is Intent.PROTECT else ''}"


def _call_line(ts: int, call: CallRecord | AnswerRecord) -> str:
    if isinstance(call, CallRecord):
        return f"{_wall(ts)}  call     {call.kind} {call.tag} leaves (call {call.call_id})"
    took = f" after {(call.ts_done - call.ts_sent) / 1e6:.1f} ms" if call.ts_sent else ""
    text = f": {call.text}" if call.text else ""
    return f"{_wall(ts)}  answer   {call.outcome}{took} (call {call.call_id}){text}"


def _wall(ts: int) -> str:
    """Wall-clock time of day, IST, to the millisecond."""
    return dt.datetime.fromtimestamp(ts / 1e9, IST).strftime("%H:%M:%S.%f")[:-3] if ts else " " * 12
