"""The Gatekeeper's own client sends what the official client sends, byte for byte where it matters."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from kiteconnect import KiteConnect

from tradealgo.config import BrokerSession
from tradealgo.domain.orders import Intent, Order, Side
from tradealgo.gatekeeper.broker import Broker
from tradealgo.gatekeeper.messages import Call, CallKind, Outcome

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

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    server.server_close()


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
    import asyncio
    import time

    url, heard = recorder
    login = BrokerSession(account="A", user_id="U", api_key="key", access_token="token", created=0, expires=0)
    broker = Broker(url, lambda: login, 5.0)
    call = Call(call_id=1, kind=kind, order=ORDER, price=121.5, admitted=time.time_ns())
    done = await broker.perform(call)
    await broker.close()
    assert (done.outcome, done.order_id) == (Outcome.ACCEPTED, "240101000000001")
    assert done.ts_sent <= done.ts_done
    await asyncio.to_thread(official, KiteConnect("key", access_token="token", root=url), kind)
    ours, theirs = map(numbers, heard)
    assert ours == theirs


async def test_a_late_or_unconnected_call_was_not_sent() -> None:
    """Admitted too long ago, or nobody listens: definitively without effect."""
    import time

    login = BrokerSession(account="A", user_id="U", api_key="key", access_token="token", created=0, expires=0)
    broker = Broker("http://127.0.0.1:9", lambda: login, 5.0)
    for admitted in (time.time_ns() - 10**9, time.time_ns()):
        done = await broker.perform(Call(call_id=1, kind=CallKind.PLACE, order=ORDER, admitted=admitted))
        assert done.outcome is Outcome.NOT_SENT
    await broker.close()
