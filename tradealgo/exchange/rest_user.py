"""REST: login, profile, funds. Shapes as in Kite Connect v3's documentation."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from tradealgo.exchange.accounts import API_KEY
from tradealgo.exchange.http import Answer, data, exchange_of, form_of, text_of
from tradealgo.exchange.protocol import bad_input, dead_token, rupees

COOKIE = "paper_session"

_LOGIN_PAGE = """<!doctype html><title>Paper login</title><h1>Paper exchange</h1>
<form method="post" action="/connect/login?{query}">
<label>User id <input name="user_id" value="{user}"></label>
<label>Password <input name="password" type="password"></label>
<label>TOTP <input name="twofa_value" inputmode="numeric"></label>
<button>Log in</button></form>"""


async def connect_login(request: web.Request) -> web.StreamResponse:
    """GET: to the app's redirect with a `request_token` if this browser is logged in, else a login page."""
    exchange = exchange_of(request)
    if request.query.get("api_key") != API_KEY:
        raise bad_input("Invalid `api_key`.")
    if exchange.accounts.is_browser(request.cookies.get(COOKIE)):
        return _to_app(request)
    query = urlencode({"v": "3", "api_key": API_KEY})
    return web.Response(
        text=_LOGIN_PAGE.format(query=query, user=exchange.accounts.account), content_type="text/html"
    )  # fmt: skip


async def connect_form(request: web.Request) -> web.StreamResponse:
    """POST of the login page."""
    exchange, form = exchange_of(request), await form_of(request)
    user = form.get("user_id", "")
    request_id = exchange.accounts.password(user, form.get("password", ""))
    cookie = exchange.accounts.second_factor(user, request_id, form.get("twofa_value", ""), exchange.wall())
    return _to_app(request, cookie)


def _to_app(request: web.Request, cookie: str | None = None) -> web.Response:
    exchange = exchange_of(request)
    token = exchange.accounts.request_token(exchange.wall())
    query = urlencode({"action": "login", "type": "login", "status": "success", "request_token": token})
    joint = "&" if "?" in exchange.accounts.redirect_url else "?"
    response = web.Response(status=302, headers={"Location": f"{exchange.accounts.redirect_url}{joint}{query}"})
    if cookie:
        response.set_cookie(COOKIE, cookie, httponly=True)
    return response


async def api_login(request: web.Request) -> web.Response:
    """First step of the programmatic login."""
    exchange, form = exchange_of(request), await form_of(request)
    user = form.get("user_id", "")
    request_id = exchange.accounts.password(user, form.get("password", ""))
    answer = {"user_id": user, "request_id": request_id, "twofa_type": "totp", "twofa_types": ["totp"]}
    return data(answer | {"twofa_status": "active", "profile": {"user_name": "Paper Trader"}})


async def api_twofa(request: web.Request) -> web.Response:
    """Second step: the answer's cookie is a logged-in browser."""
    exchange, form = exchange_of(request), await form_of(request)
    cookie = exchange.accounts.second_factor(
        form.get("user_id", ""), form.get("request_id", ""), form.get("twofa_value", ""), exchange.wall()
    )
    response = data({"profile": {}})
    response.set_cookie(COOKIE, cookie, httponly=True)
    return response


async def session_token(request: web.Request) -> web.Response:
    """The request token and a checksum for an access token."""
    exchange, form = exchange_of(request), await form_of(request)
    for name in ("api_key", "request_token", "checksum"):
        if not form.get(name):
            raise bad_input(f"Missing `{name}`.")
    login = exchange.accounts.exchange(form["api_key"], form["request_token"], form["checksum"], exchange.wall())
    exchange.remember_login()
    return data(exchange.accounts.session_json(login))


async def session_refresh(request: web.Request) -> web.Response:
    """Retail apps get no refresh token, so there is none that could be good."""
    raise dead_token("Invalid `refresh_token`.")


async def session_end(request: web.Request) -> web.Response:
    """Log out."""
    exchange = exchange_of(request)
    if not exchange.accounts.is_alive(
        text_of(request, "api_key"), text_of(request, "access_token"), exchange.wall()
    ):  # fmt: skip
        raise bad_input("Invalid `access_token`.")
    exchange.accounts.kill_token()
    exchange.remember_login()
    return data(True)


async def profile(request: web.Request) -> Answer:
    return exchange_of(request).accounts.profile()


async def margins(request: web.Request) -> Answer:
    """Funds of both segments, or of one."""
    both = {"equity": _equity(request), "commodity": _commodity()}
    segment = request.match_info.get("segment")
    if segment is None:
        return both
    if segment not in both:
        raise bad_input("Invalid `segment`.")
    return both[segment]


def _equity(request: web.Request) -> dict[str, Any]:
    engine = exchange_of(request).engine
    ledger, last = engine.ledger, engine.last_prices()
    used, pnl = engine.blocked(), ledger.mtm(last)
    return _segment(rupees(ledger.capital), rupees(engine.available()), rupees(used), rupees(pnl))


def _commodity() -> dict[str, Any]:
    return _segment(0, 0, 0, 0)


def _segment(capital: float, free: float, used: float, pnl: float) -> dict[str, Any]:
    return {
        "enabled": True,
        "net": free,
        "available": {
            "adhoc_margin": 0,
            "cash": capital,
            "opening_balance": capital,
            "live_balance": free,
            "collateral": 0,
            "intraday_payin": 0,
        },
        "utilised": {
            "debits": round(used - pnl, 2),
            "exposure": used,
            "m2m_realised": pnl,
            "m2m_unrealised": 0,
            "option_premium": 0,
            "payout": 0,
            "span": 0,
            "holding_sales": 0,
            "turnover": 0,
            "liquid_collateral": 0,
            "stock_collateral": 0,
            "delivery": 0,
        },
    }
