"""Two runs with a seed are byte-identical on the wire."""

from __future__ import annotations

import json
from typing import Any

import requests
from websockets.sync.client import connect

from tradealgo.exchange.testing import running_exchange

TOKENS = [408065, 738561, 256265]


def run(seed: int) -> tuple[list[bytes | str], list[bytes]]:
    """All frames and texts of one socket, and the bodies of REST answers, of a day's first half hour of trading."""
    frames: list[bytes | str] = []
    bodies: list[bytes] = []
    with running_exchange(seed=seed) as paper:
        token = paper.login()
        http = requests.Session()
        http.headers["Authorization"] = f"token paper:{token}"

        def call(method: str, path: str, **body: Any) -> None:
            bodies.append(http.request(method, paper.url + path, data=body, timeout=10).content)

        def order(side: str, quantity: int, **more: Any) -> None:
            form = {"exchange": "NSE", "tradingsymbol": "INFY", "product": "MIS", "order_type": "MARKET"}
            form |= {"market_protection": "-1", "transaction_type": side, "quantity": str(quantity)}
            call("POST", "/orders/regular", **(form | more))

        with connect(f"{paper.ws_url}?api_key=paper&access_token={token}") as socket:
            socket.send(json.dumps({"a": "mode", "v": ["full", TOKENS]}))
            for step in range(30):
                paper.advance(60)
                if step > 1:
                    order("BUY" if step % 2 else "SELL", 10 + 40 * (step % 5))
            for path in ("/orders", "/trades", "/portfolio/positions", "/quote?i=NSE:INFY", "/user/margins"):
                call("GET", path)
            call("GET", "/instruments/historical/408065/minute?from=2026-11-20&to=2026-11-21")
            bodies.append(json.dumps(paper.ledger()).encode())
            paper.exchange.hub.tell(b'{"end":true}')
            for message in socket:
                if isinstance(message, str) and '"end"' in message:
                    break
                if message != b"\x00":
                    frames.append(message)
    return frames, bodies


def test_same_seed_same_bytes() -> None:
    """Every frame, every order update and every answer is equal; another seed gives another market."""
    first, second, other = run(5), run(5), run(6)
    assert len(first[0]) > 50
    assert first == second
    assert first[0] != other[0]
