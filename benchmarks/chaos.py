"""Chaos: whole paper sessions, their processes killed -9 at random moments, the broker misbehaving, ended by a kill.

Every run launches a session of real processes, lets it trade while modules (the bus and the exchange too) are killed and
the exchange's faults are armed by a seed, then presses the kill and compares the exchange's books with the journal.

`lost`: requests without a verdict, and orders that one side has and the other doesn't, or has otherwise.
`doubled`: tags with more than one broker order. `unflat_after_kill`: positions left, or a kill that didn't end LOCKED.
`max_calls_in_a_second`: by the second in which a call left. `recover_…_s`: from kill -9 to every module's ready beat.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
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
        self.recoveries: list[float] = []

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
                self.recoveries.append(time.monotonic() - began)
                return
            time.sleep(0.02)
        self.recoveries.append(60.0)

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
        figures = self._compare() | {"kill_s": took}
        figures["unflat"] += not locked
        self.session.stop()
        return figures

    def _compare(self) -> dict[str, Any]:
        ledger = requests.get(f"{self.url}/_paper/ledger", timeout=10).json()["data"]
        theirs = self._broker_orders()
        asked = {e.message.request_id for e in self.session._connected().range(Stream.REQUESTS)}
        rows = self._journal_with(asked)
        ours = {r.message.tag: r.message for r in rows if r.kind is Kind.ORDER}
        verdicts = {r.message.request_id for r in rows if r.kind is Kind.VERDICT}
        tags = collections.Counter(o["tag"] for o in theirs)
        by_tag = {o["tag"]: o for o in theirs}
        lost = len(asked - verdicts) + len(set(tags) - set(ours))
        for tag, order in ours.items():
            filled = by_tag[tag]["filled_quantity"] if tag in by_tag else 0
            never = (OrderState.DENIED, OrderState.EXPIRED)
            lost += filled != order.filled_quantity or (tag not in by_tag and order.state not in never)
        unsent = {
            r.message.call_id
            for r in rows
            if isinstance(r.message, AnswerRecord) and r.message.outcome is Outcome.NOT_SENT
        }
        sent = [r.message.ts for r in rows if isinstance(r.message, CallRecord) and r.message.call_id not in unsent]
        seconds = collections.Counter(ts // 10**9 for ts in sent)
        return {
            "lost": lost,
            "doubled": sum(count > 1 for count in tags.values()),
            "unflat": sum(1 for p in ledger["positions"] if p["quantity"]),
            "max_calls": max(seconds.values(), default=0),
            "orders": len(theirs),
            "requests": len(asked),
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


def measure(runs: int, seconds: float, seed: int) -> dict[str, Any]:
    """All runs, each in a home of its own."""
    found, recoveries = [], []
    for number in range(seed, seed + runs):
        with tempfile.TemporaryDirectory(prefix="tradealgo-chaos-") as folder:
            os.environ["TRADEALGO_HOME"] = str(Path(folder) / "home")
            run = Run(number, seconds)
            try:
                run.play()
                figures = run.finish()
            except BaseException:
                run.session.stop()
                print(f"\nseed {number} broke", file=sys.stderr)
                raise
            found.append(figures)
            recoveries += run.recoveries
        bad = figures["lost"] or figures["doubled"] or figures["unflat"]
        note = f"  BROKEN by seed {number}" if bad else ""
        print(f"run {number}: {figures} recoveries {np.round(run.recoveries, 2).tolist()}{note}", file=sys.stderr)
    kills = [f["kill_s"] for f in found]
    return {
        "runs": runs,
        "orders": sum(f["orders"] for f in found),
        "kills_9": len(recoveries),
        "lost": sum(f["lost"] for f in found),
        "doubled": sum(f["doubled"] for f in found),
        "unflat_after_kill": sum(f["unflat"] for f in found),
        "max_calls_in_a_second": max(f["max_calls"] for f in found),
        "recover_p50_s": round(float(np.percentile(recoveries, 50)), 3) if recoveries else 0.0,
        "recover_p99_s": round(float(np.percentile(recoveries, 99)), 3) if recoveries else 0.0,
        "kill_p50_s": round(float(np.percentile(kills, 50)), 3),
        "kill_p99_s": round(float(np.percentile(kills, 99)), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--quick", action="store_true", help="two runs")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0, help="of chaos in each run")
    parser.add_argument("--seed", type=int, default=1, help="of the first run: a run that broke is repeated by its own")
    arguments = parser.parse_args()
    figures = measure(2 if arguments.quick else arguments.runs, arguments.seconds, arguments.seed)
    print(json.dumps(figures) if arguments.json else "\n".join(f"{k:>24}  {v}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
