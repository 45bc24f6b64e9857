"""Which instrument goes over which connection, and what is said to the broker to get it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain, zip_longest

import msgspec

from tradealgo.domain.errors import InvalidInput

#: Kite Connect's limits: instruments a WebSocket connection, connections an API key.
MAX_PER_CONNECTION = 3_000
MAX_CONNECTIONS = 3


def shards(tokens: Sequence[int]) -> list[list[int]]:
    """Tokens dealt over connections, balanced to within one. Raises InvalidInput above 9,000.

    Up to 3,000 go over one connection. More are dealt over all three, not over as few as hold them: up to 6,000 then
    have room on the other two when one connection fails.
    """
    unique = list(dict.fromkeys(tokens))
    if not unique:
        raise InvalidInput("no instruments to subscribe to: name at least one in launch(instruments=[...])")
    if len(unique) > MAX_PER_CONNECTION * MAX_CONNECTIONS:
        raise InvalidInput(
            f"{len(unique):,} instruments are more than the broker's {MAX_PER_CONNECTION * MAX_CONNECTIONS:,} "
            f"({MAX_CONNECTIONS} connections of {MAX_PER_CONNECTION:,}): leave some out, or use a second API key"
        )
    connections = 1 if len(unique) <= MAX_PER_CONNECTION else MAX_CONNECTIONS
    return [unique[n::connections] for n in range(connections)]


def guests(homes: Sequence[Sequence[int]], down: Collection[int], room: int = MAX_PER_CONNECTION) -> list[list[int]]:
    """What each connection carries besides its own while those in `down` are dead: their tokens, as far as there is room.

    The first ones of each dead connection come first, and each goes where most room is left.
    """
    found: list[list[int]] = [[] for _ in homes]
    free = {n: room - len(home) for n, home in enumerate(homes) if n not in down}
    orphans = chain.from_iterable(zip_longest(*(homes[n] for n in sorted(down))))
    for token in (t for t in orphans if t is not None):
        host = max(free, key=lambda n: free[n], default=None)
        if host is None or free[host] <= 0:
            break
        found[host].append(token)
        free[host] -= 1
    return found


def subscribe(tokens: Sequence[int]) -> list[str]:
    """The messages that subscribe to instruments in full mode; candles need it, because only it carries time."""
    return [
        msgspec.json.encode({"a": "subscribe", "v": list(tokens)}).decode(),
        msgspec.json.encode({"a": "mode", "v": ["full", list(tokens)]}).decode(),
    ]


def unsubscribe(tokens: Sequence[int]) -> str:
    """The message that ends subscriptions."""
    return msgspec.json.encode({"a": "unsubscribe", "v": list(tokens)}).decode()
