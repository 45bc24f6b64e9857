"""A scrape of the metrics while the streams go on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tradealgo.config import Manifest, Mode
from tradealgo.domain.orders import OrderState
from tradealgo.domain.sizing import Sizing
from tradealgo.monitor.metrics import Metrics


class Meanwhile:
    """An order, of which another one comes as soon as it is looked at: as when the Monitor's loop runs in between."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders

    @property
    def state(self) -> OrderState:
        self._orders[f"t{len(self._orders)}"] = SimpleNamespace(state=OrderState.FILLED)
        return OrderState.FILLED


def test_a_scrape_bears_an_order_that_comes_meanwhile() -> None:
    """Prometheus is answered by a thread of its own."""
    metrics = Metrics(
        Manifest(
            session_id="s", mode=Mode.PAPER, account="A", strategy="m:C", parameters={}, instruments=(), capital=1.0,
            sizing=Sizing(units=1),
        )
    )  # fmt: skip
    metrics._orders |= {f"t{n}": Meanwhile(metrics._orders) for n in range(3)}  # type: ignore[misc]
    counted = {
        s.labels["state"]: s.value for f in metrics.families(1) if f.name == "tradealgo_orders" for s in f.samples
    }
    assert counted == {"FILLED": 3.0}
    assert len(metrics._orders) == 6
