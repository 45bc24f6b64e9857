"""What the benchmarks share: arguments, interleaved medians, and the JSON object that ends their output.

A shared machine slows down and speeds up while one measures; so the things compared take turns, round by round, and
each one's figure is the median of its rounds. Ratios carry over to other machines; absolute figures don't.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def interleaved(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each case returns over `rounds` turns of all cases."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds):
        for name, case in cases.items():
            found[name].append(case())
        print(f"\rround {turn + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
    return {name: statistics.median(values) for name, values in found.items()}


def rate(work: Callable[[], Any], items: int, at_least_s: float) -> Callable[[], float]:
    """A case for `interleaved`: items a second of `work`, which handles `items` in one call, over at least so long."""

    def measured() -> float:
        calls, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < at_least_s:
            work()
            calls += 1
        return calls * items / spent

    return measured


def main(measure: Callable[[bool], dict[str, Any]], description: str | None) -> None:
    """Run a benchmark as a program: `measure(quick)` gives its figures; the last line is one JSON object with `--json`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, for a look")
    arguments = parser.parse_args()
    told(measure(arguments.quick), arguments.json)


def told(figures: dict[str, Any], as_json: bool) -> None:
    """Print a benchmark's figures: one JSON object, or a line each."""
    if as_json:
        print(json.dumps(figures))
    else:
        width = max(map(len, figures))
        print("\n".join(f"{key:>{width}}  {_text(value)}" for key, value in figures.items()))


def _text(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
