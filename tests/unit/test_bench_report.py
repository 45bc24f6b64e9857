"""The page of figures: read from a log, put in their cells, drawn."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.report import figures, picture, refreshed, text_of

ROOT = Path(__file__).resolve().parents[2]
LOG = """== ticks
round 1 of 3\rround 2 of 3\r      {"ratio": 411.5, "costs": {"10": 0.66, "9000": 0.0876}}
== pipeline
{"timestamp": "2026-11-22T10:56:01", "level": "info", "event": "connected"}
{"dropped": 0, "equal": true}
"""


def test_a_log_gives_each_benchmarks_figures() -> None:
    """The JSON line behind each heading, whatever else was printed; nested figures by their names."""
    found = figures(LOG)
    assert found["ticks.ratio"] == 411.5
    assert found["ticks.costs.9000"] == 0.0876
    assert (found["pipeline.dropped"], found["pipeline.equal"]) == (0, True)
    assert "pipeline.timestamp" not in found


def test_cells_are_filled_and_others_left() -> None:
    """A row is found by its key; a row that the log says nothing of keeps its figure."""
    page = "| a | `ticks.ratio` | 100 | |\n| b | `gate.x` | 1 | 7 |\n| c | `ticks.costs.9000` | |\ntext `ticks.ratio`\n"
    assert refreshed(page, figures(LOG)).splitlines() == [
        "| a | `ticks.ratio` | 100 | 412 |",
        "| b | `gate.x` | 1 | 7 |",
        "| c | `ticks.costs.9000` | 0.0876 |",
        "text `ticks.ratio`",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(239.9, "240"), (0, "0"), (12, "12"), (1234567, "1,234,567"), (1234.5, "1,234"), (26.32, "26.3"), (0.0876, "0.0876"), (True, "yes"), ("x", "x")],
)  # fmt: skip
def test_figures_are_short(value: object, text: str) -> None:
    """Three digits that count, thousands apart."""
    assert text_of(value) == text


def test_the_picture_is_an_svg_with_every_point() -> None:
    """Well-formed, one dot a size, inside its frame."""
    drawn = picture({"10": 0.6652, "100": 0.1398, "1000": 0.087, "9000": 0.0876})
    root = ElementTree.fromstring(drawn)
    dots = [e for e in root.iter() if e.tag.endswith("circle")]
    assert len(dots) == 4
    assert all(0 < float(d.attrib["cx"]) < 640 and 0 < float(d.attrib["cy"]) < 360 for d in dots)


def test_the_pages_keys_are_a_benchmarks() -> None:
    """A row of docs/performance.md that no benchmark could fill would stay empty for ever."""
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "performance.md").read_text()
    names = {m[1] for m in re.finditer(r"`(\w+)\.[\w.]+` \|", page)}
    assert names
    assert names <= {p.stem for p in (root / "benchmarks").glob("*.py")}


def benchmarks() -> list[str]:
    """What `make bench` runs."""
    plan = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = re.search(r"for b in ([\w ]+);", plan)
    assert found, plan
    return found[1].split()


@pytest.mark.parametrize("name", benchmarks())
def test_each_benchmark_starts_and_says_what_it_measures(name: str) -> None:
    """Other people's scripts call them: by this name, with --json and --quick."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {"--json", "--quick"} <= set(re.findall(r"--\w+", done.stdout))
