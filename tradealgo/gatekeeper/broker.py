"""The one client that can place, modify and cancel orders: Kite's REST, every outcome classified.

Only a definitive answer is a yes or a no. A time-out, a dropped connection, a 5xx, an answer that can't be read, and
Kite's HTTP 400 "Order request timed out" are UNKNOWN. Nothing is ever retried here.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from email.utils import parsedate_to_datetime
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, quote_plus

import msgspec

from tradealgo.config import BrokerSession
from tradealgo.gatekeeper import kite
from tradealgo.gatekeeper.kite import Query
from tradealgo.gatekeeper.lines import Asked, Lines, NoConnection
from tradealgo.gatekeeper.messages import (
    Call,
    CallDone,
    CallKind,
    Event,
    MarginsSeen,
    OrdersSeen,
    Outcome,
    PositionsSeen,
    QueryFailed,
    TradesSeen,
)
from tradealgo.gatekeeper.rate import LANDED_NS, LAUNCH_NS, SECOND_NS, TRANSIT_NS

T = TypeVar("T")
#: An order call waits no longer for a connection, so that it lands while the rate budget counts it.
CONNECT_S = (LANDED_NS - LAUNCH_NS - TRANSIT_NS) / SECOND_NS
#: Connections that are opened beforehand: a basket's legs leave together, each on one of its own.
READY = 4
_FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
_ZIPPED = "Accept-Encoding: gzip\r\n"
_is_plain = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


class Body(msgspec.Struct):
    """Kite's JSON, its `data` not read yet."""

    data: msgspec.Raw = msgspec.Raw(b"null")
    error_type: str | None = None
    message: str | None = None


class Answer(NamedTuple):
    """An HTTP answer: Kite's `data` as JSON, its error_type and message; `second` is the Date header's."""

    status: int
    data: msgspec.Raw
    error_type: str
    message: str
    second: int | None

    @property
    def order_id(self) -> str:
        """Of the order that a call made or changed; empty if the answer names none that can be read."""
        try:
            content = msgspec.json.decode(self.data)
        except ValueError:
            return ""
        return str(content.get("order_id") or "") if isinstance(content, dict) else ""


_BODY, _ROWS = msgspec.json.Decoder(Body), msgspec.json.Decoder(list[msgspec.Raw])


class Broker:
    """Async; one per process.

    Args:
        login: gives the account's present BrokerSession, or None while there is none.
        timeout_s: of an order call, and of a question.
        clock: whoever takes the outcomes must have the same one.
        refuses: says why a call mustn't leave any more, or an empty string. Asked right before it is written.
    """

    def __init__(
        self, rest_url: str, login: Callable[[], BrokerSession | None], timeout_s: float,
        clock: Callable[[], int] = time.time_ns, refuses: Callable[[Call], str] = lambda call: "",
    ) -> None:  # fmt: skip
        self._login, self._timeout_s, self._clock, self._refuses = login, timeout_s, clock, refuses
        self._lines = Lines(rest_url)
        self._orders, self._trades = Rows(kite.order_row), Rows(kite.trade_row)

    async def close(self) -> None:
        await self._lines.close()

    async def be_ready(self) -> None:
        """Have connections open, for order calls that will come soon."""
        await self._lines.be_ready(READY, CONNECT_S)

    # ------------------------------------------------------------------ order calls

    def perform(self, call: Call) -> Coroutine[Any, Any, CallDone]:
        """Begin an order call: where a connection is open, it has left when this returns. Await what is returned for the
        outcome; what goes wrong on the way is an outcome too, only an error of ours is raised there.
        """
        try:
            return self._begun(call)
        except Exception as error:
            return _raised(error)

    def _begun(self, call: Call) -> Coroutine[Any, Any, CallDone]:
        login = self._login()
        if login is None:
            return _over(CallDone(call_id=call.call_id, outcome=Outcome.TOKEN_DEAD, text="not logged in"))
        method, route, form = _shape(call)
        body = _encoded(form) if form else b""
        headers = self._headers(login) + (_FORM if form else "")
        sent = self._clock()
        if withheld := self._withheld(call, sent, LAUNCH_NS):
            return _over(withheld)
        return self._outcome(call, sent, self._lines.write(method, route, headers, body))

    async def _outcome(self, call: Call, sent: int, asked: Asked) -> CallDone:
        try:
            async with asyncio.timeout(self._timeout_s):
                if asked.line is None:
                    asked = await self._lines.connect(asked, CONNECT_S)
                    # What has come since it was admitted counts, and nothing comes between here and its bytes
                    sent = self._clock()
                    if withheld := self._withheld(call, sent, LANDED_NS - TRANSIT_NS):
                        self._lines.spare(asked)
                        return withheld
                    self._lines.send(asked)
                answer = await self._answer(asked)
        except NoConnection as error:
            return self._done(call, Outcome.NOT_SENT, f"no connection: {error}", sent)
        except OSError as error:  # TimeoutError is one
            return self._done(call, Outcome.UNKNOWN, f"{type(error).__name__}: {error}", sent)
        outcome, text = classify(answer)
        order_id = answer.order_id if outcome is Outcome.ACCEPTED else None
        return self._done(call, outcome, text, sent, order_id, answer.second)

    def _done(
        self, call: Call, outcome: Outcome, text: str, sent: int, order_id: str | None = None, second: int | None = None
    ) -> CallDone:
        return CallDone(
            call_id=call.call_id, outcome=outcome, order_id=order_id, text=text, ts_sent=sent,
            ts_done=self._clock(), server_second=second,
        )  # fmt: skip

    def _withheld(self, call: Call, now: int, within_ns: int) -> CallDone | None:
        """That a call isn't sent, because its time has passed or it is no longer wanted; None if it may leave."""
        late = now - call.admitted
        why = f"{late / 1e6:.0f} ms late" if late > within_ns else self._refuses(call)
        if not why:
            return None
        return CallDone(call_id=call.call_id, outcome=Outcome.NOT_SENT, text=f"not sent: {why}", ts_done=now)

    async def _answer(self, asked: Asked) -> Answer:
        reply = await self._lines.answer(asked)
        return read_answer(reply.status, reply.body, reply.headers.get(b"date", b"").decode("latin-1"))

    def _headers(self, login: BrokerSession) -> str:
        return f"X-Kite-Version: {kite.VERSION}\r\nAuthorization: {login.authorization}\r\nUser-Agent: TradeAlgo\r\n"

    # ------------------------------------------------------------------ questions

    async def ask(self, query: Query) -> Event:
        """Ask the broker's book. Never raises: a failure is an event too, and never an empty book."""
        asked = self._clock()
        login = self._login()
        if login is None:
            return QueryFailed(query=query, text="not logged in", token_dead=True)
        try:
            question = self._lines.write("GET", query.value, self._headers(login) + _ZIPPED, b"")
            async with asyncio.timeout(self._timeout_s):
                if question.line is None:
                    question = await self._lines.connect(question, self._timeout_s)
                    self._lines.send(question)
                answer = await self._answer(question)
            if answer.status != 200:
                dead = answer.error_type == "TokenException"
                return QueryFailed(query=query, text=f"HTTP {answer.status} {answer.message}", token_dead=dead)
            return self._event(query, answer, asked)
        except (OSError, KeyError, ValueError, TypeError) as error:
            return QueryFailed(query=query, text=f"{type(error).__name__}: {error}")

    def _event(self, query: Query, answer: Answer, asked: int) -> Event:
        data, done = answer.data, self._clock()
        if query is Query.ORDERS:
            return OrdersSeen(rows=self._orders.of(data), asked=asked, ts_done=done, server_second=answer.second)
        if query is Query.TRADES:
            return TradesSeen(rows=self._trades.of(data), asked=asked)
        content = msgspec.json.decode(data)
        if query is Query.POSITIONS:
            return PositionsSeen(rows=kite.position_rows(content), asked=asked)
        return MarginsSeen(available=kite.available_cash(content), asked=asked)


class Rows(Generic[T]):
    """Reads the rows of a day's book. Those that the book before had in the very same bytes aren't read again: on a busy day
    there are thousands, asked for every second while an order waits.
    """

    def __init__(self, read: Callable[[dict[str, Any]], T]) -> None:
        self._read = read
        self._known: dict[bytes, T] = {}

    def of(self, data: msgspec.Raw) -> list[T]:
        """All rows. Raises KeyError, ValueError or TypeError for one that can't be read."""
        rows = [bytes(row) for row in _ROWS.decode(data)]
        known = self._known
        self._known = {row: known[row] if row in known else self._read(msgspec.json.decode(row)) for row in rows}
        return [self._known[row] for row in rows]


def _shape(call: Call) -> tuple[str, str, dict[str, str] | None]:
    """Method, route and form of an order call, as the official client sends them."""
    order = call.order
    if call.kind is CallKind.PLACE:
        return "POST", f"/orders/{kite.VARIETY}", kite.place_form(order)
    route = f"/orders/{kite.VARIETY}/{quote(order.order_id or '', safe='')}"
    if call.kind is CallKind.MODIFY:
        return "PUT", route, kite.modify_form(order, call.price)
    return "DELETE", route, None


def _encoded(form: dict[str, str]) -> bytes:
    """A form as `urlencode` has it, which takes as long as all else of a call: nearly every value stays as it is."""
    if _is_plain("".join(form.values())):
        return "&".join([f"{k}={v}" for k, v in form.items()]).encode()
    return "&".join([f"{k}={quote_plus(v)}" for k, v in form.items()]).encode()


async def _over(outcome: CallDone) -> CallDone:
    return outcome


async def _raised(error: Exception) -> CallDone:
    raise error


def read_answer(status: int, body: bytes, date: str | None) -> Answer:
    """What an HTTP answer says; a body that isn't Kite's JSON has no data and no error type."""
    try:
        content = _BODY.decode(body)
    except ValueError:  # msgspec's own, or Unicode's
        content = Body(message=_words(body))
    try:
        second = int(parsedate_to_datetime(date).timestamp()) if date else None
    except ValueError:
        second = None
    return Answer(status, content.data, content.error_type or "", content.message or "", second)


def _words(page: bytes) -> str:
    """What a page says to a reader, in one line: gateways answer for the broker in HTML."""
    return " ".join(re.sub(rb"<[^>]*>", b" ", page[:4096]).decode(errors="replace").split())[:120]


def classify(answer: Answer) -> tuple[Outcome, str]:
    """The outcome of an order call, and its text."""
    status, text = answer.status, answer.message
    if status == 200 and answer.order_id:
        return Outcome.ACCEPTED, ""
    if status == 429:
        return Outcome.RATE_LIMITED, text
    if status == 403 and answer.error_type == "TokenException":
        return Outcome.TOKEN_DEAD, text
    # The broker's own time-out towards the exchange comes as a 400: the order may be there all the same
    if "timed out" in text.lower() or not 400 <= status < 500 or not answer.error_type:
        return Outcome.UNKNOWN, f"HTTP {status} {text}"
    if answer.error_type in ("NetworkException", "DataException"):
        return Outcome.UNKNOWN, f"HTTP {status} {text}"
    return Outcome.REJECTED, text
