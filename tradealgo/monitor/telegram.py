"""Kill, halt and status by Telegram, off unless TRADEALGO_TELEGRAM_TOKEN and TRADEALGO_TELEGRAM_CHAT are set.

The bot's messages are fetched by long polling, so nothing listens here. Only the configured chat is heard, others get
no answer; what was written before this process started is left alone; and a kill or a halt is done only after a second
message with the code that the first one is answered with. It then goes the CLI's way: flag file and control stream.
Telegram allows one reader a bot: give each session that runs at the same time a bot of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec
import redis

from tradealgo.bus.keys import Stream
from tradealgo.control import request
from tradealgo.domain.errors import BadConfig, TradeAlgoError
from tradealgo.domain.state import Action, Control, Level
from tradealgo.process import Process

URL = "https://api.telegram.org"
POLL_S = 25
RETRY_S = 5.0
#: Who can't be heard for this long is told so. A bot's last poll holds for a while after its process has ended, and the next is refused.
TELL_AFTER_S = 30.0
#: For the bus to answer.
PATIENCE_S = 2.0
#: A code holds for this long.
CONFIRM_S = 60.0
HELP = "/status, /kill REASON (cancel all, flatten, lock) or /halt REASON (cancel all, positions stay)"


class Settings(msgspec.Struct, frozen=True):
    """Whose messages count, and the bot that hears them."""

    token: str
    chat: int
    url: str = URL

    def __repr__(self) -> str:
        return f"Settings(chat={self.chat}, …)"


def settings(environment: Mapping[str, str]) -> Settings | None:
    """Of the environment; None if it isn't wanted. Raises BadConfig for one half without the other."""
    token, chat = (environment.get(f"TRADEALGO_TELEGRAM_{n}", "").strip() for n in ("TOKEN", "CHAT"))
    if not token and not chat:
        return None
    if not token or not re.fullmatch("-?[0-9]+", chat):
        raise BadConfig(
            "control by Telegram needs TRADEALGO_TELEGRAM_TOKEN and TRADEALGO_TELEGRAM_CHAT, the chat's number"
        )
    return Settings(token, int(chat), environment.get("TRADEALGO_TELEGRAM_URL", "").strip().rstrip("/") or URL)


class Answer(NamedTuple):
    """What to say, what to do, and whether to say how things stand."""

    text: str = ""
    control: Control | None = None
    status: bool = False


class Conversation:
    """What one chat's messages mean. Pure: `code` makes a confirmation's code, times are seconds of the wall clock."""

    def __init__(self, session_id: str, code: Callable[[], str]) -> None:
        self._session_id, self._code = session_id, code
        self._asked: tuple[str, Control, float] | None = None

    def hear(self, text: str, now: float) -> Answer:
        """The answer to a message of the configured chat."""
        word, _, rest = text.strip().partition(" ")
        match word.partition("@")[0].lower():  # in a group a command may name its bot
            case "/status":
                return Answer(status=True)
            case "/kill":
                return self._ask(Action.KILL, rest, now)
            case "/halt":
                return self._ask(Action.HALT, rest, now)
            case "/yes":
                return self._confirm(rest.strip(), now)
        return Answer(HELP)

    def _ask(self, action: Action, reason: str, now: float) -> Answer:
        code = self._code()
        self._asked = code, Control(action=action, source="telegram", reason=reason.strip()), now
        return Answer(f"{action} session {self._session_id}? Send /yes {code} within {CONFIRM_S:g} s.")

    def _confirm(self, code: str, now: float) -> Answer:
        asked, self._asked = self._asked, None
        if asked is None or code != asked[0] or now - asked[2] > CONFIRM_S:
            return Answer("Nothing to confirm under that code: ask again.")
        return Answer(f"{asked[1].action} asked of session {self._session_id}.", asked[1])


class Bot:
    """The Bot API over HTTP. No text of an error goes any further: an address holds the token."""

    def __init__(self, given: Settings) -> None:
        self._given = given
        self._offset = 0
        #: Seconds by which Telegram's clock, which dates the messages, is ahead of this machine's.
        self.ahead = 0.0

    async def call(self, http: Any, method: str, **values: Any) -> Any:
        """A method's result. Raises OSError or ValueError, with nothing secret in it."""
        import aiohttp

        address = f"{self._given.url}/bot{self._given.token}/{method}"
        try:
            async with http.post(address, json=values) as reply:
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    self.ahead = parsedate_to_datetime(reply.headers["Date"]).timestamp() - time.time()
                content = msgspec.json.decode(await reply.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise OSError(type(error).__name__) from None
        except ValueError:
            raise ValueError("an answer that isn't JSON") from None
        if not isinstance(content, dict) or not content.get("ok"):
            why = content.get("description") if isinstance(content, dict) else None
            raise ValueError(f"{method} was refused: {why or 'no reason given'}")
        return content["result"]

    async def messages(self, http: Any) -> list[dict[str, Any]]:
        """New messages of the configured chat, waited for."""
        updates = await self.call(http, "getUpdates", offset=self._offset, timeout=POLL_S, allowed_updates=["message"])
        for update in updates:
            self._offset = max(self._offset, int(update["update_id"]) + 1)
        found = [u["message"] for u in updates if isinstance(u.get("message"), dict)]
        return [m for m in found if m.get("chat", {}).get("id") == self._given.chat]

    async def say(self, http: Any, text: str) -> None:
        await self.call(http, "sendMessage", chat_id=self._given.chat, text=text)


async def take_orders(process: Process) -> None:
    """Hear the chat until cancelled; returns at once if it isn't wanted, and after an alert if it can't be."""
    try:
        given = settings(os.environ)
    except BadConfig as error:
        await process.alert(Level.WARNING, "TELEGRAM", str(error))
        return
    if given is None:
        return
    import aiohttp

    bot, talk = Bot(given), Conversation(process.manifest.session_id, lambda: f"{secrets.randbelow(10_000):04}")
    began, hearing = int(time.time()), _Hearing(process)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=POLL_S + 15)) as http:
        while True:
            try:
                for message in await bot.messages(http):
                    if int(message.get("date", 0)) >= began + bot.ahead - 1:  # both clocks are told in whole seconds
                        await _answer(process, bot, http, talk.hear(str(message.get("text", "")), time.time()))
                await hearing.works()
            except Exception as error:  # no message, whatever is in it, ends the Monitor
                process.log.warning("telegram", error=f"{type(error).__name__}: {error}")
                await hearing.fails(error)
                await asyncio.sleep(RETRY_S)


class _Hearing:
    """Tells people when the chat can't be heard, and when it can again: who counts on a kill from there must know."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._heard_at, self._told = time.monotonic(), False

    async def works(self) -> None:
        if self._told and await self._tell(Level.INFO, "the chat is heard again", resolved=True):
            self._told = False
        self._heard_at = time.monotonic()

    async def fails(self, error: Exception) -> None:
        if self._told or time.monotonic() - self._heard_at < TELL_AFTER_S:
            return
        text = f"no kill or halt by Telegram, its chat can't be heard: {error} (each session needs a bot of its own)"
        self._told = await self._tell(Level.WARNING, text)

    async def _tell(self, level: Level, text: str, *, resolved: bool = False) -> bool:
        """Without the bus it is said at the next look: a bus that hangs keeps no message waiting."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._process.alert(level, "TELEGRAM", text, resolved=resolved)
        except (redis.RedisError, OSError):
            return False
        return True


async def _answer(process: Process, bot: Bot, http: Any, answer: Answer) -> None:
    """Do first, then say: an answer that can't be sent holds nothing up."""
    text = answer.text
    if answer.control is not None:
        text = await asyncio.to_thread(_perform, process, answer.control)
    try:
        await bot.say(http, await _status(process) if answer.status else text)
    except Exception as error:  # the messages behind this one are heard all the same
        process.log.warning("telegram", error=f"{type(error).__name__}: {error}")


def _perform(process: Process, control: Control) -> str:
    try:
        reached = request(process.folder, control)
    except TradeAlgoError as error:
        return f"{control.action} was not done: {error}"
    ways = [name for name in ("flag", "bus") if reached[name]]
    return f"{control.action} asked ({', '.join(ways)}); /status says what became of it"


async def _status(process: Process) -> str:
    """The session's state and figures, as last published. A bus that hangs holds up no kill that comes behind this."""
    lines = [f"{process.manifest.mode} {process.manifest.account}, session {process.manifest.session_id}"]
    try:
        async with asyncio.timeout(PATIENCE_S):
            state, mtm = await process.bus.last(Stream.STATE), await process.bus.last(Stream.MTM)
    except (redis.RedisError, OSError):
        return f"{lines[0]}\nthe bus gives no answer, so its state isn't known here; a kill works"
    if state is not None:
        said = state.message
        lines.append(f"trading {said.trading}, kill {said.kill}" + (f": {said.reason}" if said.reason else ""))
    if mtm is not None:
        lines.append(f"MTM Rs {mtm.message.mtm / 100:,.2f}, the kill trips at Rs {mtm.message.limit / 100:,.2f}")
    return "\n".join(lines)
