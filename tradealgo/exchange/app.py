"""The paper exchange as one process on one port: routes, tokens, limits, faults and Kite's envelope around the service."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from tradealgo.config import Market
from tradealgo.domain.errors import BadConfig
from tradealgo.exchange import control, rest_gtt, rest_market, rest_orders, rest_user
from tradealgo.exchange.accounts import ACCOUNT, REDIRECT_URL
from tradealgo.exchange.faults import REQUEST_FAULTS
from tradealgo.exchange.http import EXCHANGE, data, exchange_of, failure
from tradealgo.exchange.limits import LIMITS, RequestLimits
from tradealgo.exchange.market import load_market
from tradealgo.exchange.protocol import KiteError, bad_input, dead_token
from tradealgo.exchange.service import PaperExchange

MAX_BODY_BYTES = 1 << 20
#: Holds the task that steps the market, once the application runs.
STEPPING: web.AppKey[dict[int, asyncio.Future[None]]] = web.AppKey("stepping")
Handler = Callable[[web.Request], Awaitable[Any]]

#: Method, path, handler, kind of request for the limits ("": not counted, and open to all).
ROUTES: tuple[tuple[str, str, Handler, str], ...] = (
    ("GET", "/connect/login", rest_user.connect_login, ""),
    ("POST", "/connect/login", rest_user.connect_form, ""),
    ("POST", "/api/login", rest_user.api_login, ""),
    ("POST", "/api/twofa", rest_user.api_twofa, ""),
    ("POST", "/session/token", rest_user.session_token, ""),
    ("DELETE", "/session/token", rest_user.session_end, ""),
    ("POST", "/session/refresh_token", rest_user.session_refresh, ""),
    ("GET", "/user/profile", rest_user.profile, "other"),
    ("GET", "/user/margins", rest_user.margins, "other"),
    ("GET", "/user/margins/{segment}", rest_user.margins, "other"),
    ("GET", "/instruments", rest_market.instruments, "other"),
    ("GET", "/instruments/{exchange}", rest_market.instruments, "other"),
    ("GET", "/instruments/historical/{token}/{interval}", rest_market.historical, "historical"),
    ("GET", "/quote", rest_market.quote, "quote"),
    ("GET", "/quote/ohlc", rest_market.ohlc, "quote"),
    ("GET", "/quote/ltp", rest_market.ltp, "quote"),
    ("GET", "/orders", rest_orders.orders, "other"),
    ("POST", "/orders/{variety}", rest_orders.place, "orders"),
    ("PUT", "/orders/{variety}/{order_id}", rest_orders.modify, "orders"),
    ("DELETE", "/orders/{variety}/{order_id}", rest_orders.cancel, "orders"),
    ("GET", "/orders/{order_id}", rest_orders.order_history, "other"),
    ("GET", "/orders/{order_id}/trades", rest_orders.order_trades, "other"),
    ("GET", "/trades", rest_orders.trades, "other"),
    ("GET", "/portfolio/positions", rest_orders.positions, "other"),
    ("PUT", "/portfolio/positions", rest_orders.convert, "other"),
    ("GET", "/portfolio/holdings", rest_orders.holdings, "other"),
    ("GET", "/portfolio/holdings/auctions", rest_orders.nothing, "other"),
    ("GET", "/gtt/triggers", rest_gtt.all_triggers, "other"),
    ("POST", "/gtt/triggers", rest_gtt.place, "other"),
    ("GET", "/gtt/triggers/{trigger_id}", rest_gtt.one, "other"),
    ("PUT", "/gtt/triggers/{trigger_id}", rest_gtt.modify, "other"),
    ("DELETE", "/gtt/triggers/{trigger_id}", rest_gtt.delete, "other"),
    ("POST", "/margins/orders", rest_gtt.order_margins, "other"),
    ("POST", "/margins/basket", rest_gtt.basket_margins, "other"),
    ("POST", "/charges/orders", rest_gtt.contract_note, "other"),
    ("POST", "/_paper/start", control.start, ""),
    ("GET", "/_paper/clock", control.clock, ""),
    ("POST", "/_paper/clock", control.advance, ""),
    ("GET", "/_paper/ledger", control.ledger, ""),
    ("GET", "/_paper/faults", control.faults, ""),
    ("POST", "/_paper/faults", control.arm, ""),
    ("DELETE", "/_paper/faults", control.clear, ""),
)

_HTML = "<html><head><title>{code}</title></head><body><center><h1>{code}</h1></center><hr>nginx</body></html>"


# ---------------------------------------------------------------------------------------------- around every request


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever happens in a handler leaves as Kite's JSON."""
    try:
        answer = await handler(request)
    except KiteError as error:
        return failure(error)
    except web.HTTPMethodNotAllowed:
        return failure(KiteError(405, "GeneralException", "Method not allowed"))
    except web.HTTPRequestEntityTooLarge:
        return failure(bad_input("The request's body is too large."))
    except web.HTTPException as error:
        return failure(KiteError(error.status, "GeneralException", "Route not found"))
    except Exception:
        traceback.print_exc()
        return failure(KiteError(500, "GeneralException", "Something unexpected went wrong."))
    return answer if isinstance(answer, web.StreamResponse) else data(answer)


@web.middleware
async def misbehaving(request: web.Request, handler: Handler) -> Any:
    """Armed faults that strike before, instead of or after the handler."""
    exchange, path = exchange_of(request), request.path
    if path.startswith("/_paper") or not exchange.faults.any:
        return await handler(request)
    fault = exchange.faults.take(REQUEST_FAULTS, path, request.method)
    if fault is None:
        return await _after(request, handler)
    if fault.name == "slow":
        await asyncio.sleep(fault.seconds)
        return await handler(request)
    if fault.name == "http_429":
        raise KiteError(429, "NetworkException", "Too many requests")
    if fault.name == "timeout_before":
        await asyncio.sleep(fault.seconds)
    if fault.name in ("timeout_before", "drop_request"):
        return _cut(request)
    if fault.name == "error":
        body = {"status": "error", "data": None, "message": fault.text, "error_type": fault.error_type}
        return web.json_response({k: v for k, v in body.items() if v != ""}, status=fault.code)
    code = int(fault.name.split("_")[1])
    return web.Response(status=code, text=_HTML.format(code=code), content_type="text/html")


async def _after(request: web.Request, handler: Handler) -> Any:
    """The order call is done; what comes of its answer?"""
    if not request.path.startswith("/orders/") or request.method == "GET":
        return await handler(request)
    fault = exchange_of(request).faults.take(
        ("timeout_after_accept", "timeout_400", "drop_after_accept"), request.path, request.method
    )
    answer = await handler(request)
    if fault is None:
        return answer
    if fault.name == "timeout_400":
        raise KiteError(400, "OrderException", "Order request timed out. Please check the order book.")
    if fault.name == "timeout_after_accept":
        await asyncio.sleep(fault.seconds)
    return _cut(request)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def authorised(kind: str, handler: Handler) -> Handler:
    """The handler behind a valid token and the limits of its kind."""

    async def guarded(request: web.Request) -> object:
        exchange = exchange_of(request)
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        api_key, _, access_token = pair.partition(":")
        if scheme != "token" or not exchange.accounts.is_alive(api_key, access_token, exchange.wall()):
            raise dead_token()
        exchange.limiter.check(kind, exchange.wall())
        return await handler(request)

    return guarded


async def feed(request: web.Request) -> web.StreamResponse:
    """The WebSocket, at `/` and `/ws`: 403 for a bad token, 429 for a fourth connection."""
    exchange = exchange_of(request)
    query = request.query
    if not exchange.accounts.is_alive(query.get("api_key", ""), query.get("access_token", ""), exchange.wall()):
        raise dead_token()
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise bad_input("Expected a WebSocket handshake.")
    if exchange.hub.full:
        raise KiteError(429, "NetworkException", "Too many connections: at most 3 an API key.")
    return await exchange.hub.serve(request)


async def _stamp(request: web.Request, response: web.StreamResponse) -> None:
    from email.utils import formatdate

    response.headers["Date"] = formatdate(exchange_of(request).wall() / 1e9, usegmt=True)


async def _stepping(app: web.Application) -> AsyncIterator[None]:
    exchange = app[EXCHANGE]
    tasks = [app[STEPPING].setdefault(0, asyncio.ensure_future(exchange.run()))]
    if exchange.postbacks.url is not None:
        tasks.append(asyncio.ensure_future(exchange.postbacks.run()))
    yield
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    exchange.close()


async def _goodbye(app: web.Application) -> None:
    await app[EXCHANGE].hub.close()


def make_app(exchange: PaperExchange) -> web.Application:
    """The aiohttp application of an exchange; the exchange steps while the application runs."""
    app = web.Application(middlewares=[envelope, misbehaving], client_max_size=MAX_BODY_BYTES)
    app[EXCHANGE] = exchange
    app[STEPPING] = {}
    for method, path, handler, kind in ROUTES:
        app.router.add_route(method, path, authorised(kind, handler) if kind else handler)  # type: ignore[arg-type]
    for path in ("/", "/ws"):
        app.router.add_get(path, feed)
    app.on_response_prepare.append(_stamp)
    app.cleanup_ctx.append(_stepping)
    app.on_shutdown.append(_goodbye)
    return app


# ---------------------------------------------------------------------------------------------- a process


def stepping(runner: web.AppRunner) -> asyncio.Future[None]:
    """The task that moves the market: if it ends, it has failed, and its exception says why."""
    return runner.app[STEPPING][0]


async def listen(exchange: PaperExchange, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Serve an exchange; gives the runner and the port (useful for port 0). Raises BadConfig if the port is taken."""
    runner = web.AppRunner(make_app(exchange), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        if error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise BadConfig(
                f"the paper exchange can't listen on {host}:{port} ({error.strerror}): "
                "stop what uses it, or choose another port (0 takes any free one)"
            ) from None
        raise
    return runner, runner.addresses[0][1]


def open_exchange(
    market: Market, instruments: Sequence[str] | None = None, *, account: str = ACCOUNT, capital: float = 1_000_000.0,
    state_dir: Path | None = None, redirect_url: str = REDIRECT_URL, limits: RequestLimits = LIMITS,
    postback_url: str | None = None,
) -> PaperExchange:  # fmt: skip
    """The exchange of a market, as its state left it. Raises what `load_market` raises."""
    return PaperExchange(
        load_market(market, instruments), seed=market.seed, speed=market.speed, account=account, capital=capital,
        state_dir=state_dir, redirect_url=redirect_url, limits=limits, postback_url=postback_url,
    )  # fmt: skip


def serve(
    market: Market, instruments: Sequence[str] | None = None, host: str = "127.0.0.1", port: int = 8770, *,
    account: str = ACCOUNT, capital: float = 1_000_000.0, state_dir: Path | None = None,
    redirect_url: str = REDIRECT_URL, postback_url: str | None = None, autostart: bool = False, announce: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Run a paper exchange until SIGTERM or SIGINT: `tradealgo exchange`.

    Args:
        instruments: keys such as "NSE:INFY"; None for all that is listed.
        capital: rupees.
        autostart: ring the opening bell at once.
        announce: is told, in a few lines, where it listens and how to log in.

    Raises:
        BadConfig: the port is taken, or the market's day is no date.
    """
    exchange = open_exchange(
        market,
        instruments,
        account=account,
        capital=capital,
        state_dir=state_dir,
        redirect_url=redirect_url,
        postback_url=postback_url,
    )
    asyncio.run(_serve(exchange, host, port, autostart, announce))


async def _serve(
    exchange: PaperExchange, host: str, port: int, autostart: bool, announce: Callable[[str], None]
) -> None:
    runner, bound = await listen(exchange, host, port)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    if autostart:
        exchange.start()
    announce(
        f"paper exchange at http://{host}:{bound} (WebSocket ws://{host}:{bound}/ws), {len(exchange.market.instruments)}"
        f" instruments on {exchange.market.day}, user {exchange.accounts.account}, api_key paper"
    )
    market, told = stepping(runner), asyncio.ensure_future(stopping.wait())
    waiting: set[asyncio.Future[Any]] = {market, told}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    try:
        if market.done():
            market.result()
    finally:
        await runner.cleanup()
