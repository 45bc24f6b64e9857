"""Malformed requests never take the exchange down, and are always answered in Kite's envelope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kiteconnect import KiteConnect
from websockets.sync.client import connect

from tradealgo.exchange.app import ROUTES
from tradealgo.exchange.testing import RunningExchange, running_exchange

words = st.one_of(
    st.sampled_from(["NSE", "INFY", "BUY", "SELL", "MIS", "LIMIT", "MARKET", "SL", "SL-M", "DAY", "IOC", "TTL", "NaN"]),
    st.sampled_from(
        ["-1", "0", "1", "1e9", "10", "1500.05", "99999999999999999999", "261120000000001", "408065", "inf"]
    ),
    st.text(max_size=30),
)
names = st.sampled_from(
    ["exchange", "tradingsymbol", "transaction_type", "quantity", "product", "order_type", "price", "trigger_price",
     "validity", "validity_ttl", "tag", "market_protection", "disclosed_quantity", "iceberg_legs", "autoslice", "i",
     "from", "to", "oi", "user_id", "password", "request_id", "twofa_value", "api_key", "request_token", "checksum",
     "type", "condition", "orders", "old_product", "new_product", "access_token", "mode"]
)  # fmt: skip
forms = st.dictionaries(names, words, max_size=12)
orders = st.fixed_dictionaries(
    {"exchange": st.just("NSE"), "tradingsymbol": st.just("INFY"), "transaction_type": st.sampled_from(["BUY", "SELL"]),
     "quantity": words, "product": st.sampled_from(["MIS", "CNC", "NRML"]),
     "order_type": st.sampled_from(["LIMIT", "MARKET", "SL", "SL-M"]), "price": words, "trigger_price": words,
     "market_protection": words, "validity": words}
)  # fmt: skip
jsons = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=6)),
    max_leaves=12,
)
routes = st.sampled_from([r for r in ROUTES if r[1] not in ("/_paper/clock", "/session/token", "/_paper/faults")])
FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[RunningExchange, requests.Session]]:
    with running_exchange() as paper:
        paper.open_market()
        http = requests.Session()
        http.headers["Authorization"] = f"token paper:{paper.login()}"
        yield paper, http


def check(answer: requests.Response) -> None:
    """Not a server's failure, and an error only in the envelope."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        body = answer.json()
        assert body["status"] == "error"
        assert body["message"]
        assert body["error_type"].endswith("Exception")


@FUZZ
@given(route=routes, parts=st.lists(words, min_size=3, max_size=3), form=forms, query=forms)
def test_any_form_to_any_route(
    running: tuple[RunningExchange, requests.Session], route: Any, parts: list[str], form: Any, query: Any
) -> None:
    """Every route with random path parts, form and query."""
    paper, http = running
    path = route[1]
    for name in ("{variety}", "{order_id}", "{token}", "{interval}", "{exchange}", "{segment}", "{trigger_id}"):
        if name in path:
            path = path.replace(name, requests.utils.quote(parts[len(path) % 3] or "x", safe=""))
    check(http.request(route[0], paper.url + path, data=form, params=query, timeout=10, allow_redirects=False))


@FUZZ
@given(form=orders, variety=st.sampled_from(["regular", "amo", "iceberg", "co", "x"]))
def test_any_order(running: tuple[RunningExchange, requests.Session], form: dict[str, str], variety: str) -> None:
    """Orders that are nearly right."""
    paper, http = running
    check(http.post(f"{paper.url}/orders/{variety}", data=form, timeout=10))


@FUZZ
@given(
    body=jsons,
    path=st.sampled_from(["/margins/orders", "/margins/basket", "/charges/orders", "/gtt/triggers", "/_paper/faults"]),
)
def test_any_json(running: tuple[RunningExchange, requests.Session], body: Any, path: str) -> None:
    """JSON of any shape where JSON is expected, and where it isn't."""
    paper, http = running
    check(http.post(paper.url + path, json=body, timeout=10))
    check(http.request("DELETE", f"{paper.url}/_paper/faults", timeout=10))


@FUZZ
@given(
    body=st.binary(max_size=200),
    kind=st.sampled_from(
        [
            "application/json",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "application/x-www-form-urlencoded; charset=nope",
            "",
        ]
    ),
)
def test_any_bytes(running: tuple[RunningExchange, requests.Session], body: bytes, kind: str) -> None:
    """Bodies that are not what their type says."""
    paper, http = running
    for path in ("/orders/regular", "/session/token", "/margins/orders", "/_paper/clock"):
        check(http.post(paper.url + path, data=body, headers={"Content-Type": kind}, timeout=10))


def test_any_socket_message(running: tuple[RunningExchange, requests.Session]) -> None:
    """Random texts and bytes on the socket: it lives, and ticks afterwards."""
    paper, http = running
    token = http.headers["Authorization"].split(":")[1]
    with connect(f"{paper.ws_url}?api_key=paper&access_token={token}") as socket:

        @settings(FUZZ, max_examples=200)
        @given(st.one_of(st.text(max_size=60), st.binary(max_size=60), jsons))
        def talk(message: Any) -> None:
            import json

            socket.send(message if isinstance(message, str | bytes) else json.dumps({"a": "mode", "v": message}))

        talk()
        socket.send('{"a":"mode","v":["full",[408065]]}')
        assert any(len(m) == 188 for m in socket if isinstance(m, bytes))


def test_it_still_works_afterwards(running: tuple[RunningExchange, requests.Session]) -> None:
    """After all that an order still fills."""
    paper, http = running
    paper.control("DELETE", "faults")
    token = http.headers["Authorization"].split(":")[1]  # a new login would end that of the other tests
    kite = KiteConnect("paper", access_token=token, root=paper.url)
    order_id = kite.place_order("regular", "NSE", "INFY", "BUY", 1, "MIS", "MARKET", market_protection=-1)
    assert kite.order_history(order_id)[-1]["status"] == "COMPLETE"
