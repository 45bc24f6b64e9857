"""Logging in at Kite, blocking: by a person whose redirect is caught here, or with a TOTP where that was asked for.

Zerodha advises against an automated login: it is opted into by three environment variables, and says so each time.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import queue
import time
import urllib.parse
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pyotp
import requests

from tradealgo.config import BrokerSession, Manifest, Mode
from tradealgo.domain.errors import BadConfig, OutcomeUnknown, Rejected, TokenDead
from tradealgo.sentinel.core import Credentials, token_expiry

LOGIN_ROOT = "https://kite.zerodha.com"
REDIRECT_PORT = 5010
TOTP_WARNING = (
    "logging in with KITE_USER_ID, KITE_PASSWORD and KITE_TOTP_SECRET: Zerodha advises against an automated login, and "
    "whoever reads this environment can trade the account; unset them to log in by hand once a day"
)
#: How often a login is looked for that another process saved.
LOOK_S = 0.5
_CALL_TIMEOUT_S = 7.0
_MAX_REDIRECTS = 5


def login_root(manifest: Manifest) -> str:
    """Where the login pages are: on paper the exchange has them, as it has everything."""
    return manifest.rest_url if manifest.mode is Mode.PAPER else LOGIN_ROOT


def login_url(manifest: Manifest) -> str:
    """The page on which a person logs in."""
    return f"{login_root(manifest)}/connect/login?v=3&api_key={manifest.api_key}"


def automatic_login(manifest: Manifest, login: Credentials) -> str:
    """Log in with password and TOTP; returns the one-time `request_token`. Raises Rejected, OutcomeUnknown, and BadConfig
    before anything is sent."""
    if login.user_id.casefold() != manifest.account.casefold():  # it would end that user's login for nothing
        raise BadConfig(
            f"KITE_USER_ID is {login.user_id!r}, but the session is for account {manifest.account}: set KITE_USER_ID, "
            "KITE_PASSWORD and KITE_TOTP_SECRET of that user, or log in by hand"
        )
    root, totp = login_root(manifest), _totp(login.totp_secret)
    with requests.Session() as browser:
        first = _answer(browser.post, f"{root}/api/login", {"user_id": login.user_id, "password": login.password})
        if "request_id" not in first:
            raise Rejected("the broker took the password and asked for no TOTP: log in by hand")
        second = {"user_id": login.user_id, "request_id": first["request_id"], "twofa_value": totp.now()}
        _answer(browser.post, f"{root}/api/twofa", second)
        return _follow_redirects(browser, login_url(manifest))


def _totp(secret: str) -> pyotp.TOTP:
    """Its codes; spaces between groups are no part of a secret. Raises BadConfig, which doesn't repeat it."""
    try:
        totp = pyotp.TOTP("".join(secret.split()))
        totp.now()
    except ValueError:
        raise BadConfig(
            "KITE_TOTP_SECRET is no TOTP secret: expected the key that Kite shows beside the QR code, letters A to Z and digits 2 to 7"
        ) from None
    return totp


def _answer(call: Any, url: str, data: dict[str, str]) -> dict[str, Any]:
    """The `data` of Kite's JSON. The texts of requests' own errors are left out: they may repeat a URL with a token."""
    try:
        reply = call(url, data=data, timeout=_CALL_TIMEOUT_S)
        body = reply.json()
        if not isinstance(body, dict):
            raise ValueError
    except (requests.RequestException, ValueError) as error:
        raise OutcomeUnknown(f"the login page gave no answer ({type(error).__name__})") from None
    if reply.status_code >= 500 or reply.status_code == 429:
        raise OutcomeUnknown(f"the login page answered {reply.status_code}: {body.get('message', '')}")
    if body.get("status") != "success":
        raise Rejected(f"the broker refused the login: {body.get('message', 'no reason given')}")
    return body.get("data") or {}


def _follow_redirects(browser: requests.Session, url: str) -> str:
    """Go from redirect to redirect until one carries the request token; the app's own address is never called."""
    for _ in range(_MAX_REDIRECTS):
        try:
            reply = browser.get(url, allow_redirects=False, timeout=_CALL_TIMEOUT_S)
        except requests.RequestException as error:
            raise OutcomeUnknown(f"the login page gave no answer ({type(error).__name__})") from None
        if reply.status_code >= 500 or reply.status_code == 429:
            raise OutcomeUnknown(f"the login page answered {reply.status_code}")
        url = urllib.parse.urljoin(url, reply.headers.get("Location", ""))
        token = request_token_of(url)
        if token:
            return token
        if not reply.is_redirect:
            break
    raise Rejected("the login led to no request_token: log in once by hand to accept the app's terms, and try again")


def request_token_of(url: str) -> str:
    """The request token in a redirect's address; empty if it has none."""
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
    return next(iter(query.get("request_token", ())), "")


class RedirectServer:
    """Catches the redirects that end a person's login, on loopback, in a thread.

    The app's redirect URL at the broker must be `http://127.0.0.1:PORT/`. Any page of this machine's browsers can call it,
    a restored tab of yesterday's login first of all: what it catches is good only once the broker has taken it.
    Raises BadConfig where the port is taken.
    """

    def __init__(self, port: int = REDIRECT_PORT) -> None:
        self._caught: queue.SimpleQueue[str] = queue.SimpleQueue()
        seen: set[str] = set()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler) -> None:  # noqa: N805
                token = request_token_of(handler.path)
                text = "TradeAlgo logs in with this now: you can close this page, unless it asks you again."
                text = text if token else "No request_token in this address."
                handler.send_response(200 if token else 404)
                handler.send_header("Content-Type", "text/plain; charset=utf-8")
                handler.end_headers()
                handler.wfile.write(text.encode())
                if token and token not in seen:  # a browser may load a page twice
                    seen.add(token)
                    self._caught.put(token)

            def log_message(handler, *_: Any) -> None:  # noqa: N805
                """Nothing: its lines would hold the request token."""

        try:
            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise BadConfig(
                f"the login's redirect can't be caught on port {port}: {error.strerror}: stop what uses it, or set "
                "KITE_REDIRECT_PORT to the port of the redirect URL that your Kite app is registered with"
            ) from None
        self.port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def wait(self, timeout_s: float) -> str:
        """The next request token, or an empty text if none came in time."""
        try:
            return self._caught.get(timeout=timeout_s)
        except queue.Empty:
            return ""

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> RedirectServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def redirect_server(say: Callable[[str], None]) -> Iterator[RedirectServer | None]:
    """The catcher of the redirect, on KITE_REDIRECT_PORT; None, and a sentence, where that is taken: a launch and the
    Sentinel of a session may wait for the same login."""
    try:
        server = RedirectServer(_redirect_port(os.environ.get("KITE_REDIRECT_PORT", "")))
    except BadConfig as error:
        say(str(error))
        yield None
        return
    with server:
        yield server


def _redirect_port(setting: str) -> int:
    if not setting.strip():
        return REDIRECT_PORT
    if not setting.strip().isdigit() or int(setting) > 65_535:
        raise BadConfig(f"KITE_REDIRECT_PORT is {setting!r}: expected a port, as in {REDIRECT_PORT}")
    return int(setting)


def wait_for(server: RedirectServer | None) -> str:
    """The request token of a redirect that comes within LOOK_S; an empty text without one."""
    if server is not None:
        return server.wait(LOOK_S)
    time.sleep(LOOK_S)
    return ""


def client(manifest: Manifest, access_token: str | None = None) -> Any:
    """The official client, for logging in and for reading; it never places an order here."""
    from kiteconnect import KiteConnect

    return KiteConnect(manifest.api_key, access_token=access_token, root=manifest.rest_url, timeout=_CALL_TIMEOUT_S)


def open_session(manifest: Manifest, api_secret: str, request_token: str, now: int) -> BrokerSession:
    """Exchange the request token for the day's access token. `now` in UTC ns. Raises Rejected, BadConfig, OutcomeUnknown."""
    try:
        data = call(client(manifest).generate_session, request_token, api_secret)
    except TokenDead as error:
        raise Rejected(f"{error}: is KITE_API_SECRET that of the app {manifest.api_key!r}?") from None
    if data["user_id"] != manifest.account:
        raise BadConfig(
            f"logged in as {data['user_id']}, but the session is for account {manifest.account}: "
            "log in as that user, or launch with account=" + repr(data["user_id"])
        )
    return BrokerSession(
        account=manifest.account, user_id=data["user_id"], api_key=manifest.api_key,
        access_token=data["access_token"], created=now, expires=token_expiry(now),
    )  # fmt: skip


def is_good(manifest: Manifest, session: BrokerSession) -> bool:
    """Whether the broker takes the token, as that of the session's account. Raises OutcomeUnknown where it doesn't say."""
    try:
        profile = call(client(manifest, session.access_token).profile)
    except TokenDead:
        return False
    return bool(profile.get("user_id") == manifest.account)  # a file that was copied or put there may be another user's


def call(method: Any, *arguments: Any) -> Any:
    """Call the official client, its errors told apart by what they prove. Raises Rejected, TokenDead, OutcomeUnknown."""
    from kiteconnect import exceptions

    try:
        return method(*arguments)
    except exceptions.TokenException as error:
        raise TokenDead(f"the broker refused the token: {error}") from None
    except (exceptions.InputException, exceptions.PermissionException) as error:
        raise Rejected(f"the broker refused: {error}") from None
    except Exception as error:  # bare TypeError and KeyError too, for an error body without its fields
        raise OutcomeUnknown(f"no definitive answer from the broker ({type(error).__name__})") from None
