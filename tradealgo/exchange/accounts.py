"""The paper account and its logins. Pure: wall-clock time comes in as an argument, tokens follow from a counter.

These credentials guard nothing: they are here so that a login on paper is the login that will be made live.
"""

from __future__ import annotations

import datetime as dt
import hashlib

import msgspec

from tradealgo.domain.hours import at, ist_date
from tradealgo.exchange.protocol import KiteError, bad_input, dead_token, time_text

ACCOUNT = "PAPER1"
API_KEY = "paper"
API_SECRET = "paper-secret"
PASSWORD = "paper"
TOTP_SECRET = "PAPERTRADEALGOPAPERTRADEALGO2345"  # base32
#: Where the paper app's login leads with its `request_token`, as registered with a broker's app.
REDIRECT_URL = "http://127.0.0.1:5010/login"

REQUEST_TOKEN_LIFE_NS = 5 * 60 * 1_000_000_000
TOKEN_DIES_AT = dt.time(6, 0)  # IST, the next day

PROFILE = {
    "user_type": "individual",
    "email": "paper@example.com",
    "user_name": "Paper Trader",
    "user_shortname": "Paper",
    "broker": "ZERODHA",
    "exchanges": ["NSE", "NFO"],
    "products": ["CNC", "NRML", "MIS"],
    "order_types": ["MARKET", "LIMIT", "SL", "SL-M"],
    "avatar_url": None,
    "meta": {"demat_consent": "consent"},
}


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """One login of the app: its token's life in UTC nanoseconds of the wall clock. `dead` once logged out."""

    number: int
    access_token: str
    created: int
    expires: int
    dead: bool = False


def token_expiry(wall: int) -> int:
    """06:00 IST of the day after a login."""
    return at(ist_date(wall) + dt.timedelta(days=1), TOKEN_DIES_AT)


class Accounts:
    """One account, one app, one token: a new login replaces the last one's."""

    def __init__(self, account: str = ACCOUNT, redirect_url: str = REDIRECT_URL) -> None:
        self.account, self.redirect_url = account, redirect_url
        self.login: Login | None = None
        self._issued = 0
        self._pending: dict[str, int] = {}  # request tokens: when each dies
        self._asked: set[str] = set()  # request ids of passwords that were right
        self._browsers: set[str] = set()  # cookies of browsers that are logged in

    def _token(self, kind: str) -> str:
        self._issued += 1
        logins = self.login.number if self.login else 0
        return hashlib.sha256(f"{self.account}:{kind}:{logins}:{self._issued}".encode()).hexdigest()[:32]

    # ------------------------------------------------------------------------------------------ the browser's half

    def password(self, user_id: str, password: str) -> str:
        """First step of a login: gives the `request_id` that the second factor answers."""
        if user_id != self.account or password != PASSWORD:
            raise KiteError(403, "UserException", "Invalid username or password.")
        request_id = self._token("twofa")
        self._asked.add(request_id)
        return request_id

    def second_factor(self, user_id: str, request_id: str, code: str, wall: int) -> str:
        """Second step: gives the cookie of a logged-in browser. `code` is a TOTP of the last or this half minute."""
        import pyotp

        right = pyotp.TOTP(TOTP_SECRET).verify(code, for_time=dt.datetime.fromtimestamp(wall / 1e9), valid_window=1)
        if user_id != self.account or request_id not in self._asked or not right:
            raise KiteError(403, "TwoFAException", "Invalid TOTP")
        self._asked.discard(request_id)
        cookie = self._token("browser")
        self._browsers.add(cookie)
        return cookie

    def is_browser(self, cookie: str | None) -> bool:
        return cookie in self._browsers

    def request_token(self, wall: int) -> str:
        """What the redirect carries back to the app: good once, for five minutes."""
        token = self._token("request")
        self._pending[token] = wall + REQUEST_TOKEN_LIFE_NS
        return token

    # ------------------------------------------------------------------------------------------ the app's half

    def exchange(self, api_key: str, request_token: str, checksum: str, wall: int) -> Login:
        """POST /session/token. Raises KiteError (403 TokenException)."""
        if api_key != API_KEY:
            raise bad_input("Invalid `api_key`.")
        expires = self._pending.get(request_token)
        expected = hashlib.sha256(f"{API_KEY}{request_token}{API_SECRET}".encode()).hexdigest()
        if checksum != expected:
            raise dead_token("Invalid `checksum`.")
        if expires is None or wall >= expires:
            raise dead_token("Token is invalid or has expired.")
        del self._pending[request_token]
        number = (self.login.number if self.login else 0) + 1
        self.login = Login(
            number=number, access_token=self._token("access"), created=wall, expires=token_expiry(wall)
        )  # fmt: skip
        return self.login

    def is_alive(self, api_key: str, access_token: str, wall: int) -> bool:
        """Whether this token opens the API now."""
        login = self.login
        return (
            login is not None
            and not login.dead
            and api_key == API_KEY
            and access_token == login.access_token
            and wall < login.expires
        )

    def kill_token(self) -> None:
        """Log out; also what a login elsewhere or 06:00 does."""
        if self.login is not None:
            self.login = msgspec.structs.replace(self.login, dead=True)

    def restore(self, login: Login) -> None:
        """Take back a login that an earlier process logged."""
        self.login = login

    def profile(self) -> dict[str, object]:
        return {"user_id": self.account, **PROFILE}

    def session_json(self, login: Login) -> dict[str, object]:
        """Data of the answer to POST /session/token."""
        return {
            **self.profile(),
            "api_key": API_KEY,
            "access_token": login.access_token,
            "public_token": hashlib.sha256(login.access_token.encode()).hexdigest()[:32],
            "refresh_token": "",
            "enctoken": "",
            "silo": "",
            "login_time": time_text(login.created),
        }
