"""One WebSocket connection to the broker, kept alive: connect, subscribe, read; on failure back off and come again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from urllib.parse import urlencode, urlsplit

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream
from tradealgo.config import BrokerSession, Manifest
from tradealgo.domain.orders import BrokerUpdate
from tradealgo.process import Log
from tradealgo.producer.backoff import full_jitter
from tradealgo.producer.direct import DirectSocket
from tradealgo.producer.health import OPEN, Event, Feed, FeedHealth
from tradealgo.producer.intake import Intake, Notice
from tradealgo.producer.outbox import Outbox
from tradealgo.producer.subscriptions import subscribe, unsubscribe

PING_EVERY_S = 2.5
PING_TIMEOUT_S = 5.0
LOGIN_POLL_S = 0.1
CARRY_TIMEOUT_S = 1.0
FORBIDDEN = 403
#: After a 403 the same token is tried again so often: a front end refuses at times what the broker would take.
DENIED_RETRY_S = 10.0


class Loss(msgspec.Struct, frozen=True):
    """A gap in the feed, once it has ended: wall-clock UTC nanoseconds, from the last frame to the next connection.

    `ts_event` is the exchange's time of the last tick before it, 0 if there was none.
    """

    shard: int
    began: int
    ended: int
    ts_event: int
    cause: str


class Connection:
    """The broker's socket for one shard of the instruments.

    Args:
        last: the last frame that an earlier run published: what came since then is lost.
    """

    def __init__(
        self, manifest: Manifest, intake: Intake, health: FeedHealth, outbox: Outbox, last: TickFrame | None = None
    ) -> None:
        self.intake = intake
        self.changed = asyncio.Event()  # set when the connection comes or goes, for who wants to know at once
        self.health = health
        self.attempts = 0
        self.losses: list[Loss] = []
        self.notices: list[Notice] = []
        self.denied_since = 0
        self.down_since = 0  # when its first try failed, while none has succeeded since
        self._manifest = manifest
        self._outbox = outbox
        self._socket: DirectSocket | None = None
        self._cause = ""
        self._lost_at, self._lost_ts, self._lost_cause = 0, 0, ""
        if last is not None:
            self._lost_at, self._lost_ts = last.ts_init, int(last.ticks["ts_event"].max(initial=0))
            self._lost_cause = "the Producer was started again"
        self._log = Log(module="producer", shard=intake.shard)

    async def run(self) -> None:
        """Keep the connection for ever."""
        refused = 0  # when the token was made that the broker refused just now
        while True:
            session = await self._login(refused)
            if self.health.state is Feed.DENIED:
                self.health.on(Event.NEW_TOKEN if session.created > refused else Event.RETRY, time.time_ns())
            refused = 0
            try:
                await self._serve(session)
            except InvalidStatus as error:
                self._cause = str(error)
                if error.response.status_code == FORBIDDEN:
                    refused, now = session.created, time.time_ns()
                    self.denied_since = self.denied_since or now
                    self.health.on(Event.REFUSED, now)
                    self.changed.set()
                    continue
            except (OSError, TimeoutError, WebSocketException) as error:
                self._cause = self._cause or str(error) or type(error).__name__
            await self._back_off()

    async def _login(self, refused: int) -> BrokerSession:
        """A login that hasn't expired: newer than the refused one, or after DENIED_RETRY_S that one again."""
        retry_at = time.monotonic() + (DENIED_RETRY_S if refused else 0)
        while True:
            session = BrokerSession.load(self._manifest.account)
            usable = session and (session.created > refused or time.monotonic() >= retry_at)
            if session and usable and session.expires > time.time_ns():
                return session
            await asyncio.sleep(LOGIN_POLL_S)

    async def _serve(self, session: BrokerSession) -> None:
        query = urlencode({"api_key": session.api_key, "access_token": session.access_token})
        host = urlsplit(self._manifest.ws_url).hostname
        async with connect(
            f"{self._manifest.ws_url}?{query}",
            additional_headers={"X-Kite-Version": "3"},
            compression=None,
            ping_interval=PING_EVERY_S,
            ping_timeout=PING_TIMEOUT_S,
            close_timeout=1,
            max_size=2**24,
            create_connection=DirectSocket,
            proxy=None if host in ("127.0.0.1", "localhost", "::1") else True,
        ) as socket:
            assert isinstance(socket, DirectSocket)
            self._socket = socket
            self._opened()
            socket.taker = self._take_binary  # what came before, heartbeats at most, is in the queue
            for message in subscribe(self.intake.tokens + self.intake.guests):
                await socket.send(message)
            await self._read(socket)

    def _opened(self) -> None:
        now = time.time_ns()
        self.denied_since = self.down_since = 0
        self.health.on(Event.OPENED, now)
        self.intake.opened()
        if self._lost_at:
            self.losses.append(Loss(self.intake.shard, self._lost_at, now, self._lost_ts, self._lost_cause))
            self._lost_at = 0
        self.changed.set()
        self._log.info("connected", instruments=len(self.intake.tokens))

    async def carry(self, guests: list[int]) -> None:
        """Carry these instruments of dead connections besides its own, and no others; now if open, else once it is."""
        new, gone = set(guests) - set(self.intake.guests), set(self.intake.guests) - set(guests)
        self.intake.carry(guests)
        messages = [unsubscribe(sorted(gone))] if gone else []
        messages += subscribe(sorted(new)) if new else []
        if self._socket is None or self.health.state not in OPEN:
            return
        with contextlib.suppress(TimeoutError, WebSocketException):  # it is about to connect anew, and then says it all
            async with asyncio.timeout(CARRY_TIMEOUT_S):
                for message in messages:
                    await self._socket.send(message)

    async def _read(self, socket: DirectSocket) -> None:
        try:
            async for data in socket:
                if isinstance(data, bytes):
                    self._take_binary(data)
                else:
                    self._take_text(data, time.time_ns())
        finally:
            socket.taker = None
            if socket.failure is not None:
                raise socket.failure

    def _take_binary(self, data: bytes | memoryview) -> None:
        now = time.time_ns()
        self.attempts = 0
        frame = self.intake.binary(data, now)
        self.health.on(Event.FRAME if frame is None else Event.TICKS, now)
        if frame is not None:
            self._outbox.put(Stream.TICKS, frame)

    def _take_text(self, data: str, now: int) -> None:
        self.attempts = 0
        self.health.on(Event.FRAME, now)
        message = self.intake.text(data, now)
        if isinstance(message, BrokerUpdate):
            self._outbox.put(Stream.UPDATES, message)
        elif message is not None:
            self.notices.append(message)

    async def _back_off(self) -> None:
        now = time.time_ns()
        if self.health.state in OPEN:
            self._lost_at = self.health.last_frame  # a socket that fell silent was lost long before it is closed
            self._lost_ts, self._lost_cause = self.intake.ts_event, self._cause
            self.intake.lost()
        self.down_since = self.down_since or now
        self.health.on(Event.CLOSED, now)
        self.changed.set()
        delay = full_jitter(self.attempts, random.random())
        self._log.info("connection lost", cause=self._cause or "closed by the broker", retry_s=round(delay, 3))
        self.attempts += 1
        await asyncio.sleep(delay)
        self.health.on(Event.RETRY, time.time_ns())
        self._cause = ""

    def watch(self) -> None:
        """Notice silence. Close the socket once no frame has come for too long: `run` then connects again."""
        before = self.health.state
        if self.health.at(time.time_ns()) is not before:
            self.changed.set()
        if self.health.state is Feed.STALLED and self._socket is not None:
            self._cause = "no frame came, not even a heartbeat"
            socket, self._socket = self._socket, None
            socket.transport.abort()  # a close handshake with a dead peer would only take more time
