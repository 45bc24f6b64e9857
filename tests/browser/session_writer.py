"""A stand-in that writes a session's streams as the modules do, for tests of the desk alone: `python session_writer.py FOLDER [SPEED [MINUTES]]`.

With a SPEED it begins at the open, and writes so many times real time, for so many MINUTES of the session, then at real pace: ten
points of MTM a second of the session.

It obeys the control stream and the kill flag, so that the way from a browser to the streams is whole; what it shows is
a random walk. The drills that matter run on real sessions.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import sys
import time

import msgspec

from tradealgo.bus.keys import Stream, instruments_key
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.config import SessionDir
from tradealgo.domain.candles import ClosedCandle
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.orders import Fill, Intent, Order, OrderState, Side
from tradealgo.domain.signals import SignalRecord
from tradealgo.domain.state import (
    Action,
    Alert,
    Beat,
    KillCause,
    KillState,
    Level,
    Module,
    MtmPoint,
    SessionState,
    TradingState,
)

TOKENS = {"NSE:INFY": 408065, "NSE:RELIANCE": 738561}
OPEN = 1_795_146_300_000_000_000  # 2026-11-20 09:15 IST
MINUTE = 60_000_000_000
#: Minutes of the day that are there at the start.
HISTORY = 240
STATES = {Module.PRODUCER: "LIVE", Module.SENTINEL: "LOGGED_IN"}


class Writer:
    def __init__(self, folder: SessionDir, bus: Bus, speed: int = 0, fast_minutes: float = math.inf) -> None:
        self.folder, self.bus, self.speed = folder, bus, speed
        self.slow_from = OPEN + fast_minutes * MINUTE
        self.history = 0 if speed else HISTORY
        self.manifest = folder.read_manifest()
        self.random = random.Random(7)
        self.prices = dict.fromkeys(TOKENS, 1_500.0)
        self.held = dict.fromkeys(TOKENS, 0)
        self.event = OPEN
        self.mtm = self.realised = self.peak = 0.0
        self.state = SessionState(trading=TradingState.ACTIVE, kill=KillState.ARMED, ts=time.time_ns())
        self.number = 0

    async def run(self) -> None:
        instruments = [
            Instrument(instrument_token=t, exchange="NSE", tradingsymbol=k.split(":")[1], kind=Kind.EQUITY)
            for k, t in TOKENS.items()
        ]
        await self.bus.client.set(instruments_key(self.bus.session_id), msgspec.msgpack.encode(instruments))
        await self.bus.publish(Stream.STATE, self.state)
        for step in range(self.history):
            await self.minute(step)
        await asyncio.gather(self.points(), self.minutes(), self.beats(), self.controls())

    async def minutes(self) -> None:
        step = self.history
        while True:
            await asyncio.sleep(60 / self.speed if self.speed else 1.0)
            if self.speed and self.event >= self.slow_from:
                self.speed = 1
            if self.state.kill is KillState.ARMED:
                await self.minute(step)
                step += 1

    async def minute(self, step: int) -> None:
        out: list[tuple[Stream, msgspec.Struct]] = []
        self.event = OPEN + (step + 1) * MINUTE
        for key, token in TOKENS.items():
            old = self.prices[key]
            walk = [old]
            for _ in range(6):
                walk.append(walk[-1] * (1 + self.random.gauss(0, 0.0005) + 0.0002 * math.sin((step + 20) / 25 + token)))
            new = self.prices[key] = round(walk[-1], 2)
            stamp = time.time_ns()
            out.append(
                (
                    Stream.CANDLES,
                    ClosedCandle(
                        token,
                        60,
                        self.event - MINUTE,
                        old,
                        round(max(walk), 2),
                        round(min(walk), 2),
                        new,
                        1e4,
                        0,
                        60,
                        self.event,
                        stamp,
                        stamp,
                    ),
                )
            )
            self.mtm += self.held[key] * (new - old)
            target = 1 if math.sin((step + 20) / 25 + token + 0.4) > 0 else 0
            out.append(
                (
                    Stream.SIGNALS,
                    SignalRecord(
                        token,
                        self.event - MINUTE,
                        target,
                        math.nan,
                        "fast above slow" if target else "",
                        new,
                        stamp,
                        stamp,
                    ),
                )
            )
            if (wanted := target * 300) != self.held[key]:
                out += self.trade(key, wanted - self.held[key], new, stamp)
        self.peak = max(self.peak, self.mtm)
        if step < self.history:
            out.append((Stream.MTM, self.point()))
        await self.bus.publish_many(out)

    def trade(self, key: str, quantity: int, price: float, stamp: int, intent: Intent | None = None) -> list:
        self.number += 1
        tag, side = f"T{self.number:019d}", Side.BUY if quantity > 0 else Side.SELL
        self.held[key] += quantity
        self.mtm -= 25
        intent = intent or (Intent.ENTRY if quantity > 0 else Intent.EXIT)
        at = [stamp + int(x * 1e6) for x in (0.2, 0.35, 0.6, 1.3, 3.1, 9.4)]
        order = Order(
            tag=tag,
            request_id=tag,
            session_id=self.bus.session_id,
            instrument_token=TOKENS[key],
            instrument=key,
            side=side,
            quantity=abs(quantity),
            price=round(price * 1.005, 1),
            intent=intent,
            state=OrderState.FILLED,
            filled_quantity=abs(quantity),
            average_price=price,
            ts_event=self.event,
            ts_init=stamp,
            ts_closed=at[0],
            ts_signalled=at[1],
            ts_requested=at[2],
            ts_checked=at[3],
            ts_sent=at[4],
            ts_acknowledged=at[5],
        )
        fill = Fill(
            trade_id=tag,
            tag=tag,
            order_id=tag,
            instrument_token=TOKENS[key],
            instrument=key,
            side=side,
            quantity=abs(quantity),
            price=price,
            ts_event=self.event,
        )
        return [(Stream.ORDERS, order), (Stream.FILLS, fill)]

    def point(self) -> MtmPoint:
        mtm, realised = int(self.mtm * 100), int(self.mtm * 60)
        limit = -int(self.manifest.capital * self.manifest.limits.max_loss_fraction * 100)
        drawdown = int((self.peak - self.mtm) * 100)
        return MtmPoint(
            self.event, time.time_ns(), realised, mtm - realised, 25 * self.number * 100, mtm, drawdown, limit
        )

    async def points(self) -> None:
        while True:
            for _ in range(self.speed or 1):
                self.event += MINUTE // (600 if self.speed else 20)
                if any(self.held.values()):
                    self.mtm += self.random.gauss(0, 6 if self.speed else 60)
                await self.bus.publish(Stream.MTM, self.point())
            await asyncio.sleep(0.1)

    async def beats(self) -> None:
        warned = Alert(
            level=Level.WARNING,
            module=Module.PRODUCER,
            code="GAP",
            text="Reconnected after 1.2 s without ticks",
            ts=time.time_ns(),
        )
        await self.bus.publish(Stream.ALERTS, warned)
        while True:
            for module in (m for m in Module if m is not Module.BUS):
                figures = {"calls_second": 2, "calls_minute": 31, "calls_day": self.number}
                await self.bus.publish(
                    Stream.HEALTH,
                    Beat(
                        module=module,
                        pid=os.getpid(),
                        ts=time.time_ns(),
                        state=STATES.get(module, "READY"),
                        ts_event=self.event,
                        figures=figures if module is Module.GATEKEEPER else {},
                    ),
                )
            await asyncio.sleep(1.0)

    async def say(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, ts=time.time_ns(), **changes)
        await self.bus.publish(Stream.STATE, self.state)

    async def controls(self) -> None:
        after = {Stream.CONTROL: b"0"}
        while True:
            for entry in await self.bus.read(after, block_ms=50):
                after[Stream.CONTROL] = entry.id
                await self.obey(entry.message.action, entry.message.reason)
            if self.folder.kill_flag.exists() and self.state.kill is KillState.ARMED:
                await self.obey(Action.KILL, "flag")

    async def obey(self, action: Action, reason: str) -> None:
        if action is Action.KILL and self.state.kill is KillState.ARMED:
            await self.say(
                trading=TradingState.HALTED,
                kill=KillState.TRIPPED,
                cause=KillCause.PERSON,
                reason=reason,
                ts_tripped=time.time_ns(),
            )
            for state in (KillState.CANCELLING, KillState.FLATTENING):
                await asyncio.sleep(0.15)
                await self.say(kill=state)
            for key, held in self.held.items():
                if held:
                    await self.bus.publish_many(self.trade(key, -held, self.prices[key], time.time_ns(), Intent.KILL))
            await asyncio.sleep(0.3)
            await self.say(kill=KillState.VERIFIED_FLAT, ts_flat=time.time_ns())
            await asyncio.sleep(0.05)
            await self.say(kill=KillState.LOCKED)
        elif action is Action.REARM and self.state.kill is KillState.LOCKED:
            self.folder.kill_flag.unlink(missing_ok=True)
            await self.say(
                trading=TradingState.ACTIVE, kill=KillState.ARMED, cause=None, reason=reason, ts_tripped=0, ts_flat=0
            )
        elif action in (Action.HALT, Action.RESUME):
            await self.say(trading=TradingState.HALTED if action is Action.HALT else TradingState.ACTIVE, reason=reason)


async def main() -> None:
    folder = SessionDir(sys.argv[1])
    manifest = folder.read_manifest()
    speed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    fast_minutes = float(sys.argv[3]) if len(sys.argv) > 3 else math.inf
    await Writer(folder, Bus(connect(manifest.resolved_bus_url()), manifest.session_id), speed, fast_minutes).run()


if __name__ == "__main__":
    asyncio.run(main())
