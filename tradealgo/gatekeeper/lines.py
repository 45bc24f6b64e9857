"""HTTP/1.1 to one host, for order calls: a request goes out in one write, on a connection that is kept open between them.

A general client takes three hundred microseconds to make a request that is always the same but for its form, and sends
some requests a second time by itself. This one tells apart what its caller must: NoConnection means that not a byte was
sent. Any other error may have come after the server acted. Answers are read by llhttp, Node's parser, through httptools.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
import zlib
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

#: A connection that the server closed while idle would turn an order call into one of unknown outcome: let go of it earlier.
IDLE_S = 15.0
LONGEST_HEAD = 65_536


class NoConnection(ConnectionError):
    """Nothing was sent: no connection could be made."""


class BadReply(ConnectionError):
    """What the server said isn't an HTTP/1.1 answer."""


class Reply(NamedTuple):
    """An answer. Names of headers are in lower case. `keeps`: the connection can take another request."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    keeps: bool


class Asked(NamedTuple):
    """A request, and the connection that it has left on; None: it still needs one."""

    text: bytes
    line: _Line | None


class Lines:
    """Connections to the host of `url`, each made when needed: as many as there are requests at once. What `url` has of a
    path comes before every target.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._ssl else 80)
        self._path, self._name = parts.path.rstrip("/"), f"Host: {parts.netloc}\r\n"
        self._idle: list[tuple[_Line, float]] = []  # and since when, the latest last

    def write(self, method: str, target: str, headers: str, body: bytes) -> Asked:
        """Make a request. Where a connection is open and free it has left when this returns.

        Args:
            headers: lines that end in CRLF each; Host and Content-Length are added.
        """
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {self._path}{target} HTTP/1.1\r\n{self._name}{headers}{length}\r\n"
        asked = Asked(head.encode("latin-1") + body, self._warm())
        if asked.line is not None:
            asked.line.send(asked.text)
        return asked

    async def connect(self, asked: Asked, within_s: float) -> Asked:
        """A connection for a request that has none. It hasn't left yet: `send` it, or `spare` its connection. Raises
        NoConnection.
        """
        return asked._replace(line=await self._connected(within_s))

    def send(self, asked: Asked) -> None:
        """Write a request that has got its connection."""
        assert asked.line is not None
        asked.line.send(asked.text)

    def spare(self, asked: Asked) -> None:
        """A request won't be sent after all: keep its connection for another."""
        assert asked.line is not None
        self._idle.append((asked.line, time.monotonic()))

    async def answer(self, asked: Asked) -> Reply:
        """Wait for the answer to a request that has left. Raises BadReply, OSError."""
        line = asked.line
        assert line is not None
        try:
            reply = await line.answer()
        except BaseException:
            line.transport.abort()
            raise
        if reply.keeps and line.is_free:
            self._idle.append((line, time.monotonic()))
        else:
            line.transport.close()
        return reply

    async def be_ready(self, count: int, connect_s: float) -> None:
        """Have `count` connections open for requests that will come soon; those that can't be made aren't."""
        fresh = [self._connected(connect_s) for _ in range(count - self._let_go(IDLE_S / 2))]
        for line in await asyncio.gather(*fresh, return_exceptions=True):
            if isinstance(line, _Line):
                self._idle.append((line, time.monotonic()))

    def _let_go(self, idle_s: float) -> int:
        """Close connections that have been idle for longer; how many are left."""
        now = time.monotonic()
        for line, since in self._idle:
            if now - since > idle_s:
                line.transport.close()
        self._idle = [(line, since) for line, since in self._idle if line.is_free]
        return len(self._idle)

    async def close(self) -> None:
        """Let go of idle connections."""
        while self._idle:
            self._idle.pop()[0].transport.close()
        await asyncio.sleep(0)  # they close when the loop turns

    def _warm(self) -> _Line | None:
        while self._idle:
            line, since = self._idle.pop()
            if line.is_free and time.monotonic() - since < IDLE_S:
                return line
            line.transport.close()
        return None

    async def _connected(self, within_s: float) -> _Line:
        try:
            async with asyncio.timeout(within_s):
                _, line = await asyncio.get_running_loop().create_connection(
                    _Line, self._host, self._port, ssl=self._ssl, happy_eyeballs_delay=0.25
                )
        except OSError as error:
            raise NoConnection(str(error) or f"none within {within_s:g} s") from error
        if not line.is_free:
            raise NoConnection("the server hung up at once")
        return line


class Answer:
    """One request's answer, as it comes in."""

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.is_over = False  # something follows it that nobody asked for
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._length = 0
        self._body: list[bytes] = []
        self._in_body = False

    def hear(self, data: bytes) -> None:
        """Take what came next. Raises BadReply."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.reply is None:
                raise BadReply(f"not an HTTP answer: {error.__context__ or error}") from error
            self.is_over = True

    def end(self) -> None:
        """Nothing more will come, which ends a body that has no length."""
        if (
            self.reply is None
            and self._in_body
            and not self._headers.keys() & {b"content-length", b"transfer-encoding"}
        ):
            self._close(keeps=False)

    # ------------------------------------------------------------------ what httptools calls

    def on_message_begin(self) -> None:
        self.is_over = self.reply is not None

    def on_header(self, name: bytes, value: bytes) -> None:
        self._length += len(name) + len(value)
        if self._length > LONGEST_HEAD:
            raise BadReply(f"its head is longer than {LONGEST_HEAD} bytes")
        if self.reply is None:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, data: bytes) -> None:
        if self.reply is None:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # the answer itself is still to come
            self._headers.clear()
            self._in_body = False
        elif self.reply is None:
            self._close(keeps=self._parser.should_keep_alive())

    def _close(self, keeps: bool) -> None:
        body = b"".join(self._body)
        if self._headers.get(b"content-encoding") == b"gzip":
            body = _unpacked(body)
        self.reply = Reply(self._parser.get_status_code(), self._headers, body, keeps)


class _Line(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._answer = Answer()
        self._asked: asyncio.Future[Reply] | None = None

    @property
    def is_free(self) -> bool:
        return self._asked is None and not self.transport.is_closing()

    def send(self, request: bytes) -> None:
        """Write a request; `answer` waits for what comes of it."""
        self.transport.write(request)
        self._answer, self._asked = Answer(), asyncio.get_running_loop().create_future()

    async def answer(self) -> Reply:
        assert self._asked is not None
        try:
            return await self._asked
        finally:
            self._asked = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._asked is None or self._asked.done():  # nobody asked: whatever it is, the next request mustn't get it
            self.transport.abort()
            return
        try:
            self._answer.hear(data)
        except BadReply as error:
            self._asked.set_exception(error)
        self._tell()

    def eof_received(self) -> None:
        self._answer.end()
        self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(error or ConnectionResetError("the server hung up before it answered"))

    def _tell(self) -> None:
        reply = self._answer.reply
        if reply is not None and self._asked is not None and not self._asked.done():
            self._asked.set_result(reply._replace(keeps=reply.keeps and not self._answer.is_over))


def _unpacked(body: bytes) -> bytes:
    try:
        return gzip.decompress(body)
    except (EOFError, OSError, zlib.error) as error:
        raise BadReply(f"its body is no gzip: {error}") from error
