"""The Sentinel's loop: performs what the login's state asks for, and feeds what came of it back to the table."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Awaitable, Callable

import msgspec

from tradealgo.bus.keys import Stream, instruments_key
from tradealgo.config import BrokerSession, Mode
from tradealgo.domain.errors import BadConfig, BrokerError, Rejected, TokenDead, UnknownInstrument
from tradealgo.domain.state import Beat, Level
from tradealgo.process import Process
from tradealgo.sentinel import dump, login
from tradealgo.sentinel.core import (
    LOGINS_AT_MOST,
    LONGEST_PAPER_WAIT_S,
    LONGEST_WAIT_S,
    Event,
    State,
    credentials,
    follow,
    is_contested,
    is_denied,
    is_usable,
    wait_s,
)

#: Trying in vain for this long is told to people.
TELL_AFTER_S = 30.0


class Sentinel:
    """One account's login, kept good for as long as the session runs."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.manifest = process.manifest
        self.login = credentials(os.environ)
        self.session: BrokerSession | None = None
        self.failures = 0
        self.failing_since = 0.0
        self.told = False
        #: Automatic logins made (monotonic seconds), and why a person is asked in spite of them or again.
        self.logins: list[float] = []
        self.why = ""
        self.refused = process.folder.login_refused.exists()  # the credentials: a few more times would lock the account
        self._perform: dict[State, Callable[[], Awaitable[Event]]] = {
            State.CHECKING: self._check,
            State.LOGGING_IN: self._log_in,
            State.AWAITING_PERSON: self._await_person,
            State.LOADING: self._load,
            State.LOGGED_IN: self._watch,
            State.BACKING_OFF: self._back_off,
        }

    async def run(self) -> None:
        """Until cancelled."""
        state = State.CHECKING
        while True:
            await self.process.say(state.value)
            state = follow(state, await self._attempt(state))

    async def _attempt(self, state: State) -> Event:
        try:
            return await self._perform[state]()
        except TokenDead:
            return Event.TOKEN_DEAD
        except (BrokerError, BadConfig, UnknownInstrument) as error:
            if state is State.AWAITING_PERSON:
                self.why = f"the last login does not serve ({error}): "
            definitive = isinstance(error, Rejected | BadConfig)
            if definitive and state is State.LOGGING_IN and self.manifest.mode is Mode.LIVE:
                self._keep_refused()
                await self.process.alert(Level.CRITICAL, "LOGIN_REFUSED", str(error))
                return Event.REFUSED
            await self._count_failure(state, error)
            return Event.FAILED

    def _keep_refused(self) -> None:
        self.refused = True
        with contextlib.suppress(OSError):
            self.process.folder.login_refused.touch()

    async def _count_failure(self, state: State, error: Exception) -> None:
        self.failing_since = self.failing_since if self.failures else time.monotonic()
        self.failures += 1
        self.process.log.warning("failed", state=state.value, error=str(error), failures=self.failures)
        if not self.told and time.monotonic() - self.failing_since > TELL_AFTER_S:
            self.told = True
            await self.process.alert(Level.WARNING, "LOGIN_FAILING", f"no login after {self.failures} tries: {error}")

    async def _check(self) -> Event:
        saved = BrokerSession.load(self.manifest.account)
        if saved is None or not is_usable(saved, self.manifest.api_key, time.time_ns()):
            return Event.TOKEN_DEAD
        good = await asyncio.to_thread(login.is_good, self.manifest, saved)
        self.session = saved
        return Event.TOKEN_GOOD if good else Event.TOKEN_DEAD

    async def _log_in(self) -> Event:
        if BrokerSession.load(self.manifest.account) != self.session and await self._check() is Event.TOKEN_GOOD:
            return Event.TOKEN_GOOD  # a launch's, say, which ended ours: a login of our own would end that one
        if not self.login.automatic or self.refused:
            return Event.NEEDS_PERSON
        if self.manifest.mode is Mode.LIVE:
            if is_contested(self.logins, time.monotonic()):
                self.why = f"{LOGINS_AT_MOST} automatic logins within the hour, and each was ended by another: does another machine use the same Kite app? "
                return Event.NEEDS_PERSON
            self.process.log.warning("automatic login", text=login.TOTP_WARNING)
        token = await asyncio.to_thread(login.automatic_login, self.manifest, self.login)
        await self._open(token)
        self.logins.append(time.monotonic())
        return Event.TOKEN_GOOD

    async def _open(self, request_token: str) -> None:
        opening = asyncio.to_thread(
            login.open_session, self.manifest, self.login.api_secret, request_token, time.time_ns()
        )
        self.session = await opening
        self.session.save()

    async def _await_person(self) -> Event:
        """Tell people where to log in, then wait for the redirect here or for a login that another process saved."""
        url, now = login.login_url(self.manifest), time.time_ns()
        await self.process.alert(Level.CRITICAL, "LOGIN_NEEDED", f"{self.why}log in at {url}")
        with login.redirect_server(lambda why: self.process.log.warning("no redirect server", error=why)) as server:
            while True:
                saved = BrokerSession.load(self.manifest.account)
                if saved is not None and saved.created > now:
                    self.session = saved
                    break
                if token := await asyncio.to_thread(login.wait_for, server):
                    await self._open(token)
                    break
        await self.process.alert(Level.INFO, "LOGIN_NEEDED", "logged in", resolved=True)
        return Event.TOKEN_GOOD

    async def _load(self) -> Event:
        """Put the manifest's instruments of today's dump on the bus."""
        assert self.session is not None
        book = await asyncio.to_thread(dump.download, self.manifest, self.session.access_token)
        chosen = [book.find(key) for key in self.manifest.instruments]
        key = instruments_key(self.manifest.session_id)
        await self.process.bus.client.set(key, msgspec.msgpack.encode(chosen))
        self.process.figures.update(instruments=len(chosen), expires=self.session.expires)
        if self.told:
            await self.process.alert(Level.INFO, "LOGIN_FAILING", "logged in", resolved=True)
        self.failures, self.told, self.why = 0, False, ""
        return Event.LOADED

    async def _watch(self) -> Event:
        """Sleep until the token dies: at 06:00, or when a module hears from the broker that it is dead."""
        assert self.session is not None
        since = time.time_ns()
        last = await self.process.bus.last(Stream.HEALTH)
        cursor = last.id if last else b"0"
        while time.time_ns() < self.session.expires:
            entries = await self.process.bus.read({Stream.HEALTH: cursor}, block_ms=1_000)
            cursor = entries[-1].id if entries else cursor
            beats: list[Beat] = [e.message for e in entries]
            denied = any(is_denied(beat, since) for beat in beats)
            if denied and not await asyncio.to_thread(login.is_good, self.manifest, self.session):
                return Event.TOKEN_DEAD
        return Event.TOKEN_DEAD

    async def _back_off(self) -> Event:
        longest_s = LONGEST_PAPER_WAIT_S if self.manifest.mode is Mode.PAPER else LONGEST_WAIT_S
        await asyncio.sleep(wait_s(self.failures, random.random(), longest_s))
        return Event.WAITED


async def keep_logged_in(process: Process) -> None:
    """The Sentinel's main."""
    await Sentinel(process).run()
