"""HTTP shared by the REST handlers: the exchange behind a request, its form, and Kite's envelope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from tradealgo.exchange.protocol import KiteError, bad_input
from tradealgo.exchange.service import PaperExchange

EXCHANGE: web.AppKey[PaperExchange] = web.AppKey("exchange", PaperExchange)
#: What a handler gives: plain data, put in the envelope by `app`; or a whole response.
Answer = Any


def exchange_of(request: web.Request) -> PaperExchange:
    return request.app[EXCHANGE]


async def form_of(request: web.Request) -> Mapping[str, str]:
    """The form-encoded body as text by name. Raises KiteError."""
    try:
        form = await request.post()
    except (ValueError, LookupError, AssertionError) as error:
        raise bad_input("The request's body can't be read as a form.") from error
    return {name: value for name, value in form.items() if isinstance(value, str)}


async def json_of(request: web.Request) -> Any:
    """The JSON body. Raises KiteError."""
    try:
        return msgspec.json.decode(await request.read())
    except ValueError as error:
        raise bad_input("The request's body is not JSON.") from error


def text_of(request: web.Request, name: str) -> str:
    """A query parameter, empty if absent."""
    return request.query.get(name, "")


def data(value: Any) -> web.Response:
    """A success, in Kite's envelope."""
    return web.Response(body=msgspec.json.encode({"status": "success", "data": value}), content_type="application/json")


def failure(error: KiteError) -> web.Response:
    """An error, in Kite's envelope."""
    return web.Response(body=msgspec.json.encode(error.body()), status=error.code, content_type="application/json")
