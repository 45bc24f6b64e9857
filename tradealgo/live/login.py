"""A launch's login: today's where there is one, else a new one by a person (or TOTP, where opted in)."""

from __future__ import annotations

import os
import time

from tradealgo.config import BrokerSession, Manifest
from tradealgo.domain.errors import BadConfig

#: How long a person has to log in by hand.
LOGIN_TIMEOUT_S = 300.0


def logged_in(manifest: Manifest, timeout_s: float = LOGIN_TIMEOUT_S) -> BrokerSession:
    """The account's login of today: the one that is there, or a new one by a person (or TOTP, where opted in).

    Prints the login page's address, and catches the redirect on loopback. Raises BadConfig, BrokerError.
    """
    from tradealgo.sentinel import login
    from tradealgo.sentinel.core import credentials, is_usable

    saved = BrokerSession.load(manifest.account)
    if saved is not None and is_usable(saved, manifest.api_key, time.time_ns()) and login.is_good(manifest, saved):
        return saved
    given = credentials(os.environ)
    if not given.api_secret:
        raise BadConfig("logging in needs KITE_API_SECRET in the environment: see .env.example")
    if given.automatic:
        print(login.TOTP_WARNING)
        token = login.automatic_login(manifest, given)
    else:
        token = _login_by_hand(manifest, timeout_s)
    session = login.open_session(manifest, given.api_secret, token, time.time_ns())
    session.save()
    return session


def _login_by_hand(manifest: Manifest, timeout_s: float) -> str:
    from tradealgo.sentinel import login

    with login.RedirectServer(int(os.environ.get("KITE_REDIRECT_PORT") or login.REDIRECT_PORT)) as server:
        print(f"log in at {login.login_url(manifest)}\n(waiting for the redirect to http://127.0.0.1:{server.port}/)")
        token = server.wait(timeout_s)
    if not token:
        raise BadConfig(f"nobody logged in within {timeout_s:.0f} s: launch again, and open the printed address")
    return token
