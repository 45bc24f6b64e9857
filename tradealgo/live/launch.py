"""Launch: check everything, then start a session's processes; or attach to the one that is running already."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tradealgo.config import (
    Manifest,
    Market,
    Mode,
    SessionDir,
    home,
    lease_file,
    require_mode,
    session_dirs,
    token_file,
)
from tradealgo.consumer.warm_up import digest, write_warm_up
from tradealgo.domain.errors import BadConfig, InvalidInput, LeaseHeld, StrategyError
from tradealgo.domain.hours import ist_text, session_day
from tradealgo.domain.instruments import Instrument, InstrumentBook
from tradealgo.domain.limits import Limits
from tradealgo.domain.sizing import Sizing
from tradealgo.gatekeeper.lease import holder
from tradealgo.live import manifest as checks
from tradealgo.live import supervisor, watch
from tradealgo.live import warm_up as warm_ups
from tradealgo.live.leftovers import check_leftovers, check_loss
from tradealgo.live.login import logged_in
from tradealgo.live.promote import required
from tradealgo.live.session import LiveSession
from tradealgo.strategies import Strategy

if TYPE_CHECKING:
    from kiteconnect import KiteConnect

#: Of whose listing a basket chooses: shares and indices, and their derivatives.
BASKET_EXCHANGES = ("NSE:", "NFO:")


def launch(
    strategy: Strategy | type[Strategy],
    instruments: Iterable[str] | None = None,
    *,
    capital: float = 1_000_000,
    mode: str = "paper",
    sizing: Sizing | None = None,
    interval: int = 60,
    limits: Limits | None = None,
    market: Market | None = None,
    warm_up: Any = None,
    account: str | None = None,
    port: int | None = None,
    unpromoted: bool = False,
    after_loss: bool = False,
) -> LiveSession:
    """Start a session of real processes and return at once with the object that mirrors it.

        session = launch(EmaCross(fast=10), ["NFO:NIFTY26NOVFUT"], market=Market(day="2026-11-20", speed=60))

    Launched again with the same arguments while it runs, it attaches to the running one.

    Args:
        strategy: an instance; its class may be one of this notebook.
        instruments: `EXCHANGE:SYMBOL`, or a symbol that only one exchange has. A basket chooses its own unless told.
        capital: rupees. The kill switch trips at a loss of 2 % of it (`Limits.max_loss_fraction`).
        mode: "paper", or "live" with KITE_USER_ID, KITE_API_KEY and KITE_API_SECRET in the environment.
        sizing: what a target of 1 means; by default a lot each, or of shares an equal part of the capital. Not for baskets.
        interval: the candle's, in seconds: whole minutes.
        limits: the Gatekeeper's; safe ones by default.
        market: what the paper exchange plays; by default the last trading day that has begun, simulated, at 60 times real time.
        warm_up: candles of the days before, which the strategy hears first and doesn't trade: as `backtest` takes them, or a number
            of trading days, simulated on paper and read from Kite live. Without, it begins the day as if it were its first.
        account: the broker's user id, one session each; "PAPER1" on paper, KITE_USER_ID live.
        port: of the paper exchange; a free one by default.
        unpromoted: live: launch a strategy that `tradealgo promote` has not passed.
        after_loss: live: launch although the account's loss limit tripped today.

    Raises:
        InvalidInput: an argument is wrong (UnknownInstrument and BadConfig are of its kind).
        LeaseHeld: another session trades this account, or left positions open on it.
    """
    chosen = _mode(mode)
    require_mode(chosen)
    instance = checks.checked_strategy(strategy)
    account = checks.check_account(account or ("PAPER1" if chosen is Mode.PAPER else _required("KITE_USER_ID")))
    capital, interval = checks.checked_capital(capital), checks.checked_interval(interval)
    checks.check_sizing(instance, sizing)
    checks.check_space(home())
    played, api_key = None, "paper"
    if chosen is Mode.PAPER:
        played = checks.checked_market(market)
        book, day = checks.market_instruments(played), dt.date.fromisoformat(played.day)
        closes, days = watch.paper_closes(played), warm_ups.paper_days(played)
    else:
        if market is not None or port is not None:
            raise InvalidInput("market and port are of a paper session: leave them out, or launch with mode='paper'")
        checks.check_private(home())
        api_key, day = _required("KITE_API_KEY"), session_day(time.time_ns())
        if not unpromoted:
            print(required(instance, interval).text)
        book, closes, kite = _live_instruments(account, api_key, instruments)
        days = warm_ups.live_days(kite)
    found = watch.watched(instance, instruments, book, day, closes)
    asked = warm_ups.asked_for(warm_up, found, interval, days)
    manifest, source = checks.build(
        instance, found, mode=chosen, account=account, capital=capital, sizing=sizing, interval=interval,
        limits=limits, market=played, port=port, api_key=api_key, warm_up=digest(asked.candles), warm_up_days=asked.days,
    )  # fmt: skip

    def heard() -> dict[str, np.ndarray]:
        earlier = asked.read()
        if warm_up is not None:
            print(warm_ups.warm_up_text(earlier, found))
            _check_warm_up(manifest, instance, found, earlier)
        return earlier

    return start(manifest, source, heard, after_loss=after_loss)


def _check_warm_up(
    manifest: Manifest, strategy: Strategy, instruments: list[Instrument], earlier: dict[str, np.ndarray]
) -> None:
    """Hear it as the Consumer will: a strategy that raises must be refused before anything starts. Raises InvalidInput."""
    from tradealgo.consumer.shell import engine_of

    try:
        engine_of(manifest, type(strategy), InstrumentBook(instruments)).warm_up(earlier)
    except StrategyError as error:
        raise InvalidInput(f"warm_up: {error}") from error


def start(
    manifest: Manifest, source: str | None, warm_up: Callable[[], dict[str, np.ndarray]] = dict, *, after_loss: bool = False
) -> LiveSession:  # fmt: skip
    """Start the session of a checked manifest, or attach to its like.

    Args:
        warm_up: reads the candles that the strategy hears first; not called where it attaches.

    Raises LeaseHeld, also where an earlier session of today left something open on a live account, or tripped its loss limit
    (not `after_loss`).
    """
    with _one_launch_at_a_time(manifest.account):
        running = _not_stopping(manifest.account)
        if running is not None:
            return _attached(running, manifest, source)
        _check_lease(manifest.account)
        if manifest.mode is Mode.LIVE:
            check_leftovers(manifest.account, time.time_ns())
            if not after_loss:
                check_loss(manifest.account, time.time_ns())
        else:
            token_file(manifest.account).unlink(missing_ok=True)  # of an exchange that is gone
        if earlier := warm_up():  # which may take a minute: the session begins after it
            manifest = msgspec.structs.replace(manifest, warm_up=digest(earlier), created=time.time_ns())
        folder = checks.session_dir(manifest.session_id)
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        folder.path.mkdir(mode=0o700)  # books, strategy and kill flag are this user's alone
        if source is not None:
            folder.strategy_source.write_text(source)
        write_warm_up(folder, earlier)
        folder.write_manifest(manifest)
        supervisor.start(folder, manifest)
        return LiveSession(folder)


def _mode(mode: str) -> Mode:
    try:
        return Mode(mode)
    except ValueError:
        raise InvalidInput(f"mode is {mode!r}: expected 'paper' or 'live'") from None


def _required(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise BadConfig(f"a live session needs {name} in the environment: see .env.example")
    return value


@contextlib.contextmanager
def _one_launch_at_a_time(account: str) -> Iterator[None]:
    """Two launches at the same moment: the second waits, and then finds the first one's session."""
    path = lease_file(account).with_suffix(".launch")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def running_session(account: str) -> SessionDir | None:
    """The session of this home that trades an account now."""
    for folder in reversed(session_dirs()):
        with contextlib.suppress(BadConfig):  # a manifest of another version
            if folder.read_manifest().account == account and supervisor.is_running(folder):
                return folder
    return None


def _not_stopping(account: str) -> SessionDir | None:
    """The session that trades an account, once one that is being stopped is gone. Raises LeaseHeld."""
    deadline = time.monotonic() + supervisor.STOP_TIMEOUT_S
    while (found := running_session(account)) is not None and supervisor.is_stopping(found):
        if time.monotonic() > deadline:
            raise LeaseHeld(f"session {found.path.name} is still being stopped: launch again when it has ended")
        time.sleep(0.1)
    return found


def _attached(folder: SessionDir, manifest: Manifest, source: str | None) -> LiveSession:
    running = folder.read_manifest()
    if running.mode is manifest.mode is Mode.LIVE and running.trading_day != manifest.trading_day:
        raise LeaseHeld(
            f"account {manifest.account} is still held by session {running.session_id}, which is of {running.trading_day:%a %d %b} "
            f"and enters nothing any more: end it with attach({running.session_id!r}).stop(), and launch again"
        )
    other = checks.differences(running, manifest)
    text = folder.strategy_source.read_text() if folder.strategy_source.exists() else None
    if text != source or (not other and running.identity != manifest.identity):  # a module's source isn't carried
        other.append("the strategy's source")
    if not other:
        print(f"attached to {running.session_id}, which is running already")
        return LiveSession(folder)
    raise LeaseHeld(
        f"account {manifest.account} is traded by session {running.session_id}, launched "
        f"{ist_text(running.created, '%d %b %H:%M')} IST, which differs in {', '.join(other)}: watch it with "
        f"attach({running.session_id!r}), end it with attach({running.session_id!r}).stop(), or launch on another account"
    )


def _check_lease(account: str) -> None:
    """Whether a Gatekeeper holds the account of whose session no supervisor answers. Raises LeaseHeld."""
    path = lease_file(account)
    if not path.exists():
        return
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            held = holder(account)
            raise LeaseHeld(
                f"account {account} is held by the Gatekeeper of a session whose supervisor does not answer: end its "
                f"session with `tradealgo stop {held.session_id if held else 'SESSION'}`, and launch again"
            ) from None


def _live_instruments(
    account: str, api_key: str, instruments: Iterable[str] | None
) -> tuple[InstrumentBook, watch.PreviousClose, KiteConnect]:
    """Log in if need be, and read today's dump: an unknown name must be refused before anything starts."""
    from tradealgo.sentinel.dump import download
    from tradealgo.sentinel.login import client

    named = [instruments] if isinstance(instruments, str) else list(instruments or BASKET_EXCHANGES)
    provisional = Manifest(
        session_id="launch", mode=Mode.LIVE, account=account, strategy="", parameters={},
        instruments=tuple(k if ":" in k else f"NSE:{k}" for k in named),
        capital=1.0, sizing=Sizing(lots=1), api_key=api_key,
    )  # fmt: skip
    token = logged_in(provisional).access_token
    return download(provisional, token), watch.live_closes(provisional, token), client(provisional, token)
