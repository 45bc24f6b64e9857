"""A launch's login: today's where there is one, else a new one by a person (or TOTP, where opted in)."""

from __future__ import annotations

import os
import time

from tradealgo.config import BrokerSession, Manifest
from tradealgo.domain.errors import BadConfig, BrokerError
from tradealgo.sentinel.core import is_usable

#: How long a person has to log in by hand.
LOGIN_TIMEOUT_S = 300.0


def logged_in(manifest: Manifest, timeout_s: float = LOGIN_TIMEOUT_S) -> BrokerSession:
    """The account's login of today: the one that is there, or a new one by a person (or TOTP, where opted in).

    Prints the login page's address, sends it to TRADEALGO_ALERT_URLS, and catches the redirect on loopback. Raises BadConfig, BrokerError.
    """
    from tradealgo.sentinel import login
    from tradealgo.sentinel.core import credentials

    saved = BrokerSession.load(manifest.account)
    if saved is not None and is_usable(saved, manifest.api_key, time.time_ns()) and login.is_good(manifest, saved):
        return saved
    given = credentials(os.environ)
    if not given.api_secret:
        raise BadConfig("logging in needs KITE_API_SECRET in the environment: see .env.example")
    if not given.automatic:
        return _login_by_hand(manifest, given.api_secret, saved, timeout_s)
    print(login.TOTP_WARNING)
    return _opened(manifest, given.api_secret, login.automatic_login(manifest, given))


def _opened(manifest: Manifest, api_secret: str, request_token: str) -> BrokerSession:
    from tradealgo.sentinel import login

    session = login.open_session(manifest, api_secret, request_token, time.time_ns())
    session.save()
    return session


def _login_by_hand(
    manifest: Manifest, api_secret: str, before: BrokerSession | None, timeout_s: float
) -> BrokerSession:
    """Tell people where to log in, and wait for the redirect here or for a login that another process saved: yesterday's
    session has a Sentinel that waits for the same one, and caught its redirect's port first."""
    from tradealgo.sentinel import login

    problems: list[str] = []
    with login.redirect_server(problems.append) as server:
        _tell(manifest, login.login_url(manifest), timeout_s)
        if server is None:
            print(
                f"{problems[0]}; if that is a session which waits for the same login, its login serves here too",
                flush=True,
            )
        else:
            print(f"(waiting for the redirect to http://127.0.0.1:{server.port}/)", flush=True)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = BrokerSession.load(manifest.account)
            if found is not None and found != before and is_usable(found, manifest.api_key, time.time_ns()):
                return found
            if token := login.wait_for(server):
                try:
                    return _opened(manifest, api_secret, token)
                except (BrokerError, BadConfig) as error:  # of yesterday's tab, or of another user
                    problems.append(str(error))
                    print(f"that login does not serve: {error}; still waiting", flush=True)
    raise BadConfig(
        "; ".join([f"nobody logged in within {timeout_s:.0f} s: launch again, and open the printed address", *problems])
    )


def _tell(manifest: Manifest, url: str, timeout_s: float) -> None:
    """Who launches by schedule isn't there to read what is printed, and the session's Monitor doesn't run yet."""
    from tradealgo.monitor.shell import tell

    print(f"log in at {url}", flush=True)  # the journal of systemd is no terminal
    text = f"log in at {url} within {timeout_s / 60:.0f} minutes: a launch waits for it"
    if not tell(f"CRITICAL · {manifest.mode} {manifest.account} · launch", text):
        print("(this address could not be sent to every address of TRADEALGO_ALERT_URLS)")
