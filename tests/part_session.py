"""Some modules of a session as processes, with a real paper exchange and bus; the test plays the others."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from tradealgo.bus.keys import instruments_key
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.config import BrokerSession, Manifest, SessionDir
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.state import Module
from tradealgo.exchange.testing import RunningExchange


class PartSession:
    """A session's folder, bus and processes. `manifest` names the session; its exchange and bus are those given."""

    def __init__(self, paper: RunningExchange, bus_url: str, folder: Path, manifest: Manifest) -> None:
        self.paper, self.session_id = paper, manifest.session_id
        self.manifest = msgspec.structs.replace(manifest, rest_url=paper.url, ws_url=paper.ws_url, bus_url=bus_url)
        self.folder = SessionDir(folder / self.session_id)
        self.folder.write_manifest(self.manifest)
        self.instruments: dict[str, Instrument] = {i.key: i for i in paper.exchange.market.instruments}
        self.bus = Bus(connect(bus_url), self.session_id)
        self.processes: dict[Module, subprocess.Popen[bytes]] = {}

    async def open(self) -> None:
        """What the Sentinel does: log in, and put the instruments on the bus."""
        await asyncio.to_thread(self.log_in)
        book = msgspec.msgpack.encode(list(self.instruments.values()))
        await self.bus.client.set(instruments_key(self.session_id), book)

    def log_in(self) -> None:
        now = time.time_ns()
        BrokerSession(
            account=self.session_id, user_id="PAPER1", api_key=self.paper.api_key, access_token=self.paper.login(),
            created=now, expires=now + 3_600 * 10**9,
        ).save()  # fmt: skip

    def start(self, *modules: Module) -> None:
        for module in modules:
            with open(self.folder.logs / f"{module}.log", "ab") as log:
                self.processes[module] = subprocess.Popen(
                    [sys.executable, "-m", f"tradealgo.{module}", "--session-dir", str(self.folder.path)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ,
                )  # fmt: skip

    def kill_9(self, module: Module) -> None:
        process = self.processes.pop(module)
        process.kill()
        process.wait()

    def log_of(self, module: Module) -> str:
        return (self.folder.logs / f"{module}.log").read_text()[-3_000:]

    async def advance(self, seconds: float) -> None:
        """Move the exchange's clock on, without holding up this loop."""
        await asyncio.to_thread(self.paper.advance, seconds)

    async def close(self) -> None:
        for module in list(self.processes):
            self.kill_9(module)
        await self.bus.close()
