"""The Gatekeeper's own client sends what the official client sends, byte for byte where it matters."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from kiteconnect import KiteConnect

from tradealgo.config import BrokerSession
from tradealgo.domain.orders import Intent, Order, Side
from tradealgo.gatekeeper.broker import Broker
from tradealgo.gatekeeper.kite import Query
from tradealgo.gatekeeper.messages import Call, CallDone, CallKind, Outcome

ORDER = Order(
    tag="TABC", request_id="r", session_id="s", instrument_token=1, instrument="NFO:NIFTY26NOV25000CE", side=Side.BUY,
    quantity=65, price=120.05, intent=Intent.ENTRY, order_id="240101000000001",
)  # fmt: skip


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that keeps what it is sent and says yes."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            heard.append(
                {
                    "method": self.command, "path": url.path, "query": sorted(parse_qsl(url.query)),
                    "form": sorted(parse_qsl(body)), "type": self.headers.get("Content-Type"),
                    "version": self.headers["X-Kite-Version"], "authorization": self.headers["Authorization"],
                }
            )  # fmt: skip
            content = b'{"status": "success", "data": {"order_id": "240101000000001"}}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = answer  # noqa: N815 (the names that http.server looks for)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    server.server_close()


async def performed(broker: Broker, kind: CallKind) -> CallDone:
    """A call that has left: where the machine stands still for most of a second, it is late and may not, so try again."""
    while True:
        done = await broker.perform(Call(call_id=1, kind=kind, order=ORDER, price=121.5, admitted=time.time_ns()))
        if done.outcome is not Outcome.NOT_SENT:
            return done


def official(kite: KiteConnect, kind: CallKind) -> None:
    """The same call by the reference client."""
    if kind is CallKind.PLACE:
        kite.place_order(
            "regular", "NFO", "NIFTY26NOV25000CE", "BUY", 65, "MIS", "LIMIT", price=120.05, validity="DAY", tag="TABC"
        )
    elif kind is CallKind.MODIFY:
        kite.modify_order(
            "regular", "240101000000001", quantity=65, price=121.5, order_type="LIMIT", validity="DAY"
        )  # fmt: skip
    else:
        kite.cancel_order("regular", "240101000000001")


def numbers(call: dict[str, Any]) -> dict[str, Any]:
    """Form values compared as numbers where they are: 121.5 and 121.50 are one price."""

    def same(pairs: list[tuple[str, str]]) -> list[tuple[str, object]]:
        return [(k, float(v) if k in ("price", "quantity") else v) for k, v in pairs]

    return call | {"form": same(call["form"]), "query": same(call["query"])}


@pytest.mark.parametrize("kind", list(CallKind))
async def test_calls_are_the_official_clients(recorder: tuple[str, list[dict[str, Any]]], kind: CallKind) -> None:
    """Method, path, form, headers."""
    url, heard = recorder
    login = BrokerSession(account="A", user_id="U", api_key="key", access_token="token", created=0, expires=0)
    broker = Broker(url, lambda: login, 5.0)
    done = await performed(broker, kind)
    await broker.close()
    assert (done.outcome, done.order_id) == (Outcome.ACCEPTED, "240101000000001")
    assert done.ts_sent <= done.ts_done
    await asyncio.to_thread(official, KiteConnect("key", access_token="token", root=url), kind)
    ours, theirs = map(numbers, heard)
    assert ours == theirs


async def test_a_late_or_unconnected_call_was_not_sent() -> None:
    """Admitted too long ago, or nobody listens: definitively without effect."""
    login = BrokerSession(account="A", user_id="U", api_key="key", access_token="token", created=0, expires=0)
    broker = Broker("http://127.0.0.1:9", lambda: login, 5.0)
    for admitted in (time.time_ns() - 10**9, time.time_ns()):
        done = await broker.perform(Call(call_id=1, kind=CallKind.PLACE, order=ORDER, admitted=admitted))
        assert done.outcome is Outcome.NOT_SENT
    await broker.close()


#: A call that is never late, by a clock that stands: how long the test itself is held up says nothing.
CALL, STANDS = Call(call_id=1, kind=CallKind.PLACE, order=ORDER, admitted=0), lambda: 0
LOGIN = BrokerSession(account="A", user_id="U", api_key="key", access_token="token", created=0, expires=0)


class Scripted:
    """A server that gives each request the next answer of a script; None drops the connection, "" never answers."""

    def __init__(self, *answers: str | None) -> None:
        self.answers, self.heard, self.connections = list(answers), list[str](), 0

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.broker = Broker(self.url, lambda: LOGIN, 5.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.broker.close()
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # the client hung up
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            length = next((int(h.split(":")[1]) for h in head.splitlines() if h.lower().startswith("content-len")), 0)
            await reader.readexactly(length)
            self.heard.append(head.split("\r\n")[0])
            answer = self.answers.pop(0) if self.answers else ""
            if answer is None:
                break
            writer.write(answer.encode())

    async def perform(self, kind: CallKind) -> Outcome:
        return (await performed(self.broker, kind)).outcome


BODY = '{"status": "success", "data": {"order_id": "240101000000001"}}'
YES = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
ELSEWHERE = "HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("kind", list(CallKind))
async def test_a_dropped_connection_is_no_second_call(kind: CallKind) -> None:
    """The server took the call and hung up: it may have happened, and it is not sent again."""
    async with Scripted(YES, None, YES) as server:
        assert await server.perform(CallKind.PLACE) is Outcome.ACCEPTED
        assert await server.perform(kind) is Outcome.UNKNOWN
        assert len(server.heard) == 2


@pytest.mark.parametrize("kind", list(CallKind))
async def test_a_redirect_is_not_followed(kind: CallKind) -> None:
    """Whatever a proxy says: an order call goes to the broker's address alone, once."""
    async with Scripted(ELSEWHERE, YES) as server:
        assert await server.perform(kind) is Outcome.UNKNOWN
        assert len(server.heard) == 1


async def test_a_call_whose_connection_is_not_made_in_time_was_not_sent() -> None:
    """The server is mute while TLS begins: a late call would land in a second in which it isn't counted."""
    async with Scripted() as server:
        broker = Broker(server.url.replace("http", "https"), lambda: LOGIN, 60.0, STANDS)
        began = time.monotonic()
        done = await broker.perform(CALL)
        assert (done.outcome, done.text) == (Outcome.NOT_SENT, "no connection: none within 0.75 s")
        assert time.monotonic() - began < 30  # and not the minute that an answer may take
        await broker.close()


async def test_a_call_that_was_held_up_until_it_got_a_connection_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever else the loop had to do: it would land in a second in which it isn't counted."""
    monkeypatch.setattr("tradealgo.gatekeeper.broker.CONNECT_S", 60.0)
    async with Scripted(YES) as server:
        under_way = server.broker.perform(Call(call_id=1, kind=CallKind.PLACE, order=ORDER, admitted=time.time_ns()))
        time.sleep(0.9)  # noqa: ASYNC251 (nothing else shall run)
        done = await under_way
        assert (done.outcome, done.ts_sent) == (Outcome.NOT_SENT, 0)
        assert done.text.endswith("ms late")
        assert await server.perform(CallKind.PLACE) is Outcome.ACCEPTED
        assert len(server.heard) == 1


async def test_a_call_that_is_refused_while_it_gets_a_connection_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kill may come in the quarter of a second that TLS takes. The connection serves the next call."""
    monkeypatch.setattr("tradealgo.gatekeeper.broker.CONNECT_S", 60.0)
    async with Scripted(YES) as server:
        refusals = [""]
        broker = Broker(server.url, lambda: LOGIN, 60.0, STANDS, refuses=lambda call: refusals[-1])
        under_way = broker.perform(CALL)
        refusals.append("the kill switch is TRIPPED")
        done = await under_way
        assert (done.outcome, done.ts_sent, done.text) == (Outcome.NOT_SENT, 0, "not sent: the kill switch is TRIPPED")
        assert (await broker.perform(CALL)).outcome is Outcome.NOT_SENT
        refusals.append("")
        assert (await broker.perform(CALL)).outcome is Outcome.ACCEPTED
        assert (len(server.heard), server.connections) == (1, 1)
        await broker.close()


async def test_a_call_does_not_wait_for_answers_to_others() -> None:
    """Where nothing is answered any more, it has a connection of its own, and its outcome is unknown."""
    async with Scripted() as server:
        waiting = [asyncio.create_task(server.broker.ask(Query.ORDERS)) for _ in range(40)]
        waiting.append(asyncio.create_task(server.perform(CallKind.PLACE)))
        while len(server.heard) < 41:  # noqa: ASYNC110 (another task's list)
            await asyncio.sleep(0.01)
        assert sum(line.startswith("POST") for line in server.heard) == 1
        assert server.connections >= 41
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_on_an_open_connection_a_call_has_left_when_perform_returns() -> None:
    """Whoever reads the other end has it without a turn of this loop."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        broker = Broker(f"http://127.0.0.1:{listener.getsockname()[1]}", lambda: LOGIN, 60.0, STANDS)
        asking = asyncio.create_task(broker.ask(Query.ORDERS))
        peer, _ = await asyncio.to_thread(listener.accept)
        with peer:
            await asyncio.to_thread(peer.recv, 65_536)
            peer.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data":[]}')
            await asking
            under_way = broker.perform(CALL)
            peer.settimeout(60)
            assert peer.recv(65_536).startswith(b"POST /orders/regular ")
            peer.sendall(YES.encode())
            assert (await under_way).outcome is Outcome.ACCEPTED
        await broker.close()
