"""The order calls' HTTP: where an answer ends, however it is cut, and which connections take another request."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from pathlib import Path

import pytest
from certificates import certificate
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.gatekeeper.lines import LONGEST_HEAD, Answer, Asked, BadReply, Lines, NoConnection

BODY = b'{"status": "success", "data": {"order_id": "1"}}'
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"1e;x=y\r\n" + BODY[:30] + b"\r\n" + b"%X\r\n" % len(BODY[30:]) + BODY[30:] + b"\r\n0\r\n"
WHOLE = {
    "sized": SIZED,
    "chunked": CHUNKED + CHUNKS + b"\r\n",
    "trailers": CHUNKED + CHUNKS + b"Checksum: 1\r\n\r\n",
    "continued": b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED,
}


def heard(*parts: bytes, ended: bool = False) -> Answer:
    answer = Answer()
    for part in parts:
        answer.hear(part)
    if ended:
        answer.end()
    return answer


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
def test_an_answer_is_whole_at_its_last_byte(name: str, data: st.DataObject) -> None:
    """Not one byte earlier, however it is cut, and what follows is noticed."""
    whole = WHOLE[name]
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert heard(whole[:cut]).reply is None
    assert heard(whole[:cut], ended=True).reply is None
    more = data.draw(st.binary(max_size=5).filter(lambda b: b.strip(b"\r\n") or not b))  # llhttp skips empty lines
    found = heard(whole[:cut], whole[cut:] + more)
    assert found.reply is not None
    assert (found.reply.status, found.reply.body, found.reply.keeps) == (200, BODY, True)
    assert found.is_over == bool(more)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """Which then carries no other."""
    page = b"HTTP/1.1 502 Bad Gateway\r\nServer: x\r\n\r\n<html>"
    assert heard(page).reply is None
    found = heard(page, ended=True).reply
    assert found is not None
    assert (found.status, found.body, found.keeps) == (502, b"<html>", False)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.0 200 OK\r\nContent-Length: 0", b"HTTP/1.1 200 OK\r\nCONNECTION: Close\r\nContent-Length: 0"]
)
def test_a_server_that_hangs_up_afterwards_gets_no_other_request(head: bytes) -> None:
    """As its version or its headers say."""
    found = heard(head + b"\r\n\r\n").reply
    assert found is not None
    assert not found.keeps


def test_a_zipped_answer_is_unpacked() -> None:
    """The order book is long."""
    body = gzip.compress(BODY)
    found = heard(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body).reply
    assert found is not None
    assert found.body == BODY


@pytest.mark.parametrize(
    "page",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 yes\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * LONGEST_HEAD,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_said_to_be_none(page: bytes) -> None:
    """And never taken for a yes or a no."""
    with pytest.raises(BadReply, match=r"not an HTTP answer"):
        heard(page)


def test_a_zipped_answer_that_ends_with_its_connection_is_checked_too() -> None:
    """Its head is right and its data are not."""
    answer = heard(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(BODY)[:10] + b"\xff" * 20)
    with pytest.raises(BadReply, match="no gzip"):
        answer.end()


class Server:
    """Answers each request with the next of its answers, and counts its connections."""

    def __init__(self, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.answers, self.connections, self.heard = list(answers), 0, list[bytes]()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self.tls)
        scheme = "https" if self.tls else "http"
        self.lines = Lines(f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/base/")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.lines.close()
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heard.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.answers.pop(0))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def ask(self) -> bytes:
        return await self.answered(self.lines.write("GET", "/orders", "A: b\r\n", b""))

    async def answered(self, asked: Asked) -> bytes:
        if asked.line is None:
            asked = await self.lines.connect(asked, 5.0)
            self.lines.send(asked)
        return (await self.lines.answer(asked)).body


async def test_a_connection_is_kept_and_takes_the_next_request() -> None:
    """The path before every target is the address's own."""
    async with Server(SIZED, SIZED) as server:
        assert await server.ask() == await server.ask() == BODY
        assert server.connections == 1
        port = server.lines._port
        assert server.heard == [b"GET /base/orders HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nA: b\r\n\r\n" % port] * 2


async def test_what_comes_unasked_is_no_answer_to_the_next_request() -> None:
    """Two answers to one request: the connection is let go, whenever the second comes."""
    async with Server(SIZED + SIZED.replace(b"200", b"500"), SIZED) as server:
        await server.ask()
        await asyncio.sleep(0.01)
        assert await server.ask() == BODY
        assert server.connections == 2


async def test_connections_that_are_ready_take_requests() -> None:
    """Those that are open count; the first request of each leaves at once."""
    async with Server(*[SIZED] * 4) as server:
        await server.lines.be_ready(2, 5.0)
        await server.ask()
        await server.lines.be_ready(3, 5.0)
        asked = [server.lines.write("GET", "/orders", "", b"") for _ in range(3)]
        assert all(a.line is not None for a in asked)
        assert [await server.answered(a) for a in asked] == [BODY] * 3
        assert server.connections == 3


async def test_a_connection_that_idled_or_was_closed_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is made anew."""
    async with Server() as server:
        await server.lines.be_ready(2, 5.0)
        monkeypatch.setattr("tradealgo.gatekeeper.lines.IDLE_S", 0.0)
        await server.lines.be_ready(2, 5.0)
        assert len(server.lines._idle) == 2
        monkeypatch.undo()
        server.lines._idle[0][0].transport.close()
        await server.lines.be_ready(2, 5.0)
        while server.connections < 5:  # noqa: ASYNC110 (another task's count)
            await asyncio.sleep(0.01)
        assert len(server.lines._idle) == 2


async def test_where_nobody_listens_nothing_is_ready() -> None:
    """Which isn't an error: a call will say so."""
    lines = Lines("http://127.0.0.1:9")
    await lines.be_ready(2, 5.0)
    assert lines.write("GET", "/orders", "", b"").line is None


async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    """And none is lost."""
    async with Server(*[SIZED] * 10) as server:
        assert await asyncio.gather(*(server.ask() for _ in range(10))) == [BODY] * 10
        assert server.connections == 10


async def test_a_request_that_was_given_up_takes_its_connection_along() -> None:
    """Its answer would be the next one's."""
    async with Server(SIZED[:-1], SIZED) as server:
        asking = asyncio.create_task(server.ask())
        while not server.heard:  # noqa: ASYNC110 (another task's list)
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking])
        assert await server.ask() == BODY
        assert server.connections == 2


async def test_nobody_listens() -> None:
    """Not a byte was sent, and the error says so."""
    lines = Lines("http://127.0.0.1:9")
    with pytest.raises(NoConnection, match="Connect call failed"):
        await lines.connect(lines.write("POST", "/orders", "", b"x"), 5.0)


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """A server's side, with a certificate of `ca.pem`."""
    certificate(tmp_path, "server", certificate(tmp_path, "ca"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    return context


async def test_over_tls_it_is_the_same(tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the broker: one connection for several requests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with Server(SIZED, CHUNKED + CHUNKS + b"\r\n", tls=tls) as server:
        assert await server.ask() == await server.ask() == BODY
        assert server.connections == 1


async def test_a_server_that_cannot_prove_its_name_hears_nothing(tls: ssl.SSLContext) -> None:
    """Its certificate is nobody's that this machine trusts: not sent."""
    async with Server(SIZED, tls=tls) as server:
        with pytest.raises(NoConnection, match="CERTIFICATE_VERIFY_FAILED"):
            await server.ask()
        assert server.heard == []
