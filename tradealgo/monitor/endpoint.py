"""`/metrics` for Prometheus, where TRADEALGO_METRICS says so: "9464", which is on loopback, or "ADDRESS:9464"."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import redis

from tradealgo.bus.keys import Stream, stream_key
from tradealgo.bus.redis_bus import Bus
from tradealgo.domain.errors import BadConfig, BadFrame
from tradealgo.domain.state import Level
from tradealgo.process import Process

if TYPE_CHECKING:
    from tradealgo.monitor.metrics import Metrics

LOOPBACK = "127.0.0.1"
BLOCK_MS = 250
COUNT_EVERY_S = 1.0
RETRY_S = 1.0


def listening_at(setting: str) -> tuple[str, int] | None:
    """Address and port of TRADEALGO_METRICS; None if it is empty. Raises BadConfig."""
    if not setting.strip():
        return None
    address, _, port = setting.strip().rpartition(":")
    if not port.isdigit() or not 0 <= int(port) < 65_536:
        raise BadConfig(f"TRADEALGO_METRICS is {setting!r}: expected a port, as in 9464, or an address and a port")
    return address.strip("[]") or LOOPBACK, int(port)


async def serve_metrics(process: Process) -> None:
    """Serve until cancelled; returns at once if it isn't wanted, and after an alert if it can't be done."""
    try:
        place = listening_at(os.environ.get("TRADEALGO_METRICS", ""))
        if place is None:
            return
        from prometheus_client import CollectorRegistry, start_http_server

        from tradealgo.monitor.metrics import Metrics, SessionCollector

        metrics, registry = Metrics(process.manifest), CollectorRegistry()
        registry.register(SessionCollector(metrics))
        server, thread = start_http_server(place[1], place[0], registry)
    except (BadConfig, OSError) as error:
        await process.alert(Level.WARNING, "METRICS", f"no metrics for Prometheus: {error}")
        return
    process.log.info("metrics", address=place[0], port=server.server_port)
    process.figures["metrics_port"] = server.server_port
    try:
        await _follow(Bus(process.bus.client, process.bus.session_id), metrics)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _follow(bus: Bus, metrics: Metrics) -> None:
    """Read the streams into `metrics` for ever, all that they hold first."""
    from tradealgo.monitor.metrics import METRIC_STREAMS

    cursors: dict[Stream, bytes] = dict.fromkeys(METRIC_STREAMS, b"0")
    counted, clock = 0.0, asyncio.get_running_loop().time
    while True:
        try:
            for entry in await bus.read(cursors, block_ms=BLOCK_MS, count=1_000, keep_bad=True):
                cursors[entry.stream] = entry.id
                if not isinstance(entry.message, BadFrame):
                    metrics.take(entry.stream, entry.message)
            await _look_at_ticks(bus, metrics)
            if clock() - counted > COUNT_EVERY_S:
                counted, metrics.entries = clock(), await _counts(bus)
        except redis.RedisError:
            await asyncio.sleep(RETRY_S)


async def _look_at_ticks(bus: Bus, metrics: Metrics) -> None:
    """The newest frame's stamps: all of them would be the whole feed once more."""
    for _, _, frame in await bus.newest(Stream.TICKS, 1, keep_bad=True):
        if not isinstance(frame, BadFrame):
            metrics.latencies.take_frame(frame.ts_init, frame.ts_published)


async def _counts(bus: Bus) -> dict[Stream, tuple[int, int | None]]:
    pipeline = bus.client.pipeline(transaction=False)
    for stream in Stream:
        pipeline.xinfo_stream(stream_key(bus.session_id, stream))
    replies: list[Any] = await pipeline.execute(raise_on_error=False)
    return {
        stream: (int(reply["length"]), reply.get("entries-added"))
        for stream, reply in zip(Stream, replies, strict=True)
        if isinstance(reply, dict)  # an error: nothing is in it yet
    }
