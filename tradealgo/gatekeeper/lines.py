"""HTTP/1.1 to one host, for order calls: a request goes out in one write, on a connection that is kept open between them.

A general client takes three hundred microseconds to make a request that is always the same but for its form, and sends
some requests a second time by itself. This one tells apart what its caller must: NoConnection means that not a byte was
sent. Any other error may have come after the server acted. The answer's end is found as RFC 9112 (section 6.3) has it.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from typing import NamedTuple
from urllib.parse import urlsplit

#: Requests under way at most, each on a connection of its own.
LINES = 32
#: A connection that the server closed while idle would turn an order call into one of unknown outcome: let go of it earlier.
IDLE_S = 15.0
LONGEST_HEAD = 65_536
_END = b"\r\n\r\n"
_NO_BODY = (204, 304)


class NoConnection(ConnectionError):
    """Nothing was sent: no connection could be made, or none became free."""


class BadReply(ConnectionError):
    """What the server said isn't an HTTP/1.1 answer."""


class Reply(NamedTuple):
    """An answer. Names of headers are in lower case. `keeps`: the connection can take another request."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    keeps: bool


class Lines:
    """Connections to the host of `url`, made when needed. What `url` has of a path comes before every target."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._ssl else 80)
        self._path, self._name = parts.path.rstrip("/"), f"Host: {parts.netloc}\r\n"
        self._room = asyncio.Semaphore(LINES)
        self._idle: list[tuple[_Line, float]] = []  # and since when, the latest last

    async def request(self, method: str, target: str, headers: str, body: bytes, connect_s: float) -> Reply:
        """Ask once. Raises NoConnection, BadReply, OSError.

        Args:
            headers: lines that end in CRLF each; Host and Content-Length are added.
            connect_s: seconds that getting a connection may take.
        """
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {self._path}{target} HTTP/1.1\r\n{self._name}{headers}{length}\r\n"
        line = await self._line(connect_s)
        try:
            reply = await line.ask(head.encode("latin-1") + body)
        except BaseException:
            line.transport.abort()
            raise
        finally:
            self._room.release()
        if reply.keeps and line.is_free:
            self._idle.append((line, time.monotonic()))
        else:
            line.transport.close()
        return reply

    async def close(self) -> None:
        """Let go of idle connections."""
        while self._idle:
            self._idle.pop()[0].transport.close()
        await asyncio.sleep(0)  # they close when the loop turns

    async def _line(self, connect_s: float) -> _Line:
        try:
            async with asyncio.timeout(connect_s):
                await self._room.acquire()
                try:
                    return self._warm() or await self._connected()
                except BaseException:
                    self._room.release()
                    raise
        except OSError as error:
            raise NoConnection(str(error) or f"none within {connect_s:g} s") from error

    def _warm(self) -> _Line | None:
        while self._idle:
            line, since = self._idle.pop()
            if line.is_free and time.monotonic() - since < IDLE_S:
                return line
            line.transport.close()
        return None

    async def _connected(self) -> _Line:
        _, line = await asyncio.get_running_loop().create_connection(
            _Line, self._host, self._port, ssl=self._ssl, happy_eyeballs_delay=0.25
        )
        return line


class _Line(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._heard = b""
        self._answer: asyncio.Future[Reply] | None = None

    @property
    def is_free(self) -> bool:
        return self._answer is None and not self.transport.is_closing()

    async def ask(self, request: bytes) -> Reply:
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        self._look(False)

    def eof_received(self) -> None:
        self._look(True)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server hung up before it answered"))

    def _look(self, ended: bool) -> None:
        if self._answer is None or self._answer.done():  # nobody asked: whatever it is, the next request mustn't get it
            self.transport.abort()
            return
        try:
            found = read_reply(self._heard, ended)
        except (ValueError, BadReply) as error:
            self._answer.set_exception(BadReply(f"not an HTTP answer: {error}"))
            return
        if found is not None:
            reply, rest = found
            self._heard = b""
            self._answer.set_result(reply._replace(keeps=reply.keeps and not rest and not ended))


def read_reply(heard: bytes, ended: bool = False) -> tuple[Reply, bytes] | None:
    """The answer at the beginning of `heard` and what follows it; None while it isn't whole. Raises BadReply, ValueError.

    Args:
        ended: nothing more will come.
    """
    head, end, rest = heard.partition(_END)
    if not end:
        if len(head) > LONGEST_HEAD:
            raise BadReply(f"its head is longer than {LONGEST_HEAD} bytes")
        return None
    first, *lines = head.split(b"\r\n")
    version, _, words = first.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not words[:3].isdigit():
        raise BadReply(f"it begins with {first[:60]!r}")
    status = int(words[:3])
    if 100 <= status < 200:  # the answer itself is still to come
        return read_reply(rest, ended)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    found = _body(status, headers, rest, ended)
    if found is None:
        return None
    body, rest, keeps = found
    if headers.get(b"content-encoding") == b"gzip":
        body = _unpacked(body)
    keeps = keeps and version == b"HTTP/1.1" and b"close" not in headers.get(b"connection", b"").lower()
    return Reply(status, headers, body, keeps), rest


def _body(status: int, headers: dict[bytes, bytes], rest: bytes, ended: bool) -> tuple[bytes, bytes, bool] | None:
    """The body, what follows it, and whether its end could be told without the connection's; None while it isn't whole."""
    if status in _NO_BODY:
        return b"", rest, True
    if coding := headers.get(b"transfer-encoding"):
        if coding.lower() != b"chunked":
            raise BadReply(f"its transfer encoding is {coding!r}")
        found = _chunks(rest)
        return found and (*found, True)
    if b"content-length" in headers:
        length = _length(headers[b"content-length"], 10)
        return (rest[:length], rest[length:], True) if len(rest) >= length else None
    return (rest, b"", False) if ended else None


def _chunks(rest: bytes) -> tuple[bytes, bytes] | None:
    """A chunked body and what follows it."""
    parts: list[bytes] = []
    while True:
        size, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        length = _length(size.partition(b";")[0].strip(), 16)
        if not length:
            break
        if len(rest) < length + 2:
            return None
        parts.append(rest[:length])
        rest = rest[length + 2 :]
    if rest.startswith(b"\r\n"):
        return b"".join(parts), rest[2:]
    _, end, rest = rest.partition(_END)  # trailers
    return (b"".join(parts), rest) if end else None


def _length(digits: bytes, base: int) -> int:
    if not digits.isalnum():  # int() would take a sign
        raise BadReply(f"{digits!r} is no length")
    return int(digits, base)


def _unpacked(body: bytes) -> bytes:
    try:
        return gzip.decompress(body)
    except (EOFError, OSError) as error:
        raise BadReply(f"its body is no gzip: {error}") from error
