"""The Producer's short cut for binary messages, against a real server of websockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve

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
    socket.taker = taken.append
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
