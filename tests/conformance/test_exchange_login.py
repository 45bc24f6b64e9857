"""Login, tokens and the account, as the official client sees them."""

from __future__ import annotations

import hashlib

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect.exceptions import GeneralException, InputException, TokenException

from tradealgo.exchange.accounts import API_SECRET
from tradealgo.exchange.testing import RunningExchange


def test_generate_session_gives_a_working_token(paper: RunningExchange) -> None:
    """A request token becomes an access token that opens the API."""
    kite = KiteConnect("paper", root=paper.url)
    session = kite.generate_session(paper.request_token(), API_SECRET)
    assert session["user_id"] == "PAPER1"
    assert session["login_time"].year >= 2026
    assert kite.profile()["user_id"] == "PAPER1"


def test_request_token_works_once(paper: RunningExchange) -> None:
    """The second exchange of a request token is a TokenException."""
    token = paper.request_token()
    kite = KiteConnect("paper", root=paper.url)
    kite.generate_session(token, API_SECRET)
    with pytest.raises(TokenException) as caught:
        kite.generate_session(token, API_SECRET)
    assert caught.value.code == 403


def test_wrong_secret_is_refused(paper: RunningExchange) -> None:
    """A checksum made with another secret opens nothing."""
    with pytest.raises(TokenException):
        KiteConnect("paper", root=paper.url).generate_session(paper.request_token(), "wrong")


def test_new_login_kills_the_old_token(paper: RunningExchange) -> None:
    """One token an app: the first client is logged out by the second's login, and its hook is told."""
    first, told = paper.kite(), []
    first.set_session_expiry_hook(lambda: told.append(True))
    second = paper.kite()
    assert second.profile()
    with pytest.raises(TokenException):
        first.profile()
    assert told == [True]


def test_logout_kills_the_token(paper: RunningExchange, kite: KiteConnect) -> None:
    """After invalidate_access_token nothing works."""
    assert kite.invalidate_access_token() is True
    with pytest.raises(TokenException):
        kite.orders()


def test_no_token_is_a_token_exception(paper: RunningExchange) -> None:
    """A client that never logged in is told so, on any path."""
    with pytest.raises(TokenException):
        KiteConnect("paper", root=paper.url).margins()


def test_browser_login_page_leads_to_the_redirect(paper: RunningExchange) -> None:
    """A person's login: a page with a form, whose POST redirects to the app with a request token."""
    import pyotp

    from tradealgo.exchange.accounts import PASSWORD, REDIRECT_URL, TOTP_SECRET

    url = f"{paper.url}/connect/login?v=3&api_key=paper"
    page = requests.get(url, timeout=5)
    assert page.ok
    assert 'name="twofa_value"' in page.text
    form = {"user_id": "PAPER1", "password": PASSWORD, "twofa_value": pyotp.TOTP(TOTP_SECRET).now()}
    answer = requests.post(url, data=form, allow_redirects=False, timeout=5)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(REDIRECT_URL)
    assert "status=success" in answer.headers["Location"]


@pytest.mark.parametrize("form", [{"user_id": "PAPER1", "password": "no"}, {"user_id": "XX", "password": "paper"}, {}])
def test_wrong_password_is_refused(paper: RunningExchange, form: dict[str, str]) -> None:
    """The first step of a login answers 403 with Kite's error body."""
    answer = requests.post(f"{paper.url}/api/login", data=form, timeout=5)
    assert answer.status_code == 403
    assert answer.json()["status"] == "error"


def test_wrong_totp_is_refused(paper: RunningExchange) -> None:
    """The second step needs the right code."""
    form = {"user_id": "PAPER1", "password": "paper"}
    asked = requests.post(f"{paper.url}/api/login", data=form, timeout=5).json()["data"]
    code = {"user_id": "PAPER1", "request_id": asked["request_id"], "twofa_value": "000000"}
    answer = requests.post(f"{paper.url}/api/twofa", data=code, timeout=5)
    assert answer.status_code == 403
    assert "paper_session" not in answer.cookies


def test_margins_of_both_segments_and_one(kite: KiteConnect) -> None:
    """Funds begin with the account's capital; an unknown segment is an InputException."""
    assert kite.margins()["equity"]["net"] == 1_000_000
    assert kite.margins("equity")["available"]["live_balance"] == 1_000_000
    with pytest.raises(InputException):
        kite.margins("moon")


def test_unknown_path_is_a_general_exception(paper: RunningExchange, kite: KiteConnect) -> None:
    """A route that isn't there answers 404 in Kite's envelope."""
    kite._routes = kite._routes | {"user.profile": "/nowhere"}
    with pytest.raises(GeneralException) as caught:
        kite.profile()
    assert caught.value.code == 404


def test_checksum_is_kites_own(paper: RunningExchange) -> None:
    """The checksum is sha256(api_key + request_token + api_secret), in hex."""
    token = paper.request_token()
    checksum = hashlib.sha256(f"paper{token}{API_SECRET}".encode()).hexdigest()
    form = {"api_key": "paper", "request_token": token, "checksum": checksum}
    answer = requests.post(f"{paper.url}/session/token", data=form, timeout=5)
    assert answer.json()["data"]["access_token"]
    assert "Date" in answer.headers
