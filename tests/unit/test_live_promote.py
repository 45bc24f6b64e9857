"""A promotion's identity: it changes with all that a strategy is made of, and with nothing else."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tradealgo.live.promote import identity

MODULES = {
    "__init__.py": "",
    "cross.py": "from housetest.bases import Base\nfrom . import levels\n\n\nclass Cross(Base):\n    pass\n",
    "bases.py": "from tradealgo.strategies import Strategy\n\n\nclass Base(Strategy):\n    pass\n",
    "levels/__init__.py": "from .deep import LEVEL\n",
    "levels/deep.py": "LEVEL = 1\n",
    "other.py": "X = 1\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trader's own package, which can be imported."""
    for name, text in MODULES.items():
        file = tmp_path / "housetest" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.partition(".")[0] == "housetest"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path / "housetest"


def now() -> str:
    return identity("housetest.cross:Cross", MODULES["cross.py"], {"fast": 3}, 60)


@pytest.mark.parametrize("name", ["bases.py", "levels/__init__.py", "levels/deep.py"])
def test_a_base_or_a_helper_that_changes_makes_another_strategy(package: Path, name: str) -> None:
    """Wherever in the package it is, and however it is imported."""
    before = now()
    (package / name).write_text(MODULES[name] + "# another\n")
    assert now() != before


def test_a_module_that_it_does_not_use_may_change(package: Path) -> None:
    """A promotion isn't lost to what has no say in the strategy."""
    before = now()
    (package / "other.py").write_text("X = 2\n")
    assert now() == before


def test_each_part_counts(package: Path) -> None:
    """Its own source, its class, its parameters, its interval."""
    given = ("housetest.cross:Cross", MODULES["cross.py"], {"fast": 3}, 60)
    others = (("housetest.cross:Other",), ("pass",), ({"fast": 4},), (300,))
    changed = [identity(*given[:i], *other, *given[i + 1 :]) for i, other in enumerate(others)]
    assert len({identity(*given), *changed}) == 5
