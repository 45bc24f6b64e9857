"""The tests notice every mutant of the checks and of the tables: a guard that can be taken out unseen is no guard.

Of the checks each comparison is turned, each condition dropped, each denial left out; of the tables each row is taken
out and led to every other state; of the rate rule each clause is loosened. The random lives' own mutants, of what has
no table, are in `test_gatekeeper_mutants.py`.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
import test_gatekeeper_checks
import test_gatekeeper_checks_edges
import test_gatekeeper_pricing
import test_gatekeeper_rate
import test_gatekeeper_tables
from mutation import cases, is_noticed, mutants

from tradealgo.domain import order_machine
from tradealgo.domain.orders import Intent
from tradealgo.gatekeeper import breaker, checks, kill, pricing, rate

NAMES = sorted(m.name for m in pkgutil.iter_modules(checks.__path__))
CHECK_TESTS = cases(test_gatekeeper_checks) + cases(test_gatekeeper_checks_edges)
TABLE_TESTS = cases(test_gatekeeper_tables)
RATE_TESTS = cases(test_gatekeeper_rate) + [
    lambda s=seed: any_life(seed=s, offset_ms=s * 397 % 4_000 - 2_000, kinds=s % 3) for seed in range(30)
]
any_life = test_gatekeeper_rate.test_never_more_than_ten_land_in_a_second.hypothesis.inner_test
#: Mutants that mean the same as the original, and why.
EQUIVALENT = {
    "freeze: not largest or quantity <= largest: without part 2": "one slice either way",
    "freeze: quantity <= largest: turned": "one full slice and no rest is one slice",
    "hours: held * request.side.sign < 0: turned": "with nothing held no target is nearer to flat",
    "position: not exits and held < 0 and (sign * request.position_after <= 0): without part 1": "an exit stays one",
    "position: not exits and held < 0 and (sign * request.position_after <= 0): without part 2": "nothing is left to do",
    "position: held < 0: turned": "nothing is left to do",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_mutant_of_a_check_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not wants a test, or is listed as equivalent with its reason."""
    module = importlib.import_module(f"tradealgo.gatekeeper.checks.{name}")
    original, survivors = checks.CHECKS, []
    without = tuple(c for c in original if c is not module.check)
    monkeypatch.setattr(checks, "CHECKS", without)
    assert is_noticed(CHECK_TESTS), "the check as a whole"
    for mutant, namespace in mutants(module):
        changed = tuple(namespace["check"] if c is module.check else c for c in original)
        monkeypatch.setattr(checks, "CHECKS", changed)
        if not is_noticed(CHECK_TESTS):
            survivors.append(mutant)
    assert [s for s in survivors if s not in EQUIVALENT] == []


@pytest.mark.parametrize("table", [order_machine.TABLE, kill.TABLE, breaker.TABLE], ids=["orders", "kill", "breaker"])
def test_every_row_of_a_table_is_noticed(table: dict[Any, Any]) -> None:
    """Without it, or leading anywhere else."""
    unseen = []
    for pair, after in list(table.items()):
        for other in (None, *type(after)):
            if other is after:
                continue
            if other is None:
                del table[pair]
            else:
                table[pair] = other
            if not is_noticed(TABLE_TESTS):
                unseen.append(f"{pair[0]} {pair[1]}: {other}")
            table[pair] = after
    assert not is_noticed(TABLE_TESTS)
    assert unseen == []


@pytest.mark.parametrize("name", ["OPTION_BANDS", "SHARE_BANDS"])
def test_every_row_of_the_price_bands_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another fraction, or another premium from which it counts."""
    rows = getattr(pricing, name)
    tests = cases(test_gatekeeper_pricing)
    for number, (below, fraction) in enumerate(rows):
        for row in ((below, fraction + 0.01), *([(below + 20.0, fraction)] if number < len(rows) - 1 else [])):
            monkeypatch.setattr(pricing, name, (*rows[:number], row, *rows[number + 1 :]))
            assert is_noticed(tests), row
    monkeypatch.setattr(pricing, name, rows)
    assert not is_noticed(tests)


def denying(change: Callable[[rate.RateBudget, Intent, int, str], str]) -> Callable[[pytest.MonkeyPatch], None]:
    """`RateBudget.denies` whose answer is changed."""
    original = rate.RateBudget.denies

    def denies(self: rate.RateBudget, intent: Intent, now: int) -> str:
        return change(self, intent, now, original(self, intent, now))

    return lambda mp: mp.setattr(rate.RateBudget, "denies", denies)


def forgiving(word: str) -> Callable[[pytest.MonkeyPatch], None]:
    """One reason to wait is no reason."""
    return denying(lambda self, intent, now, why: "" if why == word else why)


RATE_MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], Any]] = {
    **{f"{word} is no reason": forgiving(word) for word in ("SECOND", "MINUTE", "DAY", "COOLING", "SHAPER")},
    "the kill waits for the shaper as entries do": denying(
        lambda self, intent, now, why: why or ("SHAPER" if self._bucket.level(now) < 1 else "")
    ),
    "the kill stops with the day": denying(
        lambda self, intent, now, why: why or ("DAY" if self.day_count(now) >= self.limits.orders_per_day else "")
    ),
    "a call lands when it leaves": lambda mp: mp.setattr(rate, "LANDED_NS", 0),
    "landings are forgotten at once": lambda mp: mp.setattr(rate, "FORGET_NS", 0),
    "a minute is ten seconds": lambda mp: mp.setattr(rate.RateBudget, "minute_count", lambda self, now: 0),
    "a call that never left counts": lambda mp: mp.setattr(rate.RateBudget, "never_sent", lambda self, call_id: None),
    "the clock's bounds are not widened by the Date's slack": lambda mp: mp.setattr(
        rate, "DATE_SLACK_NS", -400_000_000
    ),
    "the offset is taken as exact": lambda mp: mp.setattr(
        rate.ServerClock, "seconds", lambda self, a, b: (a // rate.SECOND_NS, b // rate.SECOND_NS)
    ),
    "an answer does not end the cooling": lambda mp: mp.setattr(rate.RateBudget, "warm", lambda self: None),
    "a 429 is ignored": lambda mp: mp.setattr(rate.RateBudget, "cool", lambda self, now: None),
}


@pytest.mark.parametrize("name", RATE_MUTANTS)
def test_every_mutant_of_the_rate_rule_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the broker's count of landings or by what each kind of call may use."""
    RATE_MUTANTS[name](monkeypatch)
    assert is_noticed(RATE_TESTS), name


def test_the_originals_pass() -> None:
    """What notices everything notices nothing."""
    for tests in (CHECK_TESTS, TABLE_TESTS, RATE_TESTS):
        assert not is_noticed(tests)
    assert len(list(itertools.chain(CHECK_TESTS, TABLE_TESTS, RATE_TESTS))) > 200
