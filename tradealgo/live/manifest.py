"""From a launch's arguments to a manifest: everything a person gives is checked here, before a process starts."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import math
import os
import platform
import secrets
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tradealgo.config import Manifest, Market, Mode, SessionDir, home
from tradealgo.domain.errors import BadConfig, InvalidInput
from tradealgo.domain.hours import IST, is_trading_day, ist_text, last_trading_day, nearest_trading_day, session_day
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.domain.limits import Limits
from tradealgo.domain.sizing import Sizing
from tradealgo.live.promote import identity
from tradealgo.strategies import BasketStrategy, Strategy, describe

#: Free disk space without which no session starts: its logs, journal, record and bus file of a busy day.
NEEDED_BYTES = 200_000_000

#: A paper day by default: six hours in six minutes.
DEFAULT_SPEED = 60.0

#: What the exchange listens on a second or two after the launch has chosen it. Systems hand out ports from 32768 up to whoever
#: asks for any: one of those could be somebody else's by then.
PORTS = range(20_000, 32_000)
PORT_TRIES = 50

#: Limits whose default is all that the broker takes.
BROKERS_OWN = frozenset({"orders_per_second", "orders_per_minute", "orders_per_day", "modifications_per_order"})

#: Times the capital: an index future's margin is about a tenth of its value, a share's within the day a fifth.
MOST_LEVERAGE = 10.0

#: What may differ between two launches of one and the same session: where it runs, when, and by which build.
INCIDENTAL = frozenset(
    {"session_id", "rest_url", "ws_url", "bus_url", "created", "git_sha", "lock_hash", "python", "api_key", "identity"}
)


def default_market() -> Market:
    """The last trading day that has begun, simulated."""
    return Market(day=last_trading_day(dt.datetime.now(IST)).isoformat(), speed=DEFAULT_SPEED)


def checked_market(market: Market | None) -> Market:
    """The market with an absolute path. Raises InvalidInput."""
    market = market or default_market()
    if not (math.isfinite(market.speed) and 0.01 <= market.speed <= 10_000):
        raise InvalidInput(f"market speed {market.speed!r}: expected 0.01 to 10,000 times real time")
    if market.file is None:
        if not is_trading_day(day := _date(market.day)):
            raise InvalidInput(f"{day:%A} {day} is not a trading day of NSE: the nearest is {nearest_trading_day(day)}")
        return market
    path = Path(market.file).expanduser().resolve()
    if not path.is_file():
        raise InvalidInput(f"no market file at {market.file}: write one with research.history, or leave it out")
    return msgspec.structs.replace(market, file=str(path))


def market_instruments(market: Market) -> InstrumentBook:
    """What the paper exchange will list. Raises BadConfig, BadCandles."""
    if market.file is not None:
        from tradealgo.exchange.market import load_market  # Arrow: only who replays a file pays

        return load_market(market).instruments
    from tradealgo.exchange.listing import listing

    return InstrumentBook(listing(_date(market.day)))


def _date(day: str) -> dt.date:
    try:
        found = dt.date.fromisoformat(day)
    except ValueError:
        raise BadConfig(f"market day {day!r} is not a date: write it as 2026-11-23") from None
    if not 2000 <= found.year < 2100:
        raise BadConfig(f"market day {day} is not of this century: write it as 2026-11-23")
    return found


def checked_instruments(instruments: Iterable[str], book: InstrumentBook) -> list[Instrument]:
    """The instruments of these names, all of which can be traded. Raises UnknownInstrument, InvalidInput."""
    found = named_instruments(instruments, book)
    for instrument in found:
        if not instrument.tradable:
            raise InvalidInput(
                f"{instrument.key} is an index, which has a price but can't be traded: {_instead(instrument, book)}"
            )
    return found


def named_instruments(instruments: Iterable[str], book: InstrumentBook) -> list[Instrument]:
    """The instruments of these names, each once. Raises UnknownInstrument, InvalidInput."""
    keys = [instruments] if isinstance(instruments, str) else list(instruments)
    if not keys:
        raise InvalidInput("no instruments given: expected at least one, as in instruments=['NSE:INFY']")
    found = [book.find(str(key)) for key in keys]
    repeated = sorted({i.key for i in found if found.count(i) > 1})
    if repeated:
        raise InvalidInput(f"{', '.join(repeated)} is given twice: once is enough")
    return found


def _instead(index: Instrument, book: InstrumentBook) -> str:
    """What to trade in an index's place: its nearest future (NIFTY BANK's are called BANKNIFTY)."""
    words = [w for w in index.tradingsymbol.split() if w.isalpha()]
    futures = [i for i in book if i.kind is Kind.FUTURE and i.expiry and all(w in i.name for w in words)]
    nearest = min(futures, key=lambda i: (len(i.name), i.expiry), default=None)
    return f"trade its future, {nearest.key}" if nearest else "give what can be bought"


def default_sizing(instruments: list[Instrument]) -> Sizing:
    """One lot of each where something comes in lots, else an equal share of the capital each."""
    if any(i.lot_size > 1 for i in instruments):
        return Sizing(lots=1)
    return Sizing(fraction=1 / len(instruments))


def check_sizing(strategy: Strategy, sizing: Sizing | None) -> None:
    """A basket's targets say how much. Raises InvalidInput."""
    if sizing is not None and isinstance(strategy, BasketStrategy):
        raise InvalidInput(
            f"{type(strategy).__name__} is a basket, whose targets say how much: leave sizing out, and set its parameters"
        )
    if sizing is not None and (sizing.fraction or 0.0) > MOST_LEVERAGE:
        raise InvalidInput(
            f"sizing: fraction is {sizing.fraction:g} times the capital: expected a part of it, as 0.2 for 20 %, or up to "
            f"{MOST_LEVERAGE:g} with what the broker lends"
        )


def checked_limits(limits: Limits | None, mode: Mode) -> Limits:
    """The Gatekeeper's limits, each of its own unit: 2 in the place of 0.02 would be a kill switch that never trips. Raises InvalidInput."""
    if not isinstance(limits := limits or Limits(), Limits):
        raise InvalidInput(f"limits is {limits!r}: expected Limits, as in limits=Limits(max_loss_fraction=0.02)")
    for name, usual in msgspec.structs.asdict(Limits()).items():
        value = getattr(limits, name)
        if expected := _expected(name, value, usual, mode):
            raise InvalidInput(f"limits: {name} is {value!r}: expected {expected}")
    return limits


def _expected(name: str, value: Any, usual: bool | int | float, mode: Mode) -> str:
    """What a limit that makes no sense should be; empty for one that does."""
    if isinstance(usual, bool):
        return "" if isinstance(value, bool) else "True or False"
    number, kind = (int, "a plain whole number") if isinstance(usual, int) else ((int, float), "a plain number")
    if isinstance(value, bool) or not isinstance(value, number) or not 0 <= value < math.inf:
        return f"{kind}, 0 or more"
    if name == "max_loss_fraction" and not 0 < value <= 1:
        return "a part of the capital, as 0.02 for 2 %"
    is_loose = mode is Mode.PAPER and "fat_finger" in name  # a day at hundreds of times its speed
    if name.endswith("_fraction") and value > 1 and not is_loose:
        return f"a part of 1, as {usual or 0.03} for {usual or 0.03:.1%}"
    is_beyond = name in BROKERS_OWN and value > usual
    return f"at most {usual}, which is all that the broker takes" if is_beyond else ""


def checked_capital(capital: float) -> float:
    """Raises InvalidInput."""
    if not isinstance(capital, (int, float)) or not (math.isfinite(capital) and capital > 0):
        raise InvalidInput(f"capital is {capital!r}: expected rupees, as in capital=1_000_000")
    return float(capital)


def checked_interval(interval: int) -> int:
    """Raises InvalidInput."""
    if not isinstance(interval, int) or interval < 60 or interval % 60 or interval > 3600:
        raise InvalidInput(f"interval is {interval!r}: expected whole minutes in seconds, from 60 to 3600")
    return interval


def checked_strategy(strategy: Strategy | type[Strategy]) -> Strategy:
    """An instance whose setup works, also of a class given without parameters. Raises InvalidInput."""
    made = strategy() if isinstance(strategy, type) and issubclass(strategy, Strategy) else strategy
    if not isinstance(made, Strategy):
        raise InvalidInput(
            f"strategy is {strategy!r}: expected an instance of a Strategy class, as in EmaCross(fast=10)"
        )
    try:
        made.fresh()
    except InvalidInput:
        raise
    except Exception as error:  # it would raise at the session's first candle
        raise InvalidInput(f"{made!r} can't begin: its setup() raised {type(error).__name__}: {error}") from error
    return made


def check_account(account: str) -> str:
    """It becomes file names. Raises InvalidInput."""
    if not (account.isascii() and account.isalnum() and len(account) <= 20):
        raise InvalidInput(f"account {account!r}: expected the broker's user id, letters and digits only")
    return account


def check_space(folder: Path, needed: int = NEEDED_BYTES) -> None:
    """Make the folder; refuse where the disk is full or isn't ours to write. Raises BadConfig."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BadConfig(f"{folder} can't be made ({error.strerror}): set TRADEALGO_HOME to a folder of yours") from None
    if not os.access(folder, os.W_OK):
        raise BadConfig(f"{folder} can't be written: set TRADEALGO_HOME to a folder of yours")
    if free < needed:
        raise BadConfig(
            f"only {free / 1e6:,.0f} MB are free at {folder}, and a session needs {needed / 1e6:,.0f} MB: free some "
            "space, or set TRADEALGO_HOME to another disk"
        )


def check_private(folder: Path) -> None:
    """Where everybody may write, everybody may put a token, a lease or a session in the place of ours. Raises BadConfig."""
    if folder.stat().st_mode & stat.S_IWOTH:
        raise BadConfig(
            f"every user of this machine can write into {folder}: say `chmod go-w {folder}`, or set TRADEALGO_HOME to a folder of yours"
        )


def free_port(wanted: int | None = None) -> int:
    """A loopback port that nothing listens on now. Raises BadConfig where the wanted one is taken, or all are."""
    for port in [wanted] if wanted else secrets.SystemRandom().sample(PORTS, PORT_TRIES):
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or str(error)
    if wanted:
        raise BadConfig(f"port {wanted} can't be had ({reason}): leave port out, and a free one is taken")
    raise BadConfig(f"no free loopback port in {PORT_TRIES} tries ({reason}): give one with port=")


def session_name(strategy: Strategy, now: int) -> str:
    """A new session's id: IST time first, so that names sort by age."""
    return f"{ist_text(now, '%Y%m%d-%H%M%S')}-{type(strategy).__name__.lower()[:24]}-{secrets.token_hex(2)}"


def git_sha(folder: Path) -> str:
    """The commit that the launcher works in, `+` behind it where files differ from it; empty without git."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        run = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"],
            cwd=folder, capture_output=True, text=True, timeout=2,
        )  # fmt: skip
        return run.stdout.strip()
    return ""


def lock_hash(folder: Path) -> str:
    """SHA-256 of the nearest requirements.lock at or above a folder; empty if there is none."""
    for place in (folder, *folder.parents):
        lock = place / "requirements.lock"
        if lock.is_file():
            return hashlib.sha256(lock.read_bytes()).hexdigest()
    return ""


def build(
    strategy: Strategy, instruments: list[Instrument], *, mode: Mode, account: str, capital: float,
    sizing: Sizing | None, interval: int, limits: Limits | None, market: Market | None, port: int | None,
    api_key: str = "paper", warm_up: str = "", warm_up_days: int = 0, now: int | None = None,
) -> tuple[Manifest, str | None]:  # fmt: skip
    """The manifest of checked arguments, and the strategy's source where it must travel as one. Raises BadConfig."""
    now = now or time.time_ns()
    path, source = describe(type(strategy))
    session_id = session_name(strategy, now)
    where: dict[str, Any] = {}
    if mode is Mode.PAPER:
        number = free_port(port)
        where = {"rest_url": f"http://127.0.0.1:{number}", "ws_url": f"ws://127.0.0.1:{number}/ws"}
    if not os.environ.get("REDIS_URL"):
        where["bus_url"] = f"unix://{session_dir(session_id).bus_socket}"
    manifest = Manifest(
        session_id=session_id, mode=mode, account=account, strategy=path, parameters=strategy.parameters,
        instruments=tuple(i.key for i in instruments), capital=capital, sizing=sizing or default_sizing(instruments),
        limits=checked_limits(limits, mode), interval=interval, market=market, warm_up=warm_up,
        day=market.day if market else session_day(now).isoformat(), warm_up_days=warm_up_days, api_key=api_key,
        identity=identity(path, source, strategy.parameters, interval), created=now,
        git_sha=git_sha(Path.cwd()), lock_hash=lock_hash(Path.cwd()), python=platform.python_version(), **where,
    )  # fmt: skip
    manifest.resolved_bus_url()  # a REDIS_URL that can't be read is refused here
    _check_written(manifest)
    return manifest, source


def _check_written(manifest: Manifest) -> None:
    """Every process of the session reads it: what can't be written and read must be refused before one starts. Raises InvalidInput."""
    try:
        msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the session can't be written down ({error}): give plain numbers and texts, as float(x) of one of numpy's"
        ) from None


def session_dir(session_id: str) -> SessionDir:
    """Where a session of this home lives."""
    return SessionDir(home() / "sessions" / session_id)


def differences(one: Manifest, other: Manifest) -> list[str]:
    """The fields in which two manifests ask for different sessions. Days of warm-up are the same days, whenever they were read."""
    as_read = {"warm_up"} if one.warm_up_days and one.warm_up_days == other.warm_up_days else set()
    names = (f for f in Manifest.__struct_fields__ if f not in INCIDENTAL | as_read)
    return [n for n in names if getattr(one, n) != getattr(other, n)]
