"""Who hears what: one socket's subscriptions, and the frames that some ticks become for it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from tradealgo.exchange.packets import encode_packets, frame_header

MODES = ("ltp", "quote", "full")
MAX_INSTRUMENTS = 3_000
MAX_CONNECTIONS = 3
#: Packets a frame: a full one is 186 bytes, and common clients take messages of up to 1 MiB.
FRAME_PACKETS = 2_000


class BadRequestError(Exception):
    """A text message that can't be understood; its text goes back as `{"type": "error"}`."""


def read_request(text: str | bytes) -> tuple[str, str, list[int]]:
    """A client's text message as (action, mode, tokens). Raises BadRequestError."""
    try:
        message = msgspec.json.decode(text)
        action, value = message["a"], message["v"]
    except (ValueError, KeyError, TypeError):
        raise BadRequestError('Expected {"a": "subscribe"|"unsubscribe"|"mode", "v": …}.') from None
    mode = "quote"
    if action == "mode":
        if not isinstance(value, list) or len(value) != 2 or value[0] not in MODES:
            raise BadRequestError('Expected "v": ["ltp"|"quote"|"full", [instrument_token, …]].')
        mode, value = value
    if action not in ("subscribe", "unsubscribe", "mode"):
        raise BadRequestError(f"Unknown action {str(action)[:20]!r}.")
    return action, mode, _tokens(value)


def _tokens(value: Any) -> list[int]:
    if not isinstance(value, list) or not all(type(t) is int and 0 <= t < 2**32 for t in value):
        raise BadRequestError("Expected a list of instrument tokens.")
    return value


class Subscriptions:
    """One socket's instruments and modes. `key` is equal for sockets that hear the same, so frames are made once."""

    def __init__(self) -> None:
        self.modes: dict[int, str] = {}
        self.key: tuple[tuple[int, str], ...] = ()
        self._tokens = np.zeros(0, np.uint32)
        self._numbers = np.zeros(0, np.uint8)

    def apply(self, action: str, mode: str, tokens: list[int]) -> list[int]:
        """Change them as asked; returns the tokens whose cached tick is due. Raises BadRequestError over 3,000."""
        if action == "unsubscribe":
            for token in tokens:
                self.modes.pop(token, None)
            due = []
        else:
            new = [t for t in dict.fromkeys(tokens) if t not in self.modes]
            if len(self.modes) + len(new) > MAX_INSTRUMENTS:
                raise BadRequestError(f"At most {MAX_INSTRUMENTS} instruments can be subscribed on a connection.")
            due = new if action == "subscribe" else list(dict.fromkeys(tokens))
            for token in due:
                self.modes[token] = mode
        self._index()
        return due

    def _index(self) -> None:
        self.key = tuple(sorted(self.modes.items()))
        self._tokens = np.array([t for t, _ in self.key], np.uint32)
        self._numbers = np.array([MODES.index(m) for _, m in self.key], np.uint8)

    def frames(self, ticks: np.ndarray) -> list[bytes]:
        """Binary messages of these ticks, each instrument in its mode and in order; none for what isn't subscribed."""
        if not len(self._tokens) or not len(ticks):
            return []
        place = np.searchsorted(self._tokens, ticks["instrument_token"])
        place[place == len(self._tokens)] = 0
        wanted = self._tokens[place] == ticks["instrument_token"]
        chosen, modes = ticks[wanted], self._numbers[place[wanted]]
        return [
            self._frame(chosen[i : i + FRAME_PACKETS], modes[i : i + FRAME_PACKETS])
            for i in range(0, len(chosen), FRAME_PACKETS)
        ]

    @staticmethod
    def _frame(ticks: np.ndarray, modes: np.ndarray) -> bytes:
        parts = [frame_header(len(ticks))]
        parts += [encode_packets(ticks[modes == n], MODES[n]) for n in np.unique(modes).tolist()]
        return b"".join(parts)
