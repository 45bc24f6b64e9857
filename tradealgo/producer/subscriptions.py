"""Which instrument goes over which connection, and what is said to the broker to get it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tradealgo.domain.errors import InvalidInput

#: Kite Connect's limits: instruments a WebSocket connection, connections an API key.
MAX_PER_CONNECTION = 3_000
MAX_CONNECTIONS = 3


def shards(tokens: Sequence[int]) -> list[list[int]]:
    """Tokens dealt over as few connections as hold them, balanced to within one. Raises InvalidInput above 9,000."""
    unique = list(dict.fromkeys(tokens))
    if not unique:
        raise InvalidInput("no instruments to subscribe to: name at least one in launch(instruments=[...])")
    if len(unique) > MAX_PER_CONNECTION * MAX_CONNECTIONS:
        raise InvalidInput(
            f"{len(unique):,} instruments are more than the broker's {MAX_PER_CONNECTION * MAX_CONNECTIONS:,} "
            f"({MAX_CONNECTIONS} connections of {MAX_PER_CONNECTION:,}): leave some out, or use a second API key"
        )
    connections = -(-len(unique) // MAX_PER_CONNECTION)
    return [unique[n::connections] for n in range(connections)]


def subscribe(tokens: Sequence[int]) -> list[str]:
    """The messages that subscribe to instruments in full mode; candles need it, because only it carries time."""
    return [
        msgspec.json.encode({"a": "subscribe", "v": list(tokens)}).decode(),
        msgspec.json.encode({"a": "mode", "v": ["full", list(tokens)]}).decode(),
    ]


def unsubscribe(tokens: Sequence[int]) -> str:
    """The message that ends subscriptions."""
    return msgspec.json.encode({"a": "unsubscribe", "v": list(tokens)}).decode()
