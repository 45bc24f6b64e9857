"""Settings of the environment, and the manifest that fixes a session when it is launched."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import stat
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tradealgo.domain.errors import BadConfig, SessionNotFound
from tradealgo.domain.hours import ist_date
from tradealgo.domain.limits import Limits
from tradealgo.domain.sizing import Sizing

#: Within this time after a launch the first ticks come.
FEED_STARTS_NS = 30_000_000_000


class Mode(StrEnum):
    PAPER = "paper"
    LIVE = "live"


def home() -> Path:
    """Where sessions, leases and tokens live: `TRADEALGO_HOME`, else `~/.tradealgo`.

    A relative one is put back as what it is here. Processes started from here inherit it, and have working folders of their
    own: they would look for the account's lease and token somewhere else.
    """
    folder = Path(os.environ.get("TRADEALGO_HOME") or Path.home() / ".tradealgo")
    if not folder.is_absolute():
        folder = folder.expanduser().absolute()
        os.environ["TRADEALGO_HOME"] = str(folder)
    return folder


def kernel_mode() -> str:
    """What the environment permits: "research" (paper sessions only) in the research kernel, "live" in the live one.

    "" where no TradeAlgo kernel set TRADEALGO_MODE: a terminal, a scheduler, another kernel; those may do both.
    """
    return os.environ.get("TRADEALGO_MODE", "")


def require_mode(mode: Mode) -> None:
    """Refuse a live session where only paper is permitted. Raises BadConfig."""
    if mode is Mode.LIVE and kernel_mode() == "research":
        raise BadConfig(
            "a live session can't be launched from the TradeAlgo research kernel, which is paper only: "
            "choose the kernel TradeAlgo live, or launch with mode='paper'"
        )


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """What the paper exchange plays: a day simulated from a seed, or a candle file. ISO `day`; `speed` times real time.

    `file` is a candle file (Parquet, as `research.history` writes it) with one frame an instrument.
    """

    day: str
    seed: int = 1
    file: str | None = None
    speed: float = 1.0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that makes a session what it is; written once, before its first process starts. Capital in rupees.

    `strategy` is `module:Class`, or `strategy.py:Class` for a class of a notebook, whose source is beside the manifest.
    `identity` is the hash of the strategy's source, parameters and interval that a promotion is of. `interval` is the
    candle's, in seconds. `day` is the one trading day (ISO) on which it enters positions. `warm_up` is the hash of the candles that the strategy hears before the
    session's own, `warm_up_days` the number of days that was asked for (0: the candles were given, or none). `bus_url` is empty where it is the environment's REDIS_URL, which may hold
    a password and so is never written down.
    """

    session_id: str
    mode: Mode
    account: str
    strategy: str
    parameters: dict[str, Any]
    instruments: tuple[str, ...]
    capital: float
    sizing: Sizing
    limits: Limits = Limits()
    interval: int = 60
    market: Market | None = None
    day: str = ""
    warm_up: str = ""
    warm_up_days: int = 0
    api_key: str = "paper"
    rest_url: str = "https://api.kite.trade"
    ws_url: str = "wss://ws.kite.trade"
    bus_url: str = ""
    identity: str = ""
    created: int = 0
    git_sha: str = ""
    lock_hash: str = ""
    python: str = ""

    def resolved_bus_url(self) -> str:
        """Where the session's Redis is. Raises BadConfig."""
        url = self.bus_url or os.environ.get("REDIS_URL", "")
        if not url:
            raise BadConfig("the session's bus is at REDIS_URL, which is not set here: export it and try again")
        if not _is_bus_url(url):  # redis-py's own error repeats a part of the password
            raise BadConfig(
                "REDIS_URL can't be read: expected redis://USER:PASSWORD@HOST:PORT/0 (rediss:// by TLS, unix:// for a socket), in a "
                "password %2F for /, %23 for #, %3F for ?"
            )
        return url

    @property
    def trading_day(self) -> dt.date:
        """The day that the session is of."""
        return dt.date.fromisoformat(self.day) if self.day else ist_date(self.created)

    @property
    def hears_from(self) -> int:
        """The start (UTC ns) of the first candle that the strategy hears. Of one that had begun when a live session was launched only
        a part was seen: its open, extremes and volume would be no backtest's.
        """
        return self.created + FEED_STARTS_NS if self.mode is Mode.LIVE else 0

    @property
    def speed(self) -> float:
        """Data seconds a wall-clock second."""
        return self.market.speed if self.market else 1.0


class SessionDir:
    """A session's folder: the one home of its file names."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).resolve()

    manifest = property(lambda self: self.path / "manifest.json")
    strategy_source = property(lambda self: self.path / "strategy.py")
    #: Candles of before the session, where it was launched with any (`consumer.warm_up`).
    warm_up = property(lambda self: self.path / "warm_up.npz")
    #: Written to kill without a bus: its presence trips the kill, and stays until a re-arm.
    kill_flag = property(lambda self: self.path / "kill.json")
    #: The Gatekeeper's write-ahead journal (SQLite); only the Gatekeeper writes it.
    journal = property(lambda self: self.path / "journal.db")
    #: Touched by the Gatekeeper as it goes on, so that one that works is never taken for one that hangs.
    alive = property(lambda self: self.path / "gatekeeper.alive")
    #: The Recorder's rows (SQLite unless a database URL is set).
    record = property(lambda self: self.path / "record.db")
    #: There once the broker has refused the automatic login: it isn't sent again, nor after a restart.
    login_refused = property(lambda self: self.path / "login_refused")
    logs = property(lambda self: self.path / "logs")
    #: Session state kept by the paper exchange, so that its restart forgets nothing.
    exchange_state = property(lambda self: self.path / "exchange")
    supervisor_config = property(lambda self: self.path / "supervisord.conf")
    pids = property(lambda self: self.path / "pids")
    #: The folder that `sockets` are in, written down at the launch: TMPDIR is another for a service, a notebook and ssh.
    sockets_parent = property(lambda self: self.path / "tmpdir")

    @property
    def sockets_path(self) -> Path:
        """Where `sockets` are, if they are. Unlike it, makes nothing."""
        name = hashlib.blake2b(str(self.path).encode(), digest_size=6).hexdigest()
        try:
            parent = self.sockets_parent.read_text()
        except OSError:
            parent = ""
        return Path(parent or tempfile.gettempdir()) / f"tradealgo-{os.getuid()}-{name}"

    @property
    def has_sockets(self) -> bool:
        """Whether the sockets' folder is there, as it is while the session runs. On a shared disk anybody can make one of its
        name once the session has ended: somebody else's is none."""
        try:
            return _is_own_folder(self.sockets_path)
        except OSError:
            return False

    @property
    def sockets(self) -> Path:
        """A private folder with a short name: a unix socket's path may have at most 104 characters on macOS, 108 on Linux."""
        folder = self.sockets_path
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if not _is_own_folder(folder) or folder.stat().st_mode & 0o077:
            raise BadConfig(f"{folder} is not private to this user: remove it, or set TMPDIR to a folder of your own")
        return folder

    @property
    def bus_socket(self) -> Path:
        return self.sockets / "bus.sock"

    @property
    def supervisor_socket(self) -> Path:
        """Makes no folder: it is what one looks for to find out whether a session runs."""
        return self.sockets_path / "supervisor.sock"

    def write_manifest(self, manifest: Manifest) -> None:
        """Write once, all of it or nothing, on the disk before this returns. Raises FileExistsError if there is one."""
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        self.logs.mkdir(parents=True, exist_ok=True)
        if self.manifest.exists():
            raise FileExistsError(f"{self.manifest} is there already")
        temporary = self.manifest.with_suffix(".new")
        with open(temporary, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.manifest)

    def read_manifest(self) -> Manifest:
        """Raises SessionNotFound or BadConfig."""
        try:
            return msgspec.json.decode(self.manifest.read_bytes(), type=Manifest)
        except FileNotFoundError:
            raise SessionNotFound(f"no session in {self.path}: expected a manifest.json, written by launch()") from None
        except ValueError as error:
            raise BadConfig(f"{self.manifest} is not a manifest of this version: {error}") from error


def _is_bus_url(url: str) -> bool:
    try:
        found = urlsplit(url)
        return found.scheme in ("redis", "rediss", "unix") and (found.port or 0) >= 0
    except ValueError:
        return False


def _is_own_folder(path: Path) -> bool:
    """Whether it is a folder of this user's, not a link to one: whose link it is could turn it elsewhere. Raises OSError."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


class BrokerSession(msgspec.Struct, frozen=True, kw_only=True):
    """One login: shared by every process of an account, because a second login kills the first's token.

    `expires` is 06:00 IST of the day after the login, in UTC nanoseconds.
    """

    account: str
    user_id: str
    api_key: str
    access_token: str
    created: int
    expires: int

    def __repr__(self) -> str:
        return f"BrokerSession(account={self.account!r}, user_id={self.user_id!r}, access_token=…)"

    @property
    def authorization(self) -> str:
        """Value of the REST header `Authorization`."""
        return f"token {self.api_key}:{self.access_token}"

    def save(self) -> None:
        """Write to the account's token file, readable by this user alone, all at once."""
        path = token_file(self.account)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self))
        os.replace(temporary, path)

    @classmethod
    def load(cls, account: str) -> BrokerSession | None:
        """The account's last login, whatever its age; None if there was none."""
        try:
            return msgspec.json.decode(token_file(account).read_bytes(), type=cls)
        except (FileNotFoundError, ValueError):
            return None


def session_dirs() -> list[SessionDir]:
    """All sessions of this home, oldest first."""
    folder = home() / "sessions"
    found = [SessionDir(p.parent) for p in folder.glob("*/manifest.json")]
    return sorted(found, key=lambda d: d.path.name)


def token_file(account: str) -> Path:
    """Where the Sentinel keeps an account's BrokerSession (mode 0600): never on the bus, where a notebook could read it."""
    return home() / "tokens" / f"{account}.json"


def lease_file(account: str) -> Path:
    """Locked (flock) by the Gatekeeper for as long as it may place orders for the account."""
    return home() / "leases" / f"{account}.lock"
