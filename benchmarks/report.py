"""Puts figures into docs/performance.md and draws its picture: `make bench | tee bench.log; python -m benchmarks.report bench.log`.

A row of the page's tables that names a figure as `benchmark.key` gets its last cell from the log; rows of benchmarks that
the log has not stay as they are. The picture is of `ticks.us_per_tick_by_instruments`.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, PICTURE = DOCS / "performance.md", DOCS / "images" / "cost_by_instruments.svg"
COSTS = "ticks.us_per_tick_by_instruments"

WIDTH, HEIGHT, LEFT, BOTTOM, EDGE = 640, 360, 80, 56, 24


def figures(log: str) -> dict[str, Any]:
    """Every figure of a `make bench` log as `benchmark.key`; nested ones as `benchmark.key.name`."""
    found: dict[str, Any] = {}
    name = ""
    for line in log.splitlines():
        if heading := re.match(r"==+ (\w+)", line):
            name = heading[1]
        at = line.find('{"')
        if name and at >= 0 and line.endswith("}") and '"timestamp"' not in line:
            for key, value in json.loads(line[at:]).items():
                found[f"{name}.{key}"] = value
                if isinstance(value, dict):
                    found |= {f"{name}.{key}.{inner}": each for inner, each in value.items()}
    return found


def text_of(value: Any) -> str:
    """A figure for people: three or four digits that count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {True: "yes", False: "no"}.get(value, str(value))
    if value == 0 or abs(value) >= 1_000:
        return f"{value:,.0f}"
    text = f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def refreshed(page: str, found: dict[str, Any]) -> str:
    """The page with the figures in their cells."""

    def row(match: re.Match[str]) -> str:
        value = found.get(match["name"])
        return match[0] if value is None else f"{match['head']}| {text_of(value)} |"

    return re.sub(r"(?P<head>^\|.*`(?P<name>\w+\.[\w.]+)`.*)\|[^|\n]*\|$", row, page, flags=re.MULTILINE)


def picture(costs: dict[str, float]) -> str:
    """An SVG: microseconds for one tick of each instrument, against their number, both logarithmic; and the straight line."""
    points = sorted((int(n), int(n) * us) for n, us in costs.items())
    low, high = 10.0 ** math.floor(math.log10(min(c for _, c in points))), 10.0 ** math.ceil(math.log10(points[-1][1]))

    def x(n: float) -> float:
        return LEFT + (WIDTH - LEFT - EDGE) * (math.log10(n) - 1) / 3

    def y(us: float) -> float:
        return EDGE + (HEIGHT - EDGE - BOTTOM) * (math.log10(high) - math.log10(us)) / (
            math.log10(high) - math.log10(low)
        )

    parts = []
    for n in (10, 100, 1_000, 10_000):
        parts.append(f'<path class="grid" d="M{x(n):.1f} {EDGE}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x(n):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{n:,}</text>')
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        parts.append(f'<path class="grid" d="M{LEFT} {y(10.0**power):.1f}H{WIDTH - EDGE}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(10.0**power) + 4:.1f}" text-anchor="end">{10.0**power:,g} µs</text>')
    per_tick = points[-1][1] / points[-1][0]
    straight = max(10.0, low / per_tick)
    parts.append(
        f'<path class="straight" d="M{x(straight):.1f} {y(straight * per_tick):.1f}L{x(9_000):.1f} {y(9_000 * per_tick):.1f}"/>'
    )
    parts.append(f'<path class="measured" d="M{"L".join(f"{x(n):.1f} {y(us):.1f}" for n, us in points)}"/>')
    parts += [
        f'<circle cx="{x(n):.1f}" cy="{y(us):.1f}" r="4"><title>{n:,}: {us:,.1f} µs</title></circle>'
        for n, us in points
    ]
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 12}" text-anchor="middle">instruments</text>')
    style = (
        "text{font:13px sans-serif;fill:#555}.grid{stroke:#ddd}path{fill:none}.straight{stroke:#999;stroke-dasharray:5 4}"
        ".measured{stroke:#1f77b4;stroke-width:2}circle{fill:#1f77b4}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>One tick of each '
        f"instrument, decoded and folded</title><style>{style}</style>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def main() -> None:
    """Refresh the page and the picture from a log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="what `make bench` printed")
    found = figures(parser.parse_args().log.read_text())
    PAGE.write_text(refreshed(PAGE.read_text(), found))
    if COSTS in found:
        PICTURE.write_text(picture(found[COSTS]))
    print(f"{len(found)} figures read")


if __name__ == "__main__":
    main()
