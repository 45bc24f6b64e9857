"""From an order's stamps to how long each hop took."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tradealgo.domain.latency import STAGES, WHOLE
from tradealgo.domain.orders import Order

if TYPE_CHECKING:
    import pandas as pd


def latency_frame(orders: Iterable[Order]) -> pd.DataFrame:
    """Milliseconds by hop, indexed by its name; the last row is the whole way. Orders without a chain (kill exits) are left out."""
    import pandas as pd

    chained = [o for o in orders if o.ts_init and o.ts_sent]
    rows = {}
    for name, begin, end in (*STAGES, WHOLE):
        took = [(getattr(o, end) - getattr(o, begin)) / 1e6 for o in chained if getattr(o, begin) and getattr(o, end)]
        if took:
            rows[name] = [len(took), *(percentile(took, rank) for rank in (50, 90, 99)), max(took)]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["count", "p50_ms", "p90_ms", "p99_ms", "max_ms"])
    return table.rename_axis("hop").round(3)


def percentile(values: list[float], rank: float) -> float:
    """The value that `rank` percent of `values` are at or below (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * rank / 100) - 1)]
