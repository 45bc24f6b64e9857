"""What a session's journal says once its processes are gone: how far a kill got, and what was left at the broker."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter

import msgspec

from tradealgo.config import Mode, SessionDir, session_dirs
from tradealgo.domain.errors import BadConfig, LeaseHeld, SessionNotFound
from tradealgo.domain.hours import ist_date
from tradealgo.domain.orders import Fill, Order
from tradealgo.domain.state import KillCause, KillState, SessionState
from tradealgo.gatekeeper.journal import JournalError, open_readonly, read
from tradealgo.gatekeeper.messages import Kind
from tradealgo.running import account_is_gone

FLAT = frozenset({KillState.VERIFIED_FLAT, KillState.LOCKED})


def kill_state(folder: SessionDir) -> KillState:
    """The kill's state as it was journaled last, by the Gatekeeper or by the emergency process; ARMED before any."""
    state = last_state(folder)
    return state.kill if state is not None else KillState.ARMED


def flat_since(folder: SessionDir) -> int:
    """When the broker's positions were verified flat (UTC ns), if the journal ends LOCKED; 0 too where it can't be read."""
    with contextlib.suppress(sqlite3.Error, JournalError):
        state = last_state(folder)
        return state.ts_flat if state is not None and state.kill is KillState.LOCKED else 0
    return 0


def last_state(folder: SessionDir) -> SessionState | None:
    """Trading and kill as they were journaled last; None before any. Raises sqlite3.Error and JournalError."""
    if not folder.journal.exists():
        return None
    with contextlib.closing(open_readonly(folder.journal)) as db:  # from its end: who waits for a kill asks often
        row = db.execute("SELECT payload FROM records WHERE kind = 'STATE' ORDER BY seq DESC LIMIT 1").fetchone()
    try:
        return msgspec.msgpack.decode(row[0], type=SessionState) if row else None
    except ValueError as error:
        raise JournalError(f"the last state in {folder.journal} can't be read: {error}") from error


def is_killing(folder: SessionDir) -> bool:
    """Whether a kill is asked for or under way, and not LOCKED yet. False where the journal can't be read: nobody could
    see its end."""
    with contextlib.suppress(sqlite3.Error, JournalError):
        state = kill_state(folder)
        return folder.kill_flag.exists() if state is KillState.ARMED else state is not KillState.LOCKED
    return False


def left_open(folder: SessionDir, now: int | None) -> list[str]:
    """Positions and working orders that the journal of today (IST) ends with, in words; none once verified flat.

    Earlier days don't count: the broker squares intraday positions off, and day orders expire. Without `now` all do.
    The broker says that an order has filled before it lists the trades: what was killed in between has only the one.
    """
    if not folder.journal.exists():
        return []
    held: Counter[str] = Counter()
    orders: dict[str, Order] = {}
    filled: Counter[str] = Counter()  # by tag, units, whoever said so first
    traded: Counter[str] = Counter()

    def count(message: Order | Fill, units: int) -> None:
        new = max(0, units - filled[message.tag])
        held[message.instrument] += message.side.sign * new
        filled[message.tag] += new

    with contextlib.closing(open_readonly(folder.journal)) as db:
        last = db.execute("SELECT ts FROM records ORDER BY seq DESC LIMIT 1").fetchone()
        if now is not None and last and ist_date(last[0]) != ist_date(now):
            return []  # a launch looks at those of all days
        for row in read(db, kinds=(Kind.STATE, Kind.ORDER, Kind.FILL)):
            if now is not None and ist_date(row.ts) != ist_date(now):
                continue
            if row.kind is Kind.STATE and row.message.kill in FLAT:  # the broker's own word
                held.clear()
                orders.clear()
            elif row.kind is Kind.ORDER:
                orders[row.message.tag] = row.message
                count(row.message, row.message.filled_quantity)
            elif row.kind is Kind.FILL:
                traded[row.message.tag] += row.message.quantity
                count(row.message, traded[row.message.tag])
    working = Counter(o.instrument for o in orders.values() if o.pending_quantity)
    return [f"{quantity:+d} {key}" for key, quantity in held.items() if quantity] + [
        f"{count} working order{'s' * (count > 1)} in {key}" for key, count in working.items()
    ]


def check_account_lives(folder: SessionDir) -> None:
    """Raises SessionNotFound for a paper session that has ended, and its account with its exchange."""
    if account_is_gone(folder):
        raise SessionNotFound(
            f"session {folder.path.name} has ended, and its paper account with its exchange: nothing is left to make flat"
        )


def check_leftovers(account: str, now: int) -> None:
    """Refuse an account where a live session of today left something open: a new one would not know it for its own.

    Paper sessions don't count: each has an exchange of its own, whose account ends with it.
    Raises LeaseHeld, which names the session and the mend.
    """
    for folder in reversed(session_dirs()):
        with contextlib.suppress(BadConfig):  # a manifest of another version
            manifest = folder.read_manifest()
            if (manifest.mode, manifest.account) == (Mode.LIVE, account) and (left := _left_open(folder, now)):
                raise LeaseHeld(
                    f"session {manifest.session_id} ended today and left {', '.join(left)} on account {account}: make "
                    f"it flat with `tradealgo kill {manifest.session_id}`, which verifies it with the broker, and "
                    "launch again"
                )


def check_loss(account: str, now: int) -> None:
    """Refuse an account whose loss limit tripped today: another session would begin with a whole one, and nobody have been
    asked the two questions that a re-arm asks. Raises LeaseHeld, which names the session and the mend.
    """
    for folder in reversed(session_dirs()):
        with contextlib.suppress(BadConfig, sqlite3.Error, JournalError):
            manifest = folder.read_manifest()
            if (manifest.mode, manifest.account) != (Mode.LIVE, account) or (state := last_state(folder)) is None:
                continue
            if state.cause is KillCause.MTM and ist_date(state.ts_tripped) == ist_date(now):
                raise LeaseHeld(
                    f"the loss limit of account {account} tripped today in session {manifest.session_id} ({state.reason}), "
                    "and a new session has a whole one: launch with after_loss=True (--after-loss), if you mean it"
                )


def left_words(folder: SessionDir, now: int | None = None) -> str:
    """What a stopped session left open, for behind its "stopped": as `left_open`, and what becomes of it. May be empty."""
    manifest = folder.read_manifest()
    try:
        left = ", ".join(left_open(folder, now))
    except (sqlite3.Error, JournalError) as error:
        return f"; what it holds isn't known, as its journal can't be read ({error})"
    if not left:
        return ""
    if manifest.mode is Mode.PAPER:
        return f"; {left} ended with its paper exchange"
    return f"; it holds {left}, still open at the broker: `tradealgo kill {manifest.session_id}` makes flat"


def _left_open(folder: SessionDir, now: int) -> list[str]:
    try:
        return left_open(folder, now)
    except (sqlite3.Error, JournalError) as error:
        return [f"nobody knows what, as its journal can't be read ({error}),"]
