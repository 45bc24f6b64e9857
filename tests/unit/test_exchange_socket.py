"""One client's socket of the paper exchange: what is queued leaves once, in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tradealgo.exchange import ws


class HeldUp:
    """A socket whose first message is taken only when it may go: the client has stood still, and its buffer is full."""

    def __init__(self) -> None:
        self.asked, self.may_go = asyncio.Event(), asyncio.Event()
        self.sent: asyncio.Queue[bytes | str] = asyncio.Queue()

    async def send_bytes(self, message: bytes | str) -> None:
        self.asked.set()
        await self.may_go.wait()
        self.sent.put_nowait(message)

    send_str = send_bytes


async def test_what_comes_while_a_heartbeat_is_on_its_way_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame and an order's update behind it."""
    monkeypatch.setattr(ws, "HEARTBEAT_S", 0.01)
    socket: Any = HeldUp()
    connection = ws.Connection(socket, None)
    sending = asyncio.ensure_future(connection.keep_sending())
    async with asyncio.timeout(60):
        await socket.asked.wait()
        connection.send(b"frame")
        connection.send("update")
        socket.may_go.set()
        assert [await socket.sent.get() for _ in range(3)] == [ws.HEARTBEAT, b"frame", "update"]
    sending.cancel()
