"""What every module's process does alike: read its session, reach the bus, beat once a second, stop when told.

    asyncio.run(run_module(Module.CONSUMER, consume))

where `async def consume(process: Process) -> None` is the module's own loop. Crash-only: a module that loses what it
needs raises, exits non-zero, and is started again by the supervisor.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import redis

from tradealgo.bus.keys import Stream, instruments_key
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.config import Manifest, SessionDir
from tradealgo.domain.instruments import Instrument, InstrumentBook
from tradealgo.domain.state import Alert, Beat, Level, Module

BEAT_S = 1.0
#: On whose work no order waits; the paper exchange stands for a computer elsewhere.
ASIDE = frozenset({Module.SENTINEL, Module.RECORDER, Module.MONITOR, Module.EXCHANGE})
#: Before a stream's name, a figure of every heartbeat: milliseconds that the module is behind in reading it.
LAG = "lag_ms_"


class Log:
    """One JSON line an event on stderr, which the supervisor puts in `logs/<module>.log`.

    structlog would do the same, but its import brings rich and pygments: half a second for each of eight processes.
    """

    def __init__(self, **bound: Any) -> None:
        self._bound = bound

    def bind(self, **more: Any) -> Log:
        """A log whose lines say this as well."""
        return Log(**self._bound, **more)

    def info(self, event: str, **facts: Any) -> None:
        self._write("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._write("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self._write("error", event, facts)

    def _write(self, level: str, event: str, facts: dict[str, Any]) -> None:
        when = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        line = {"timestamp": when, "level": level, "event": event, **self._bound, **facts}
        # A supervisor that died takes the pipe along: who trades goes on without a log
        with contextlib.suppress(OSError):
            print(json.dumps(line, default=str, ensure_ascii=False), file=sys.stderr, flush=True)


class Process:
    """A running module: its session, its bus, its log, and what its heartbeat says."""

    def __init__(self, module: Module, folder: SessionDir, manifest: Manifest, bus: Bus) -> None:
        self.module = module
        self.folder = folder
        self.manifest: Manifest = manifest
        self.bus = bus
        self.log = Log(module=module.value)
        self.state = "STARTING"
        self.ts_event = 0
        self.figures: dict[str, float | int | str] = {}
        #: Why the last heartbeat didn't get onto the bus; empty: it did.
        self.unsaid = ""
        self._lags: dict[str, float | int | str] = {}

    def beat(self) -> Beat:
        """The heartbeat as of now."""
        return Beat(
            module=self.module, pid=os.getpid(), ts=time.time_ns(), state=self.state,
            ts_event=self.ts_event, figures=self.figures | self._lags,
        )  # fmt: skip

    async def say(self, state: str) -> None:
        """Take a new state, and beat at once so that others needn't wait a second to hear it."""
        if state != self.state:
            self.log.info("state", was=self.state, now=state)
            self.state = state
            await self.bus.publish(Stream.HEALTH, self.beat())

    async def alert(self, level: Level, code: str, text: str, *, resolved: bool = False) -> None:
        """Tell people, through the ALERTS stream and the log."""
        self.log.warning("alert", level=level.value, code=code, text=text, resolved=resolved)
        alert = Alert(level=level, module=self.module, code=code, text=text, ts=time.time_ns(), resolved=resolved)
        await self.bus.publish(Stream.ALERTS, alert)

    async def instruments(self) -> InstrumentBook:
        """The session's instruments, once the Sentinel has put them on the bus."""
        while True:
            data = await self.bus.client.get(instruments_key(self.bus.session_id))
            if isinstance(data, bytes):
                return InstrumentBook(msgspec.msgpack.decode(data, type=list[Instrument]))
            await asyncio.sleep(0.05)

    async def _keep_beating(self) -> None:
        while True:
            try:
                lags = await self.bus.lags()
                self._lags = {f"{LAG}{stream}": round(seconds * 1_000) for stream, seconds in lags.items()}
                await self.bus.publish(Stream.HEALTH, self.beat())
                self.unsaid = ""
            except redis.RedisError as error:
                self.unsaid = str(error)
                self.log.warning("beat not sent", error=self.unsaid)
            await asyncio.sleep(BEAT_S)


async def connected_bus(manifest: Manifest, *, timeout_s: float = 15.0) -> Bus:
    """The session's bus, waiting for a server that is still starting. Raises redis.ConnectionError after `timeout_s`."""
    client = connect(manifest.resolved_bus_url())
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            await client.ping()
            return Bus(client, manifest.session_id)
        except (redis.ConnectionError, redis.BusyLoadingError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


def write_pid(folder: SessionDir, module: Module) -> None:
    """Say in `pids/` which process is the module: how the kill reaches the Gatekeeper when the bus is gone."""
    signal.signal(
        signal.SIGUSR1, signal.SIG_IGN
    )  # one that comes too early mustn't end it: the flag file says the same
    folder.pids.mkdir(parents=True, exist_ok=True)
    (folder.pids / f"{module.value}.pid").write_text(f"{os.getpid()}\n")


def give_way() -> None:
    """Wait until a core is free, where the system knows such processes (Linux). One that wakes up because it was sent
    something otherwise takes the core at once from its sender, who may have more orders to send.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # where it isn't allowed everyone is as before
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


async def run_module(module: Module, main: Callable[[Process], Awaitable[None]], *, needs_bus: bool = True) -> None:
    """Run a module's loop until it returns, raises, or SIGTERM or SIGINT asks it to stop (its task is cancelled).

    Args:
        needs_bus: wait for the bus first. The Gatekeeper doesn't: a kill goes on while the bus is gone. Nor does the
            Monitor, which tells people that it is.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tradealgo.{module.value}")
    parser.add_argument("--session-dir", required=True, help="the session's folder, which holds its manifest.json")
    folder = SessionDir(parser.parse_args().session_dir)
    manifest = folder.read_manifest()
    write_pid(folder, module)
    if module in ASIDE:
        give_way()
    bus = await connected_bus(manifest) if needs_bus else Bus(connect(manifest.resolved_bus_url()), manifest.session_id)
    process = Process(module, folder, manifest, bus)
    loop = asyncio.get_running_loop()
    gc.freeze()  # modules live as long as the process: to look through them again would stop it for milliseconds
    work = asyncio.ensure_future(main(process))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    beating = asyncio.ensure_future(process._keep_beating())
    try:
        await work
    except asyncio.CancelledError:
        process.log.info("stopped")
    finally:
        beating.cancel()
        await process.bus.close()
