"""Every Redis key of the project. `{session}` is a hash tag: a session's keys live on one Redis Cluster shard."""

from __future__ import annotations

from enum import StrEnum


class Stream(StrEnum):
    """What flows, and who writes it."""

    __hash__ = str.__hash__  # Enum's own is a call into Python

    TICKS = "ticks"  # Producer: one entry a WebSocket frame
    UPDATES = "updates"  # Producer: BrokerUpdate, the order messages of the broker's socket
    CANDLES = "candles"  # Consumer: ClosedCandle
    SIGNALS = "signals"  # Consumer: SignalRecord, one a candle
    REQUESTS = "requests"  # Consumer: OrderRequest; read through the group GATEKEEPER_GROUP
    VERDICTS = "verdicts"  # Gatekeeper: Verdict
    ORDERS = "orders"  # Gatekeeper: Order, one entry a change
    FILLS = "fills"  # Gatekeeper: Fill
    MTM = "mtm"  # Gatekeeper: MtmPoint, at most 10 a second
    STATE = "state"  # Gatekeeper: SessionState, at each change
    CONTROL = "control"  # people: Control. The only stream that a notebook or the desk writes
    HEALTH = "health"  # every module: Beat
    ALERTS = "alerts"  # every module: Alert


#: The Gatekeeper's consumer group on REQUESTS: acknowledged after the journal has the request.
GATEKEEPER_GROUP = "gatekeeper"

#: Seconds that a stream's entries are kept (XADD MINID ~). Ticks are the bulk, from 4 MB in ten minutes for 50 instruments
#: to 700 MB for 9,000; a reader that was away for longer has a gap.
KEEP_S: dict[Stream, int] = {Stream.TICKS: 600}

#: Entries kept a stream (XADD MAXLEN ~); None: all, or by time.
#: Candles and requests are never trimmed within a session: a restarted Consumer replays them.
MAX_ENTRIES: dict[Stream, int | None] = {
    Stream.TICKS: None,
    Stream.UPDATES: 100_000,
    Stream.CANDLES: None,
    Stream.SIGNALS: None,
    Stream.REQUESTS: None,
    Stream.VERDICTS: None,
    Stream.ORDERS: None,
    Stream.FILLS: None,
    Stream.MTM: 300_000,
    Stream.STATE: 10_000,
    Stream.CONTROL: 10_000,
    Stream.HEALTH: 5_000,
    Stream.ALERTS: 10_000,
}


def stream_key(session_id: str, stream: Stream) -> str:
    """Key of a session's stream."""
    return f"tradealgo:{{{session_id}}}:{stream.value}"


def snapshot_key(session_id: str, module: str) -> str:
    """Key of a module's restart snapshot: bytes, written in one transaction with what it published."""
    return f"tradealgo:{{{session_id}}}:snapshot:{module}"


def instruments_key(session_id: str) -> str:
    """Key of the session's instruments (msgpack list of Instrument), written by the Sentinel from today's dump."""
    return f"tradealgo:{{{session_id}}}:instruments"
