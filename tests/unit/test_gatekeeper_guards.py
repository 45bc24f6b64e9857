"""Guards of protective orders, which random lives meet too seldom: each mutant is noticed by the plain tests of its part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_gatekeeper_protection
from mutation import cases, is_noticed

from tradealgo.gatekeeper.protection import Protection

MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], Any]] = {
    "a protective order leaves whatever has changed": lambda mp: mp.setattr(
        Protection, "refuses", lambda self, order: ""
    ),
    "a protective order stays when the position shrinks": lambda mp: mp.setattr(
        Protection, "_fits", staticmethod(lambda working, shape, quantity: True)
    ),
}
TESTS = cases(test_gatekeeper_protection)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the same tests pass."""
    assert not is_noticed(TESTS)
    MUTANTS[name](monkeypatch)
    assert is_noticed(TESTS), name
