"""The kill from press to VERIFIED_FLAT, with 10 open positions and 20 working orders.

Gatekeeper and Producer as processes, the paper exchange with the broker's own request limits and its market running,
a real bus. A round opens 10 positions in shares and 20 entries in option contracts that nobody quotes, which rest;
presses the kill on the control stream at a random moment of the second, reads VERIFIED_FLAT's time, compares with the
exchange's ledger, and arms the switch again. `runs` rounds are without a fault; in `runs_faults` more two cancels and an
exit are answered 429, an exit is carried out but never answered, and another exit is lost on its way: it is sent again
once it is certain that the first can't turn up any more, 11 s after it left.

`least_s` is what the broker's rule alone costs: 30 calls, 10 a calendar second, from the same moments; with `--protect`,
where each position's resting stop is cancelled first, 40. `max_calls_in_a_second` counts what left by calendar second;
the exchange itself refuses an eleventh. The exchange runs in a thread of this program, beside the rounds' own loop: what
it takes to answer is in the figures. `--log FILE` adds each round to a file, and the figures are of all rounds in it, so
that many can be measured a few at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import datetime as dt
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.common import told
from tradealgo.bus.keys import Stream
from tradealgo.bus.server import EmbeddedServer
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.domain.state import Action, KillState, SessionState
from tradealgo.exchange.limits import LIMITS
from tradealgo.exchange.listing import SHARES, listing
from tradealgo.exchange.market import simulated_day
from tradealgo.exchange.testing import DAY, running_exchange
from tradealgo.gatekeeper.journal import open_readonly, read
from tradealgo.gatekeeper.messages import AnswerRecord, CallRecord, Outcome

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from gate_session import GateSession, gate_session

POSITIONS, WORKING = 10, 20
CAPITAL = 1e8  # rupees
#: Contracts that don't trade have old prices, and their entries may rest for long. Rounds with faults follow each other
#: within the circuit breaker's minute, which would rightly deny the next one's entries. All else is as by default.
PATIENT = Limits(stale_price_s=3_600.0, entry_max_age_s=600.0, breaker_failures=1_000)
FAULTS: tuple[dict[str, Any], ...] = (
    {"name": "http_429", "path": "/orders", "method": "DELETE", "count": 2},
    {"name": "http_429", "path": "/orders", "method": "POST"},
    {"name": "timeout_after_accept", "path": "/orders", "method": "POST", "seconds": 5.0},
    {"name": "timeout_before", "path": "/orders", "method": "POST", "seconds": 5.0},
)


class Round(NamedTuple):
    """One kill: seconds from the press to VERIFIED_FLAT, those that the rate rule alone costs, whether faults were armed, and
    the most order calls that left in a calendar second.
    """

    seconds: float
    least: float
    faults: bool
    most: int


def unquoted(count: int) -> list[str]:
    """Option contracts that have a price of the day before and nobody trades all day."""
    day = dt.date.fromisoformat(DAY)
    market = simulated_day(day, instruments=[i.key for i in listing(day) if i.is_option and i.name == "FINNIFTY"])
    quiet = (i for i in market.instruments if not len(market.candles[i.instrument_token]))
    return [i.key for i in quiet if market.previous_close[i.instrument_token] > 10][:count]


async def ask_for(session: GateSession, names: list[str], state: OrderState) -> None:
    """A lot of each, and wait until all orders are in a state."""
    asked = set()
    for name in names:
        lot = session.instrument(name).lot_size
        asked.add((await session.ask(name, Side.BUY, lot, lot)).request_id)

    async def there() -> bool:
        return sum(o.request_id in asked and o.state is state for o in (await session.orders()).values()) == len(names)

    await session.until(there, 90.0, f"{len(names)} orders {state}")


async def until_kill(session: GateSession, state: KillState, after: int) -> SessionState:
    """The first word of a kill state since `after`."""

    async def said() -> SessionState | None:
        rows = (e.message for e in await session.bus.range(Stream.STATE))
        return next((s for s in rows if s.kill is state and s.ts > after), None)

    return await session.until(said, 60.0, state)


async def all_protected(session: GateSession) -> None:
    """Wait until each position has its stop at the exchange."""

    async def there() -> bool:
        known = (await session.orders()).values()
        return sum(o.intent is Intent.PROTECT and o.state is OrderState.OPEN for o in known) == POSITIONS

    await session.until(there, 90.0, "a stop for each position")


async def kill_round(session: GateSession, names: list[str], faults: bool) -> Round:
    """Open, press, wait for the proof, look at the exchange's ledger, arm again."""
    await ask_for(session, names[POSITIONS:], OrderState.OPEN)
    await ask_for(session, names[:POSITIONS], OrderState.FILLED)
    stops = POSITIONS if session.manifest.limits.protect_fraction else 0
    if stops:
        await all_protected(session)
    await asyncio.sleep(random.uniform(1.1, 2.1))  # the calls of the opening are of an earlier second
    for fault in FAULTS if faults else ():
        await asyncio.to_thread(session.paper.fault, **fault)
    ledger = await asyncio.to_thread(session.paper.ledger)
    held = sum(1 for p in ledger["positions"] if p["quantity"])
    working = sum(o["status"] == "OPEN" for o in await asyncio.to_thread(session.broker_orders))
    assert (held, working) == (POSITIONS, WORKING), f"{held} positions, {working} orders at the press"
    pressed = time.time_ns()
    await session.control(Action.KILL)
    flat = await until_kill(session, KillState.VERIFIED_FLAT, pressed)
    await until_kill(session, KillState.LOCKED, pressed)
    ledger = await asyncio.to_thread(session.paper.ledger)
    assert not any(p["quantity"] for p in ledger["positions"]), "the exchange's ledger is not flat"
    alive = ("OPEN", "TRIGGER PENDING")
    assert not any(o["status"] in alive for o in await asyncio.to_thread(session.broker_orders))
    await asyncio.to_thread(session.paper.control, "DELETE", "faults")
    await session.control(Action.REARM)
    await until_kill(session, KillState.ARMED, flat.ts)
    whole_seconds = (POSITIONS + WORKING + stops - 1) // 10
    least = (pressed // 10**9 + whole_seconds) - pressed / 1e9
    return Round((flat.ts_flat - pressed) / 1e9, least, faults, await asyncio.to_thread(most_calls, session))


def most_calls(session: GateSession) -> int:
    """Order calls that left in the fullest calendar second."""
    with contextlib.closing(open_readonly(session.folder.journal)) as db:
        rows = [r.message for r in read(db)]
    unsent = {m.call_id for m in rows if isinstance(m, AnswerRecord) and m.outcome is Outcome.NOT_SENT}
    left = [m.ts // 10**9 for m in rows if isinstance(m, CallRecord) and m.call_id not in unsent]
    return max(collections.Counter(left).values())


async def rounds(clean: int, faulty: int, protect: float = 0.0, log: Path | None = None) -> list[Round]:
    """Rounds without and then with faults, each added to `log`; `protect` is how far below each entry a stop rests."""
    names = [f"NSE:{s.tradingsymbol}" for s in SHARES[:POSITIONS]] + unquoted(WORKING)
    limits = msgspec.structs.replace(PATIENT, protect_fraction=protect)
    with (
        tempfile.TemporaryDirectory(prefix="tradealgo-kill-") as folder,
        EmbeddedServer() as server,
        running_exchange(names, capital=CAPITAL, limits=LIMITS, speed=1.0) as paper,
    ):
        os.environ.setdefault("TRADEALGO_HOME", str(Path(folder) / "home"))
        paper.open_market()
        paper.start()
        async with gate_session(paper, server.url, Path(folder), limits, CAPITAL) as session:
            found: list[Round] = []
            for number in range(clean + faulty):
                took = await kill_round(session, names, number >= clean)
                found.append(took)
                if log:
                    with log.open("a") as file:
                        file.write(json.dumps(took) + "\n")
                kind = "with faults" if took.faults else "clean"
                print(f"round {number + 1} ({kind}): {took.seconds:.3f} s, at least {took.least:.3f}", file=sys.stderr)
            return found


def summed(found: list[Round]) -> dict[str, Any]:
    """The figures of all rounds, in seconds."""
    clean, hindered = [r for r in found if not r.faults], [r for r in found if r.faults]
    return {
        "runs": len(clean),
        **percentiles("p{}_s", [r.seconds for r in clean]),
        **percentiles("least_p{}_s", [r.least for r in clean]),
        "runs_faults": len(hindered),
        **percentiles("p{}_faults_s", [r.seconds for r in hindered]),
        "max_calls_in_a_second": max(r.most for r in found),
    }


def percentiles(name: str, values: list[float]) -> dict[str, float]:
    """The middle and the slowest, by name; nothing of nothing."""
    return {name.format(of): round(float(np.percentile(values, of)), 3) for of in (50, 99) if values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--quick", action="store_true", help="four rounds and one with faults")
    parser.add_argument("--rounds", type=int, default=40, help="without faults")
    parser.add_argument("--fault-rounds", type=int, default=20)
    parser.add_argument("--protect", type=float, default=0.0, metavar="FRACTION", help="stops rest at the exchange")
    parser.add_argument("--log", type=Path, help="add the rounds to this file and tell of all in it")
    arguments = parser.parse_args()
    counts = (4, 1) if arguments.quick else (arguments.rounds, arguments.fault_rounds)
    found = asyncio.run(rounds(*counts, arguments.protect, arguments.log))
    if arguments.log:
        found = [Round(*json.loads(line)) for line in arguments.log.read_text().splitlines()]
    told(summed(found), arguments.json)


if __name__ == "__main__":
    main()
