"""Faults by name: armed through `POST /_paper/faults`, met where the exchange asks for them. Random only by seed.

name                  what happens (where `count` and `probability` say so)
http_429              the request is refused: 429 NetworkException
http_500_html         the request is answered by a proxy's HTML page with status 500; so 429, 502, 503, 504
error                 the request is answered with `code`, `error_type` and `text`; an empty one is left out
drop_request          the TCP connection is closed without an answer; nothing was done
timeout_before        no answer for `seconds`; nothing was done
timeout_after_accept  the order call is carried out, but its answer never comes (silence for `seconds`, then close)
timeout_400           the order call is carried out, and answered 400 "Order request timed out"
drop_after_accept     the order call is carried out, then the connection is closed without an answer
slow                  the answer comes `seconds` late
reject                a placed order is accepted, then REJECTED by the exchange
fill_after_cancel     a cancel is acknowledged, but the order fills all the same
duplicate_update      an order update is sent twice
missing_update        an order update is never sent
reorder_updates       an order update is sent after the one that follows it
duplicate_ticks       a frame is sent twice
late_ticks            a frame is held back and sent after the one that follows it
garbage_frame         a frame of noise is sent before a frame of ticks
freak_price           a frame's last prices are ten times what they were (matching does not see it)
drop_socket           at once: all sockets are cut off without a close
mute_socket           at once: open sockets answer pings but send nothing more
half_open_socket      at once: open sockets neither read nor send
token_death           at once: the access token is dead
clock_skew            at once: the exchange's wall clock (Date header, rate windows) is `seconds` ahead
circuit_halt          at once: `instrument` takes no orders and fills none for `seconds` of data time
"""

from __future__ import annotations

import random

import msgspec

from tradealgo.domain.errors import InvalidInput

HTML_FAULTS = ("http_429_html", "http_500_html", "http_502_html", "http_503_html", "http_504_html")
#: Two days: a skewed clock must get past 06:00 of the day after a login, at whatever hour that was.
LONGEST_S = 172_800
REQUEST_FAULTS = ("http_429", *HTML_FAULTS, "error", "drop_request", "timeout_before", "slow")
ORDER_FAULTS = ("timeout_after_accept", "timeout_400", "drop_after_accept", "reject", "fill_after_cancel")
UPDATE_FAULTS = ("duplicate_update", "missing_update", "reorder_updates")
TICK_FAULTS = ("duplicate_ticks", "late_ticks", "garbage_frame", "freak_price")
ACTS = ("drop_socket", "mute_socket", "half_open_socket", "token_death", "clock_skew", "circuit_halt")
NAMES = (*REQUEST_FAULTS, *ORDER_FAULTS, *UPDATE_FAULTS, *TICK_FAULTS, *ACTS)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One order to misbehave. `count` is how often it strikes (0: until cleared); `path` and `method` narrow REST ones.

    `seconds` is wall-clock time, or data time for `circuit_halt`.
    """

    name: str
    count: int = 1
    probability: float = 1.0
    seed: int = 0
    seconds: float = 30.0
    path: str = ""
    method: str = ""
    instrument: str = ""
    code: int = 400
    error_type: str = "GeneralException"
    text: str = "17070 : The Price is out of the current execution range"

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise InvalidInput(f"unknown fault {self.name!r}: expected one of {', '.join(NAMES)}")
        if not 0 <= self.probability <= 1 or self.count < 0 or not 0 <= self.seconds <= LONGEST_S:
            raise InvalidInput(
                f"fault {self.name!r} needs probability 0 to 1, count >= 0 and seconds 0 to {LONGEST_S:,}"
            )
        if not 400 <= self.code < 600:
            raise InvalidInput(f"fault {self.name!r} needs a code of 400 to 599, got {self.code}")


class _Armed:
    def __init__(self, fault: Fault) -> None:
        self.fault, self.left, self.random = fault, fault.count, random.Random(fault.seed)

    def strikes(self, path: str, method: str) -> bool:
        """Whether it strikes this time; uses up one of its count if so."""
        fault = self.fault
        if not path.startswith(fault.path) or (fault.method and method != fault.method):
            return False
        if fault.probability < 1 and self.random.random() >= fault.probability:
            return False
        self.left -= 1
        return True


class Faults:
    """All that is armed. `struck` counts what has happened, by name."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self.struck: dict[str, int] = {}

    def arm(self, fault: Fault) -> None:
        self._armed.append(_Armed(fault))

    def clear(self) -> None:
        self._armed.clear()

    @property
    def any(self) -> bool:
        """Whether anything is armed."""
        return bool(self._armed)

    def take(self, names: tuple[str, ...], path: str = "", method: str = "") -> Fault | None:
        """The first armed fault of these names that strikes here; None if all is well."""
        for armed in self._armed if self._armed else ():
            if armed.fault.name in names and armed.strikes(path, method):
                if armed.left == 0:
                    self._armed.remove(armed)
                self.note(armed.fault)
                return armed.fault
        return None

    def note(self, fault: Fault) -> None:
        self.struck[fault.name] = self.struck.get(fault.name, 0) + 1

    def armed(self) -> list[dict[str, object]]:
        """What is still to come. `left` below 0: until cleared."""
        return [msgspec.structs.asdict(a.fault) | {"left": a.left} for a in self._armed]
