"""Chaos: whole paper sessions, their processes killed -9 at random moments, the broker misbehaving, ended by a kill.

Every run launches a session of real processes, lets it trade while modules (the bus and the exchange too) are killed and
the exchange's faults are armed by a seed, then presses the kill and compares the exchange's books with the journal.

`lost`: requests without a verdict, and orders that one side has and the other doesn't, or has otherwise.
`doubled`: tags with more than one broker order. `unflat_after_kill`: positions left, or a kill that didn't end LOCKED.
`max_calls_in_a_second`: by the second in which a call left. `recover_…_s`: from kill -9 to every module's ready beat.
`failed`: runs that didn't come to their end. What a bad run was about is printed, and its home stays, with journal, record
and logs. The exchange's books are read first and the journal last: what one knows the other must have known before.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests

from tradealgo.bus.keys import Stream
from tradealgo.config import BrokerSession, Market
from tradealgo.domain.orders import OrderState
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Module
from tradealgo.gatekeeper.journal import Row, open_readonly, read, verify
from tradealgo.gatekeeper.messages import AnswerRecord, CallRecord, Kind, Outcome

SHARES = ("NSE:INFY", "NSE:RELIANCE", "NSE:TCS", "NSE:HDFCBANK", "NSE:ICICIBANK")
VICTIMS = (
    Module.GATEKEEPER, Module.GATEKEEPER, Module.GATEKEEPER, Module.CONSUMER, Module.PRODUCER, Module.EXCHANGE,
    Module.BUS, Module.RECORDER,
)  # fmt: skip
FAULTS: tuple[dict[str, Any], ...] = (
    {"name": "timeout_after_accept", "seconds": 5.0},
    {"name": "timeout_before", "path": "/orders", "seconds": 5.0},
    {"name": "timeout_400"},
    {"name": "drop_after_accept"},
    {"name": "drop_request", "path": "/orders"},
    {"name": "http_502_html", "path": "/orders"},
    {"name": "http_429", "path": "/orders", "method": "POST"},
    {"name": "reject"},
    {"name": "fill_after_cancel"},
    {"name": "slow", "seconds": 0.5, "count": 5},
    {"name": "duplicate_update", "count": 5},
    {"name": "missing_update", "count": 5},
    {"name": "reorder_updates", "count": 5},
    {"name": "drop_socket"},
)


class Run:
    """One session from launch to LOCKED."""

    def __init__(self, seed: int, seconds: float) -> None:
        from tradealgo.live.launch import launch
        from tradealgo.strategies import EmaCross

        self.random = random.Random(seed)
        self.seconds = seconds
        self.session = launch(
            EmaCross(fast=2, slow=4), SHARES, sizing=Sizing(fraction=0.1),
            market=Market(day="2026-11-20", seed=seed, speed=60.0),
        )  # fmt: skip
        self.url = self.session.manifest.rest_url
        self.recoveries: list[tuple[str, float]] = []  # whom, and seconds

    def play(self) -> None:
        """Trade, with a killing or a fault every second or so."""
        self.session.wait(timeout_s=90)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(self.random.uniform(0.3, 1.5))
            if self.random.random() < 0.35:
                self.kill_one(self.random.choice(VICTIMS))
            else:
                with contextlib.suppress(requests.RequestException):  # the exchange may be down itself
                    requests.post(f"{self.url}/_paper/faults", json=self.random.choice(FAULTS), timeout=5)

    def kill_one(self, module: Module) -> None:
        """kill -9, and the time until everyone says ready again."""
        from tradealgo.live import supervisor

        pid = supervisor.states(self.session.folder)[module].pid
        if not pid:
            return
        began, wall = time.monotonic(), time.time_ns()
        os.kill(pid, signal.SIGKILL)
        while time.monotonic() - began < 60:
            if self._recovered(module, pid, wall):
                break
            time.sleep(0.02)
        self.recoveries.append((module.value, round(time.monotonic() - began, 3)))

    def _recovered(self, module: Module, pid: int, wall: int) -> bool:
        self.session.refresh()
        beats = self.session._view.beats
        if module in beats and module not in (Module.BUS, Module.EXCHANGE) and beats[module].pid == pid:
            return False
        fresh = all(b.ts > wall for m, b in beats.items() if m in (Module.GATEKEEPER, Module.CONSUMER, Module.PRODUCER))
        return fresh and not self.session.waiting_for

    def finish(self) -> dict[str, Any]:
        """Press the kill, wait for LOCKED, compare."""
        with contextlib.suppress(requests.RequestException):
            requests.delete(f"{self.url}/_paper/faults", timeout=5)
        began = time.monotonic()
        self.session.kill("chaos", source="cli")
        locked = True
        try:
            self.session.wait(state="LOCKED", timeout_s=90)
        except TimeoutError:
            locked = False
        took = time.monotonic() - began
        figures = self._compare() | {"kill_s": round(took, 3), "recoveries": self.recoveries}
        if not locked:
            figures["unflat"] += 1
            figures["why"].append("the kill didn't end LOCKED")
        return figures

    def _compare(self) -> dict[str, Any]:
        ledger = requests.get(f"{self.url}/_paper/ledger", timeout=10).json()["data"]
        theirs = self._broker_orders()
        asked = {e.message.request_id for e in self.session._connected().range(Stream.REQUESTS)}
        rows = self._journal_with(asked)
        lost = list(missing(asked, theirs, rows))
        doubled = [tag for tag, count in collections.Counter(o["tag"] for o in theirs).items() if count > 1]
        held = {p["tradingsymbol"]: p["quantity"] for p in ledger["positions"] if p["quantity"]}
        return {
            "lost": len(lost),
            "doubled": len(doubled),
            "unflat": len(held),
            "max_calls": max(calls_by_second(rows).values(), default=0),
            "orders": len(theirs),
            "requests": len(asked),
            "why": lost + [f"tag {tag} doubled" for tag in doubled] + [f"{held} held"] * bool(held),
        }

    def _journal_with(self, asked: set[str]) -> list[Row]:
        """The journal, once it holds a verdict on all that was asked: the Consumer goes on asking after the kill."""
        journal = self.session.folder.journal
        deadline = time.monotonic() + 10
        while True:
            with contextlib.closing(open_readonly(journal)) as db:
                rows = list(read(db))
            if asked <= {r.message.request_id for r in rows if r.kind is Kind.VERDICT} or time.monotonic() > deadline:
                verify(journal)
                return rows
            time.sleep(0.1)

    def _broker_orders(self) -> list[dict[str, Any]]:
        login = BrokerSession.load(self.session.manifest.account)
        assert login is not None
        answer = requests.get(f"{self.url}/orders", headers={"Authorization": login.authorization}, timeout=10)
        return answer.json()["data"]


def missing(asked: set[str], theirs: list[dict[str, Any]], rows: list[Row]) -> Iterator[str]:
    """What one side has and the other doesn't, or has otherwise, in words."""
    ours = {r.message.tag: r.message for r in rows if r.kind is Kind.ORDER}
    verdicts = {r.message.request_id for r in rows if r.kind is Kind.VERDICT}
    by_tag = {o["tag"]: o for o in theirs}
    yield from (f"request {each} has no verdict" for each in sorted(asked - verdicts))
    yield from (f"the journal doesn't know tag {tag}" for tag in sorted(set(by_tag) - set(ours)))
    for tag, order in ours.items():
        row = by_tag.get(tag)
        filled = row["filled_quantity"] if row else 0
        if filled != order.filled_quantity:
            yield f"tag {tag} filled {filled} at the exchange, {order.filled_quantity} in the journal"
        elif row is None and order.state not in (OrderState.DENIED, OrderState.EXPIRED):
            yield f"tag {tag} is {order.state} in the journal, the exchange doesn't know it"


def calls_by_second(rows: list[Row]) -> collections.Counter[int]:
    """Order calls by the calendar second in which they left."""
    answers = [r.message for r in rows if isinstance(r.message, AnswerRecord)]
    unsent = {a.call_id for a in answers if a.outcome is Outcome.NOT_SENT}
    sent = [r.message.ts for r in rows if isinstance(r.message, CallRecord) and r.message.call_id not in unsent]
    return collections.Counter(ts // 10**9 for ts in sent)


def one(seed: int, seconds: float) -> dict[str, Any]:
    """A run in a home of its own, which stays if the run was bad."""
    home = Path(tempfile.mkdtemp(prefix=f"tradealgo-chaos-{seed}-"))
    os.environ["TRADEALGO_HOME"] = str(home)
    run = None
    try:
        run = Run(seed, seconds)
        run.play()
        figures = run.finish()
    except Exception as error:
        traceback.print_exc()
        figures = {"failed": 1, "why": [f"{type(error).__name__}: {error}"]}
    finally:
        if run is not None:
            run.session.stop()
    if figures["why"]:
        print(f"BROKEN by seed {seed}: {'; '.join(figures['why'])}; see {home}", file=sys.stderr)
    else:
        shutil.rmtree(home, ignore_errors=True)
    print(f"run {seed}: {figures}", file=sys.stderr, flush=True)
    return figures


def measure(runs: int, seconds: float, seed: int, jobs: int = 1) -> dict[str, Any]:
    """All runs, `jobs` at a time."""
    seeds = [(number, seconds) for number in range(seed, seed + runs)]
    if jobs == 1:
        return summed([one(*each) for each in seeds])
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=1) as pool:
        return summed(pool.starmap(one, seeds, chunksize=1))


def summed(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of all runs."""

    def total(key: str) -> int:
        return sum(f.get(key, 0) for f in found)

    recoveries = [seconds for f in found for _, seconds in f.get("recoveries", ())]
    kills = [f["kill_s"] for f in found if "kill_s" in f]
    return {
        "runs": len(found),
        "failed": total("failed"),
        "orders": total("orders"),
        "kills_9": len(recoveries),
        "lost": total("lost"),
        "doubled": total("doubled"),
        "unflat_after_kill": total("unflat"),
        "max_calls_in_a_second": max((f.get("max_calls", 0) for f in found), default=0),
        "recover_p50_s": percentile(recoveries, 50),
        "recover_p99_s": percentile(recoveries, 99),
        "kill_p50_s": percentile(kills, 50),
        "kill_p99_s": percentile(kills, 99),
    }


def percentile(values: list[float], of: int) -> float:
    """Zero where there is nothing."""
    return round(float(np.percentile(values, of)), 3) if values else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--quick", action="store_true", help="two runs")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0, help="of chaos in each run")
    parser.add_argument("--seed", type=int, default=1, help="of the first run: a run that broke is repeated by its own")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at a time; more of them slow each other's recoveries down"
    )
    arguments = parser.parse_args()
    figures = measure(2 if arguments.quick else arguments.runs, arguments.seconds, arguments.seed, arguments.jobs)
    print(json.dumps(figures) if arguments.json else "\n".join(f"{k:>24}  {v}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
