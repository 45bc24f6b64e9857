"""The Gatekeeper's process: feeds the core events, has its records on disk, then performs its commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from tradealgo.bus.redis_bus import Bus
from tradealgo.config import BrokerSession, Manifest, Mode, SessionDir, token_file
from tradealgo.domain.hours import EPOCH
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.state import Action, Control
from tradealgo.gatekeeper.broker import Broker
from tradealgo.gatekeeper.clock import Clock
from tradealgo.gatekeeper.core import Gate
from tradealgo.gatekeeper.inbox import Inbox
from tradealgo.gatekeeper.journal import Journal, open_readonly, read
from tradealgo.gatekeeper.lease import Lease
from tradealgo.gatekeeper.messages import (
    STREAMS,
    Ask,
    BusChanged,
    Call,
    CallDone,
    Command,
    ControlReceived,
    Event,
    Faulted,
    Kind,
    Outcome,
    Publish,
    QueryFailed,
    Record,
    Timer,
)
from tradealgo.gatekeeper.outbox import Outbox
from tradealgo.gatekeeper.situation import Terms
from tradealgo.process import Process

#: Between two looks at the kill's flag file, and between two timer events while nothing is at work.
IDLE_S = 0.05
#: … while something is.
BUSY_S = 0.01
#: Between two touches of the file that says that this process gets on.
ALIVE_S = 0.2
#: Candles close and orders follow as a minute turns: so long before it connections are opened, which takes two or three
#: round trips over the Internet.
READY_S = 2.0
MINUTE_S = 60.0
#: Events that one commit covers at most.
BATCH = 500


class LoginFile:
    """The account's login as the Sentinel last wrote it."""

    def __init__(self, account: str) -> None:
        self._account, self._path = account, str(token_file(account))
        self._stamp: tuple[int, int] | None = None
        self._login: BrokerSession | None = None

    def __call__(self) -> BrokerSession | None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        if (stamp := (found.st_mtime_ns, found.st_ino)) != self._stamp:
            self._login, self._stamp = BrokerSession.load(self._account), stamp
        return self._login


class Shell:
    """Owns everything that isn't pure. `run` returns only by being cancelled or by an error, which ends the process.

    Args:
        inbox, outbox: attached by `connect`; without them (no bus) the core still guards what is open.
    """

    def __init__(self, folder: SessionDir, manifest: Manifest, journal: Journal, instruments: list[Instrument]) -> None:
        self.folder, self.manifest, self.journal = folder, manifest, journal
        day = manifest.trading_day.toordinal() - EPOCH if manifest.day else 0
        terms = Terms(manifest.session_id, manifest.account, manifest.capital, manifest.speed, day)
        self.gate = Gate(terms, manifest.limits, instruments)
        self.clock = Clock(after=journal.last_ts)
        timeout_s = manifest.limits.call_timeout_s
        login = LoginFile(manifest.account)
        self.broker = Broker(manifest.rest_url, login, timeout_s, self.clock, self.gate.refuses)
        self.inbox: Inbox | None = None
        self.outbox: Outbox | None = None
        self.commit_ms = 0.0  # the slowest commit since the last look
        self._queue: asyncio.Queue[tuple[Event, bytes | None]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bus_up: bool | None = None
        self._alive_at = 0.0

    # ------------------------------------------------------------------ in

    def put(self, event: Event, entry_id: bytes | None = None) -> None:
        """Queue an event; `entry_id` is acknowledged on the bus once the journal has it."""
        self._queue.put_nowait((event, entry_id))

    def bus_changed(self, up: bool) -> None:
        """Tell the core, once a change."""
        if up is not self._bus_up and not (up and self._bus_up is None):
            self.put(BusChanged(up))
        self._bus_up = up

    async def _tick(self) -> None:
        """Time passes; the flag file is looked at."""
        while True:
            self.look_at_flag()
            if self._queue.empty():
                self.put(Timer())
            gate = self.gate
            busy = gate.book.working or gate.pending or gate.killer.is_active or gate.calls.queued
            await asyncio.sleep(BUSY_S if busy else IDLE_S)

    async def _be_ready(self) -> None:
        """While ticks come, have connections to the broker open as each minute turns."""
        newest = 0
        while True:
            await asyncio.sleep(_until_ready(self.clock()))
            if self.gate.book.ts_event > newest:
                newest = self.gate.book.ts_event
                await self.broker.be_ready()

    def look_at_flag(self) -> None:
        """A kill that needs no bus: the file's presence is enough, whatever is in it."""
        if not (self.gate.killer.is_armed and os.path.lexists(self.folder.kill_flag)):
            return
        try:
            content: dict[str, Any] = json.loads(self.folder.kill_flag.read_text())
            reason, source = str(content.get("reason", "")), str(content.get("source", "flag"))
        except Exception:  # unreadable in whatever way: that it is there is what counts
            reason, source = "", "flag"
        control = Control(action=Action.KILL, source=source, reason=reason, ts=self.clock())
        self.put(ControlReceived(control=control.cleaned()))

    # ------------------------------------------------------------------ the loop

    async def start(self) -> None:
        """Read the journal, and begin to reconcile."""
        self.gate.restore((row.kind, row.message) for row in self.journal.rows())
        await self._perform(self.gate.recover(self.clock()), [])

    async def run(self) -> None:
        """Handle events for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tick())
                group.create_task(self._handle())
                group.create_task(self._be_ready())
        finally:
            await self.broker.close()
            self.journal.close()

    async def _handle(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            commands: list[Command] = []
            for event, _ in batch:
                now, by = self.clock.read()
                if by:
                    self.gate.calls.clock_set(by, now)
                commands += self.gate.handle(event, now)
            await self._perform(commands, [i for _, i in batch if i is not None])
            self._say_alive()

    def _say_alive(self) -> None:
        """After a batch: the loop turns and the journal takes records."""
        if time.monotonic() - self._alive_at > ALIVE_S:
            self._alive_at = time.monotonic()
            with contextlib.suppress(OSError):
                self.folder.alive.touch()

    async def _perform(self, commands: list[Command], entry_ids: list[bytes]) -> None:
        """Records first, durably; then the rest, none of which is waited for."""
        records = [c for c in commands if isinstance(c, Record)]
        if any(record.kind is Kind.REARM for record in records):
            # Before the journal has it: what looks at the flag next would take it for a new kill. A crash in between
            # leaves the kill latched in the journal.
            with contextlib.suppress(OSError):  # one that can't be taken away kills again
                self.folder.kill_flag.unlink(missing_ok=True)
        first = self._write(records) if records else 0
        await self._call([c for c in commands if isinstance(c, Call)])
        for command in commands:
            if isinstance(command, Ask):
                self._keep(self._do(command, self.broker.ask(command.query)))
            elif isinstance(command, Publish) and self.outbox:
                self.outbox.pass_on(command.stream, command.message)
        for seq, record in enumerate(records, first):
            if self.outbox:
                self.outbox.put(seq, record)
        if entry_ids and self.inbox:
            self._keep(self.inbox.acknowledge(entry_ids))

    async def _call(self, calls: list[Call]) -> None:
        """Begin order calls; they are on their way before anybody is told and before the next event is looked at."""
        begun = [(call, self.broker.perform(call)) for call in calls]
        for call, outcome in begun:  # all have left before any is waited for
            self._keep(self._do(call, outcome))
        if calls:
            await asyncio.sleep(0)

    def _write(self, records: list[Record]) -> int:
        """Have records on the disk; returns the first one's sequence number. Nothing else goes on meanwhile: all that this
        process does waits for its journal, and to wake a thread and to be woken by it takes as long again as the disk.
        """
        began = time.perf_counter()
        first = self.journal.append(records, self.clock())
        self.commit_ms = max(self.commit_ms, (time.perf_counter() - began) * 1e3)
        return first

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Let it run beside the loop."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, command: Call | Ask, work: Coroutine[Any, Any, Event]) -> None:
        try:
            self.put(await work)
        except Exception as error:  # the core must hear of it: an open call or question would never end
            text = f"{type(error).__name__}: {error}"
            self.put(Faulted(text))
            self.put(self._unanswered(command, text))
            raise

    def _unanswered(self, command: Call | Ask, text: str) -> Event:
        if isinstance(command, Ask):
            return QueryFailed(query=command.query, text=text)
        sent, now = command.admitted, self.clock()
        return CallDone(call_id=command.call_id, outcome=Outcome.UNKNOWN, text=text, ts_sent=sent, ts_done=now)


def _until_ready(now: int) -> float:
    """Seconds until connections should be open for the next turn of a minute."""
    return (MINUTE_S - READY_S - now / 1e9) % MINUTE_S


@contextlib.asynccontextmanager
async def leased(manifest: Manifest, folder: SessionDir) -> AsyncIterator[None]:
    """Hold the account's lease. Raises LeaseHeld."""
    lease = Lease(manifest.account, manifest.session_id, str(folder.path))
    await asyncio.to_thread(lease.acquire)
    try:
        yield
    finally:
        lease.release()


async def gatekeeper(process: Process) -> None:
    """The module's loop for `run_module`."""
    async with leased(process.manifest, process.folder):
        journal = Journal(process.folder.journal)
        process.state = "WAITING"
        shell = Shell(process.folder, process.manifest, journal, await known_instruments(process, journal))
        signal_loop(shell)
        login = LoginFile(process.manifest.account)
        while login() is None:  # noqa: ASYNC110 (a file that another process writes)
            await asyncio.sleep(IDLE_S)
        process.state = "RECONCILING"
        await shell.start()
        connect(shell, process.bus)
        after, live = shell.gate.people.cursor.encode(), process.manifest.mode is Mode.LIVE
        shell.inbox = Inbox(process.bus, shell.put, control_after=after, live=live)
        async with asyncio.TaskGroup() as group:
            group.create_task(shell.run())
            group.create_task(_report(shell, process))
            group.create_task(shell.inbox.run())
            if shell.outbox:
                group.create_task(shell.outbox.run())


def signal_loop(shell: Shell) -> None:
    """SIGUSR1: look at the flag file now."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, shell.look_at_flag)


def connect(shell: Shell, bus: Bus) -> None:
    """Tell what happens on the bus."""

    def reload(after: int) -> list[tuple[int, Record]]:
        with contextlib.closing(open_readonly(shell.folder.journal)) as db:  # the writer's own is in use
            return [(row.seq, Record(row.kind, row.message)) for row in read(db, after, tuple(STREAMS))]

    shell.outbox = Outbox(bus, reload, shell.bus_changed)


def journaled_instruments(journal: Journal) -> list[Instrument]:
    """The session's instruments as of its first start; none if it never came so far."""
    return next((row.message for row in journal.rows(kinds=(Kind.INSTRUMENTS,))), [])


async def known_instruments(process: Process, journal: Journal) -> list[Instrument]:
    """The session's instruments: from the journal, or at the first start from the bus, and then journaled."""
    found = journaled_instruments(journal)
    if found:
        return found
    wanted = set(process.manifest.instruments)
    found = list(await process.instruments())
    journal.append([Record(Kind.INSTRUMENTS, found)], time.time_ns())
    missing = wanted - {i.key for i in found}
    if missing:
        process.log.warning("instruments missing", missing=sorted(missing))
    return found


def beat_state(gate: Gate) -> str:
    """DENIED is what the Sentinel looks for: it then logs in again, if the token is dead indeed.

    READY comes once entries may leave: the paper market opens on it, and its first signals must not meet a Gatekeeper
    that is still comparing its books.
    """
    if gate.calls.token_dead:
        return "DENIED"
    return "READY" if gate.ready and "start" not in gate.overrides else "RECONCILING"


async def _report(shell: Shell, process: Process) -> None:
    """What the heartbeat says."""
    while True:
        process.ts_event = shell.gate.book.ts_event
        process.figures = shell.gate.figures() | {"commit_ms": round(shell.commit_ms, 2)}
        shell.commit_ms = 0.0
        with contextlib.suppress(Exception):  # the bus may be away: the state is told when it is back
            await process.say(beat_state(shell.gate))
        await asyncio.sleep(0.1 if beat_state(shell.gate) != "READY" else 0.5)
