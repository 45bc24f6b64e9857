"""Postbacks: an order's changes, POSTed as JSON to the app's own address with a checksum."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec

from tradealgo.exchange.accounts import API_SECRET

TIMEOUT_S = 5.0
#: Postbacks that wait; a receiver that is slower than this loses the rest, as a broker's would.
MAX_WAITING = 10_000


def checksum(order_id: str, order_timestamp: str, secret: str = API_SECRET) -> str:
    """SHA-256 of order id, order time and the app's secret, in hex: what a receiver verifies."""
    return hashlib.sha256(f"{order_id}{order_timestamp}{secret}".encode()).hexdigest()


def payload(data: dict[str, Any], account: str) -> dict[str, Any]:
    """The body of a postback: an order's record and what only postbacks carry."""
    extra = {"user_id": account, "app_id": 1, "unfilled_quantity": data["quantity"] - data["filled_quantity"]}
    return data | extra | {"checksum": checksum(data["order_id"], data["order_timestamp"])}


class Postbacks:
    """Delivers in order, once, without retries. With no `url` it does nothing."""

    def __init__(self, url: str | None, say: Callable[[str], None] = print) -> None:
        self.url, self._say = url, say
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_WAITING)

    def tell(self, body: dict[str, Any]) -> None:
        if self.url is not None and not self._waiting.full():
            self._waiting.put_nowait(body)

    async def run(self) -> None:
        """Deliver for ever."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as session:
            while True:
                body = await self._waiting.get()
                try:
                    async with session.post(str(self.url), data=msgspec.json.encode(body)):
                        pass
                except (aiohttp.ClientError, TimeoutError) as error:
                    self._say(f"postback of order {body['order_id']} to {self.url} was not delivered: {error}")
