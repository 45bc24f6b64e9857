"""Commands to the bus on connections that are kept in hand, for what happens at every tick and order.

redis-py's client gives a connection back after each command and takes it again for the next: locks, events and metrics that
take three times as long as the command. What it does about failures is the same here: a connection that breaks is made
anew, and the command tried again as often as the client is told to.
"""

from __future__ import annotations

from typing import Any

import hiredis
import redis
import redis.asyncio


class Wires:
    """The connections of one client that its user holds. Closing the client closes them too."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._pool = client.connection_pool
        self._free: list[Any] = []

    async def take(self) -> Any:
        """A connection for as long as one needs it, then to be given back."""
        if not self._free:
            return await self._pool.get_connection()
        connection = self._free.pop()
        if connection.is_connected and connection._reader.at_eof():  # what the pool asks of one that it hands out
            await connection.disconnect(nowait=True)  # and the next command makes it anew
        return connection

    def give(self, connection: Any) -> None:
        """Take back a connection with no answer outstanding, or a broken one."""
        self._free.append(connection)

    async def ask(self, *command: Any) -> Any:
        """A command's answer as the server gave it. Raises redis.RedisError."""
        try:
            packed = [hiredis.pack_command(command)]
        except TypeError as error:
            raise redis.DataError(f"a command may hold str, bytes, int and float alone: {error}") from error
        connection = await self.take()

        async def once() -> Any:
            await connection.send_packed_command(packed)
            return await connection.read_response()

        async def failed(error: Exception) -> None:
            await connection.disconnect(nowait=True)

        try:
            return await connection.retry.call_with_retry(once, failed)
        finally:
            self.give(connection)  # an error or a cancellation has disconnected it, unless the server said no
