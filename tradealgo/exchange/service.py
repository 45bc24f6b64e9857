"""The running paper exchange: clock, tape, engine, sockets, logins, memory and faults put together. All I/O but HTTP."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from tradealgo.exchange import packets
from tradealgo.exchange.accounts import ACCOUNT, REDIRECT_URL, Accounts
from tradealgo.exchange.clock import DataClock
from tradealgo.exchange.engine import Engine
from tradealgo.exchange.faults import ACTS, Fault, Faults
from tradealgo.exchange.limits import LIMITS, RateLimiter, RequestLimits
from tradealgo.exchange.market import MarketDay
from tradealgo.exchange.orders import order_json
from tradealgo.exchange.postbacks import Postbacks, payload
from tradealgo.exchange.store import Entry, Store
from tradealgo.exchange.tape import Tape
from tradealgo.exchange.ws import Hub

SECOND_NS = 1_000_000_000
STEP_S = 0.01
STANDS_BEFORE_OPEN_NS = 5 * SECOND_NS  # the data clock waits at 09:14:55
RUNS_AFTER_CLOSE_NS = 5 * SECOND_NS
#: A long advance is made in pieces, so that clients can keep up with what it sends.
ADVANCE_PIECE_NS = 60 * SECOND_NS


class AnyTape(Protocol):
    """Ticks by data time in UTC nanoseconds, as `tape.Tape` gives them."""

    def between(self, t0_ns: int, t1_ns: int) -> np.ndarray: ...

    def snapshot(self, t_ns: int) -> np.ndarray: ...


def depth_of(tick: np.void) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    """A tick's five levels a side, as they are sent to clients: (price in rupees, quantity), best first."""
    levels = packets.depth(np.array([tick]))[0]
    pairs = [(float(p), int(q)) for q, p in zip(levels["quantity"], levels["price"], strict=True)]
    bids, asks = pairs[: packets.DEPTH_LEVELS], pairs[packets.DEPTH_LEVELS :]
    return [b for b in bids if b[1]], [a for a in asks if a[1]]


class PaperExchange:
    """One account on one market day, as it runs.

    Args:
        capital: opening cash in rupees.
        speed: data seconds a wall-clock second; 0: only `advance` moves the market.
        state_dir: where its memory is kept; None for none.
        postback_url: where an order's changes are POSTed; None for nowhere.
        tape: the ticks of the day; by default those that the market's candles are made of, drawn from `seed`.
    """

    def __init__(
        self, market: MarketDay, *, seed: int = 1, speed: float = 1.0, account: str = ACCOUNT,
        capital: float = 1_000_000.0, state_dir: Path | None = None, redirect_url: str = REDIRECT_URL,
        limits: RequestLimits = LIMITS, tape: AnyTape | None = None, postback_url: str | None = None,
    ) -> None:  # fmt: skip
        self.market, self.tape = market, tape or Tape(market, seed)
        self.store, self.faults = Store(state_dir), Faults()
        self.accounts, self.limiter = Accounts(account, redirect_url), RateLimiter(limits)
        self.postbacks = Postbacks(postback_url)
        self.skew_ns = 0
        position, started = self.store.load_clock() or (market.open - STANDS_BEFORE_OPEN_NS, False)
        self.engine = Engine(
            market.day, market.instruments, self.tape.snapshot(position), round(capital * 100), depth=depth_of,
            modifications=limits.modifications_per_order,
        )  # fmt: skip
        self.hub = Hub(self.engine.board.ticks, self.faults)
        position = max(position, self._restore())
        self.engine.on_time(position)
        end = max(self.engine.hours(i).auction_end for i in market.instruments)
        self.clock = DataClock(position, speed, end + RUNS_AFTER_CLOSE_NS)
        self.position = position
        if started:
            self.clock.start(time.monotonic_ns())

    def _restore(self) -> int:
        for entry in self.store.load():
            if entry.login is not None:
                self.accounts.restore(entry.login)
            elif entry.gtt is not None:
                self.engine.gtts.by_id[entry.gtt.trigger_id] = entry.gtt
            else:
                self.engine.restore(entry.order, entry.execution, entry.conversion)
        self.engine.settle()
        self.limiter.restore(len(self.engine.book.history), self.wall())
        return self.engine.now

    # ------------------------------------------------------------------------------------------ time

    def wall(self) -> int:
        """The exchange's wall clock, UTC nanoseconds."""
        return time.time_ns() + self.skew_ns

    def start(self) -> None:
        """The opening bell."""
        self.clock.start(time.monotonic_ns())
        self.store.save_clock(self.position, True)

    def step(self) -> None:
        """Play the tape up to where the clock stands. Faster than real time, the clock waits for clients that lag."""
        wall = time.monotonic_ns()
        if self.clock.speed > 1 and self.hub.lagging(wall):
            self.clock.hold(wall)
        self._play(self.clock.now(wall))

    def _play(self, until: int) -> None:
        if until <= self.position:
            return
        ticks = self.tape.between(self.position, until)
        self.engine.on_ticks(ticks)
        self.engine.on_time(until)
        self.position = until
        self.hub.publish(ticks)
        self.flush()
        self.store.save_clock(until, self.clock.running)

    async def advance(self, seconds: float) -> None:
        """Move the data clock on, and play what that brings, no faster than clients can take it."""
        target = min(self.clock.end, self.position + int(seconds * SECOND_NS))
        while self.position < target:
            piece = min(ADVANCE_PIECE_NS, target - self.position)
            self._play(self.clock.advance(piece, time.monotonic_ns()))
            await self.hub.drained()

    async def run(self) -> None:
        """Step for ever. Whoever starts this ends with it: an exchange whose market stands still is no exchange."""
        while True:
            self.step()
            await asyncio.sleep(STEP_S)

    # ------------------------------------------------------------------------------------------ what happened

    def flush(self) -> None:
        """Remember what the engine did, then tell the sockets. Called before any answer goes out."""
        changes, triggers = self.engine.drain(), self.engine.gtts.drain()
        if not changes and not triggers:
            return
        entries = [Entry(order=c.order, execution=c.execution, conversion=c.conversion) for c in changes]
        self.store.append(entries + [Entry(gtt=g) for g in triggers])
        for change in changes:
            if change.order is not None and change.said is not None:
                row = order_json(change.order, self.accounts.account, change.said)
                self.hub.tell(msgspec.json.encode(row))
                self.postbacks.tell(payload(row, self.accounts.account))

    def remember_login(self) -> None:
        if self.accounts.login is not None:
            self.store.append([Entry(login=self.accounts.login)])

    # ------------------------------------------------------------------------------------------ faults

    def misbehave(self, fault: Fault) -> None:
        """Arm a fault, or do it now if it is an act."""
        if fault.name not in ACTS:
            self.faults.arm(fault)
            return
        self.faults.note(fault)
        if fault.name == "drop_socket":
            self.hub.drop_all()
        elif fault.name in ("mute_socket", "half_open_socket"):
            self.hub.mute_all(deaf=fault.name == "half_open_socket")
        elif fault.name == "token_death":
            self.accounts.kill_token()
            self.remember_login()
        elif fault.name == "clock_skew":
            self.skew_ns = int(fault.seconds * SECOND_NS)
        else:
            token = self.market.instruments.find(fault.instrument).instrument_token
            self.engine.halt(token, self.position + int(fault.seconds * SECOND_NS))

    def status(self) -> dict[str, Any]:
        """What `GET /_paper/clock` says. Times in UTC nanoseconds."""
        return {
            "position": self.position,
            "running": self.clock.running,
            "speed": self.clock.speed,
            "end": self.clock.end,
            "connections": len(self.hub.connections),
            "ticks_sent": self.hub.ticks_sent,
            "frames_sent": self.hub.frames_sent,
        }

    def close(self) -> None:
        self.store.close()
