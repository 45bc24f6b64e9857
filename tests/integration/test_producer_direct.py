"""The Producer's short cut for binary messages, against a real server of websockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close, Frame, Opcode

from tradealgo.producer.direct import DirectSocket


async def _speak(socket: ServerConnection) -> None:
    """Once asked: a binary message, a text, a binary one in fragments, another whole one."""
    await socket.send(b"early")
    await socket.recv()
    await socket.send(b"one")
    await socket.send("text")
    await socket.send([b"in ", b"pieces"])
    await socket.send(b"two")
    await socket.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(_speak, "127.0.0.1", 0, compression=None) as running:
        yield running


async def _connected(server: Server) -> DirectSocket:
    port = server.sockets[0].getsockname()[1]
    socket = await connect(f"ws://127.0.0.1:{port}", create_connection=DirectSocket, compression=None)
    assert isinstance(socket, DirectSocket)
    return socket


async def test_whole_binary_messages_go_to_the_taker_and_all_others_through_the_queue(server: Server) -> None:
    """What came before there was a taker is in the queue as well."""
    socket, taken = await _connected(server), list[bytes]()
    assert await socket.recv() == b"early"
    socket.taker = lambda data: taken.append(bytes(data))
    await socket.send("go on")
    assert [await socket.recv(), await socket.recv()] == ["text", b"in pieces"]
    await socket.close()
    assert taken == [b"one", b"two"]


async def test_an_error_of_the_taker_ends_the_connection_and_is_kept(server: Server) -> None:
    """The next message isn't taken."""
    socket = await _connected(server)
    assert await socket.recv() == b"early"

    def taker(data: bytes) -> None:
        raise ValueError(data)

    socket.taker = taker
    await socket.send("go on")
    await asyncio.wait_for(socket.wait_closed(), 10)
    assert isinstance(socket.failure, ValueError)
    assert socket.failure.args == (b"one",)


def _wire(opcode: Opcode, data: bytes, *, mask: bool = False) -> bytes:
    return Frame(opcode, data).serialize(mask=mask)


def _feed(socket: DirectSocket, data: bytes) -> None:
    """As the event loop does with what comes from the wire."""
    while data:
        room = socket.get_buffer(-1)
        n = min(len(room), len(data))
        room[:n], data = data[:n], data[n:]
        socket.buffer_updated(n)


async def _fed(server: Server) -> tuple[DirectSocket, list[bytes]]:
    """A connection whose bytes the test brings, and what its taker got: views, not copies, of a buffer used again."""
    socket, taken = await _connected(server), list[bytes]()
    assert await socket.recv() == b"early"

    def taker(data: bytes | memoryview) -> None:
        assert isinstance(data, memoryview) or data == b"two"  # the library's own after the fragments
        taken.append(bytes(data))

    socket.taker = taker
    return socket, taken


@pytest.mark.parametrize("step", [1, 2, 3, 5, 127, 1_000, 65_536, 1_000_000])
async def test_messages_are_the_same_however_the_bytes_are_cut(server: Server, step: int) -> None:
    """Every form of length, with texts and pings between; the short cut takes all binary ones."""
    socket, taken = await _fed(server)
    messages = [
        bytes([n]) * length for n, length in enumerate([0, 1, 125, 126, 300, 65_535, 65_536, 70_000, 2, 2**20, 3])
    ]
    stream = b"".join(
        _wire(Opcode.BINARY, message) + _wire(Opcode.PING, b"p") + _wire(Opcode.TEXT, b"text") for message in messages
    )
    for at in range(0, len(stream), step):
        _feed(socket, stream[at : at + step])
    assert taken == messages
    assert [await socket.recv() for _ in messages] == ["text"] * len(messages)
    await socket.close()


async def test_fragments_between_messages_are_put_together_by_the_library(server: Server) -> None:
    """From there on it cuts the frames, and whole binary messages still go to the taker."""
    socket, taken = await _fed(server)
    parts = Frame(Opcode.BINARY, b"in ", fin=False).serialize(mask=False) + _wire(Opcode.CONT, b"pieces")
    stream = _wire(Opcode.BINARY, b"one") + parts + _wire(Opcode.BINARY, b"two")
    for at in range(0, len(stream), 4):
        _feed(socket, stream[at : at + 4])
    assert await socket.recv() == b"in pieces"
    assert taken == [b"one", b"two"]
    await socket.close()


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (_wire(Opcode.CLOSE, Close(1001, "bye").serialize()), 1001),
        (_wire(Opcode.BINARY, b"masked", mask=True), 1002),
        (b"\xc2\x01x", 1002),  # a reserved bit
        (b"\x82\x7f" + (2**62).to_bytes(8), 1009),
    ],
    ids=["closed", "masked", "reserved bit", "too long"],  # a mask is random: two workers would know it by two names
)
async def test_the_library_ends_the_connection_as_ever(server: Server, last: bytes, code: int) -> None:
    """What came before the end is taken, what comes behind it isn't."""
    socket, taken = await _fed(server)
    _feed(socket, _wire(Opcode.BINARY, b"one") + last + _wire(Opcode.BINARY, b"two"))
    with pytest.raises(ConnectionClosed) as raised:
        await socket.recv()
    close = raised.value.rcvd if code == 1001 else raised.value.sent
    assert close is not None
    assert close.code == code
    assert taken == [b"one"]
