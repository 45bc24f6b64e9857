"""A session's figures for Prometheus: `take` what the streams say, `families` when a scrape asks. Pure.

Durations are in seconds, money in rupees, and every sample carries the label `session`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from tradealgo.bus.keys import Stream
from tradealgo.config import Manifest
from tradealgo.domain.latency import Latencies
from tradealgo.domain.orders import Order, Verdict
from tradealgo.domain.state import Alert, Beat, KillState, Module, MtmPoint, SessionState, TradingState
from tradealgo.process import LAG

#: Upper bounds of the hops' buckets, in microseconds.
BOUNDS_US = (
    50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 8_000, 12_000, 20_000, 50_000, 100_000, 250_000,
    1_000_000, 5_000_000,
)  # fmt: skip
QUANTILES = (0.5, 0.9, 0.99, 0.999)
MONEY = ("mtm", "realised", "unrealised", "charges", "drawdown", "limit")
#: What is read for them, from its beginning.
METRIC_STREAMS = (Stream.HEALTH, Stream.ORDERS, Stream.VERDICTS, Stream.MTM, Stream.STATE, Stream.ALERTS)


class Metrics:
    """What has been said so far. `entries` is each stream's (entries kept, entries ever added), None for unknown."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.entries: dict[Stream, tuple[int, int | None]] = {}
        self.latencies = Latencies()
        self._beats: dict[Module, Beat] = {}
        self._orders: dict[str, Order] = {}
        self._verdicts: Counter[str] = Counter()
        self._alerts: dict[tuple[Module, str], Alert] = {}
        self._mtm: MtmPoint | None = None
        self._state: SessionState | None = None
        self._take: dict[Stream, Callable[[Any], None]] = {
            Stream.HEALTH: self._take_beat,
            Stream.ORDERS: self._take_order,
            Stream.VERDICTS: self._take_verdict,
            Stream.MTM: lambda point: setattr(self, "_mtm", point),
            Stream.STATE: lambda state: setattr(self, "_state", state),
            Stream.ALERTS: self._take_alert,
        }

    def take(self, stream: Stream, message: Any) -> None:
        """Hear a message of one of METRIC_STREAMS."""
        self._take[stream](message)

    def _take_beat(self, beat: Beat) -> None:
        self._beats[beat.module] = beat

    def _take_order(self, order: Order) -> None:
        self.latencies.take_order(order, self._orders.get(order.tag))
        self._orders[order.tag] = order

    def _take_verdict(self, verdict: Verdict) -> None:
        self._verdicts[verdict.code] += 1

    def _take_alert(self, alert: Alert) -> None:
        self._alerts.pop((alert.module, alert.code), None)
        if not alert.resolved:
            self._alerts[alert.module, alert.code] = alert

    # ------------------------------------------------------------------ what a scrape gets

    def families(self, now: int) -> Iterator[Metric]:
        """All of it as of wall clock `now` (UTC ns)."""
        manifest = self.manifest
        labels = {"mode": manifest.mode.value, "account": manifest.account, "strategy": manifest.strategy}
        yield self._gauge("info", "What the session is.", labels, [((*labels.values(),), 1.0)])
        yield from self._modules(now)
        yield from self._streams()
        yield from self._trading()
        yield from self._hops()

    def _gauge(
        self, name: str, text: str, labels: Iterable[str], rows: Iterable[tuple[tuple[str, ...], float]]
    ) -> Metric:
        family = GaugeMetricFamily(f"tradealgo_{name}", text, labels=["session", *labels])
        for values, value in rows:
            family.add_metric([self.manifest.session_id, *values], value)
        return family

    def _counter(self, name: str, text: str, label: str, rows: Iterable[tuple[str, float]]) -> Metric:
        family = CounterMetricFamily(f"tradealgo_{name}", text, labels=["session", label])
        for value, count in rows:
            family.add_metric([self.manifest.session_id, value], count)
        return family

    def _modules(self, now: int) -> Iterator[Metric]:
        beats = list(self._beats.values())
        ages = [((b.module.value,), (now - b.ts) / 1e9) for b in beats]
        yield self._gauge("beat_age_seconds", "Since the module's last heartbeat.", ["module"], ages)
        states = [((b.module.value, b.state), 1.0) for b in beats]
        yield self._gauge("module_state", "1 for the state that the module is in.", ["module", "state"], states)
        figures = [(b.module.value, n, v) for b in beats for n, v in b.figures.items() if isinstance(v, int | float)]
        lags = [((m, n.removeprefix(LAG)), v / 1e3) for m, n, v in figures if n.startswith(LAG)]
        yield self._gauge("reader_lag_seconds", "How long the oldest unread entry waits.", ["module", "stream"], lags)
        others = [((m, n), float(v)) for m, n, v in figures if not n.startswith(LAG)]
        yield self._gauge("figure", "The module's own figures: rates, queues, counts.", ["module", "name"], others)

    def _streams(self) -> Iterator[Metric]:
        kept = [((stream.value,), float(n)) for stream, (n, _) in self.entries.items()]
        yield self._gauge("stream_entries", "Entries kept on the bus.", ["stream"], kept)
        added = [(stream.value, float(n)) for stream, (_, n) in self.entries.items() if n is not None]
        yield self._counter("stream_added", "Entries ever added (Redis 7 and Valkey).", "stream", added)

    def _trading(self) -> Iterator[Metric]:
        state, mtm = self._state, self._mtm
        trading = [((s.value,), float(state is not None and s is state.trading)) for s in TradingState]
        yield self._gauge("trading_state", "1 for the state that trading is in.", ["state"], trading)
        kill = [((s.value,), float(state is not None and s is state.kill)) for s in KillState]
        yield self._gauge("kill_state", "1 for the state that the kill switch is in.", ["state"], kill)
        money = [((name,), getattr(mtm, name) / 100) for name in MONEY] if mtm else []
        yield self._gauge("rupees", "The books; `limit` is the MTM at which the kill trips.", ["figure"], money)
        orders = Counter(o.state.value for o in list(self._orders.values()))  # a scrape is a thread of its own
        yield self._gauge("orders", "Orders by state.", ["state"], [((s,), float(n)) for s, n in orders.items()])
        yield self._counter("verdicts", "The Gatekeeper's answers.", "code", list(self._verdicts.items()))
        levels = Counter(a.level.value for a in list(self._alerts.values()))
        yield self._gauge(
            "alerts_open", "Alerts not resolved.", ["level"], [((s,), float(n)) for s, n in levels.items()]
        )

    def _hops(self) -> Iterator[Metric]:
        buckets = HistogramMetricFamily(
            "tradealgo_hop_seconds", "Each hop from tick to order.", labels=["session", "hop"]
        )
        ranks = []
        for name, hop in self.latencies.hops.items():
            counts = hop.at_most([us * 1_000 for us in BOUNDS_US])
            rows = [(str(us / 1e6), float(n)) for us, n in zip(BOUNDS_US, counts, strict=True)]
            labels = [self.manifest.session_id, name]
            buckets.add_metric(labels, [*rows, ("+Inf", float(hop.count))], sum_value=hop.total / 1e9)
            ranks += [((name, str(q)), hop.percentile(q * 100) / 1e9) for q in QUANTILES if hop.count]
        yield buckets
        yield self._gauge("hop_quantile_seconds", "Exact to 0.8 %, of the whole session.", ["hop", "quantile"], ranks)


class SessionCollector:
    """What prometheus_client's registry asks at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """All families, as of now."""
        return self._metrics.families(time.time_ns())
