"""From the socket to the stream, one process: `python -m benchmarks.pipeline --json`.

A server on loopback sends frames of 100 packets in full mode as fast as they are taken. TradeAlgo's Producer reads, decodes
and publishes every one of them to a real embedded server with its append-only file on. KiteTicker reads and decodes them
with an `on_ticks` that does nothing. They take turns; `ratio_kiteticker` is how many times as many ticks a second go all
the way to the stream. `socket_ticks_per_s` is that rate, `dropped` must be 0.

Sender, Producer and server share the machine's processors; on two cores they bound that rate together. So the processor time
of each is told as well, in microseconds a frame, and `producer_core_ticks_per_s`: what the Producer alone would do if it
had a core to itself and never had to wait.
"""

from __future__ import annotations

import asyncio
import multiprocessing as mp
import os
import statistics
import struct
import tempfile
import time
import uuid
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any, NamedTuple

import psutil

from benchmarks.common import interleaved, main
from benchmarks.ticks import frame
from tradealgo.domain.ticks import MODE_FULL

PACKETS = 100
CHUNK = 20


class Turn(NamedTuple):
    """What one run came to; processor seconds are of one frame."""

    ticks_per_s: float
    dropped: int = 0
    producer_s: float = 0.0
    server_s: float = 0.0


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def _until(condition: Callable[[], bool], every_s: float = 0.001) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(every_s)


def _sender(frames: int, pipe: Pipe) -> None:
    """Serves each connection that many frames, prepared beforehand, and keeps it open."""
    from websockets.asyncio.server import ServerConnection, serve

    body = frame(PACKETS, MODE_FULL)
    chunk = (
        struct.pack(">BBH", 0x82, 126, len(body)) + body
    ) * CHUNK  # unmasked binary messages, as a server sends them

    async def flood(socket: ServerConnection) -> None:
        await socket.recv()
        transport = socket.transport
        for _ in range(frames // CHUNK):
            transport.write(chunk)
            # Sleeps meanwhile: the other two processes need the processors
            await _until(lambda: transport.get_write_buffer_size() < 4 * len(chunk), 0.0005)
        await socket.wait_closed()

    async def run() -> None:
        async with serve(flood, "127.0.0.1", 0, compression=None) as server:
            pipe.send(server.sockets[0].getsockname()[1])
            await asyncio.Event().wait()

    asyncio.run(run())


def _tradealgo(port: int, bus_url: str, frames: int, pipe: Pipe) -> None:
    """The Producer's own connection, intake and outbox."""
    from tradealgo.bus.redis_bus import Bus, connect
    from tradealgo.config import BrokerSession, Manifest, Mode
    from tradealgo.domain.sizing import Sizing
    from tradealgo.producer.connection import Connection
    from tradealgo.producer.health import FeedHealth
    from tradealgo.producer.intake import Intake
    from tradealgo.producer.outbox import Outbox
    from tradealgo.producer.packets import decode_frame

    decode_frame(b"\0\0")
    now, name = time.time_ns(), f"bench-{uuid.uuid4().hex[:8]}"
    BrokerSession(account=name, user_id="B", api_key="k", access_token="t", created=now, expires=now + 10**13).save()
    manifest = Manifest(
        session_id=name, mode=Mode.PAPER, account=name, strategy="none", parameters={}, instruments=(), capital=1.0,
        sizing=Sizing(units=1), ws_url=f"ws://127.0.0.1:{port}/", bus_url=bus_url,
    )  # fmt: skip

    async def run() -> None:
        bus = Bus(connect(bus_url), name)
        outbox = Outbox(bus, max_frames=frames)
        server = psutil.Process((await bus.client.info("server"))["process_id"])
        intake = Intake(0, [1])
        tasks = [
            asyncio.create_task(outbox.run()),
            asyncio.create_task(Connection(manifest, intake, FeedHealth(), outbox).run()),
        ]
        await _until(lambda: outbox.sent > 0)
        began, first = time.perf_counter(), outbox.sent
        used = [_processor_s(psutil.Process()), _processor_s(server)]
        await _until(lambda: outbox.sent >= frames, 0.005)
        sent, spent = frames - first, time.perf_counter() - began
        mine, its = _processor_s(psutil.Process()) - used[0], _processor_s(server) - used[1]
        pipe.send(Turn(sent * PACKETS / spent, outbox.dropped, mine / sent, its / sent))
        for task in tasks:
            task.cancel()
        await bus.client.flushdb()

    asyncio.run(run())


def _kiteticker(port: int, bus_url: str, frames: int, pipe: Pipe) -> None:
    from kiteconnect import KiteTicker

    ticker = KiteTicker("key", "token", root=f"ws://127.0.0.1:{port}/")
    seen, began = 0, 0.0

    def on_connect(ws: Any, response: Any) -> None:
        ws.subscribe([1])

    def on_ticks(ws: Any, ticks: list[Any]) -> None:
        nonlocal seen, began
        seen += 1
        if seen == 1:
            began = time.perf_counter()
        if seen == frames:
            pipe.send(Turn((frames - 1) * PACKETS / (time.perf_counter() - began)))
            os._exit(0)  # its reactor has no other end

    ticker.on_connect, ticker.on_ticks = on_connect, on_ticks
    ticker.connect(threaded=False)


def _run(target: Any, *arguments: Any) -> Any:
    mine, its = mp.Pipe()
    process = mp.get_context("spawn").Process(target=target, args=(*arguments, its), daemon=True)
    process.start()
    its.close()
    return mine, process


def measure(quick: bool) -> dict[str, Any]:
    """Medians of both, in turns."""
    from tradealgo.bus.server import EmbeddedServer

    frames, peer_frames = (10_000, 500) if quick else (60_000, 2_000)
    turns: list[Turn] = []
    with tempfile.TemporaryDirectory() as home, EmbeddedServer() as server:
        os.environ["TRADEALGO_HOME"] = home

        def turn(target: Any, count: int) -> float:
            from_sender, sender = _run(_sender, count)
            from_reader, reader = _run(target, from_sender.recv(), server.url, count)
            try:
                turns.append(from_reader.recv())
            finally:
                for process in (sender, reader):
                    process.kill()
                    process.join()
            return turns[-1].ticks_per_s

        medians = interleaved(
            {"tradealgo": lambda: turn(_tradealgo, frames), "kiteticker": lambda: turn(_kiteticker, peer_frames)},
            1 if quick else 5,
        )
    ours = [turn for turn in turns if turn.producer_s]
    producer_s, server_s = (statistics.median(getattr(turn, name) for turn in ours) for name in Turn._fields[2:])
    return {
        "ratio_kiteticker": round(medians["tradealgo"] / medians["kiteticker"], 1),
        "socket_ticks_per_s": round(medians["tradealgo"]),
        "kiteticker_ticks_per_s": round(medians["kiteticker"]),
        "dropped": sum(turn.dropped for turn in ours),
        "producer_us_per_frame": round(producer_s * 1e6, 1),
        "server_us_per_frame": round(server_s * 1e6, 1),
        "producer_core_ticks_per_s": round(PACKETS / producer_s),
        "frames": frames,
    }


if __name__ == "__main__":
    main(measure, __doc__)
