"""Which instruments have gone silent, each by how often it usually ticks, so that an illiquid strike raises no alarm. Pure.

Time here is the feed's own (`ts_event`), so that a replay at any speed is judged as the day was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: An instrument is overdue after so many of its usual gaps without a tick, and never before the mission's 5 s.
OVERDUE_GAPS = 10.0
OVERDUE_AFTER_S = 5.0
#: Gaps seen before anything is called usual.
GAPS_TO_KNOW = 5
_WEIGHT = 0.1


class Liveness:
    """Last tick and usual gap of each instrument, in seconds of feed time."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = np.unique(np.asarray(tokens, np.int64))
        self._seen_at = np.zeros(len(self._tokens))
        self._gap = np.zeros(len(self._tokens))
        self._gaps = np.zeros(len(self._tokens), np.int64)
        self._waiting: list[np.ndarray] = []

    def saw(self, tokens: np.ndarray) -> None:
        """Note who ticked in a frame; worked out at the next `at`."""
        self._waiting.append(tokens.copy())

    def restart(self, now_s: float) -> None:
        """The feed was away: nobody is overdue for that."""
        self._waiting.clear()
        self._seen_at = np.where(self._seen_at > 0, now_s, 0.0)

    def at(self, now_s: float) -> list[int]:
        """Let time pass up to `now_s`; the tokens of the instruments that are overdue. To be asked about once a second."""
        if self._waiting:
            self._learn(np.unique(np.concatenate(self._waiting)).astype(np.int64), now_s)
            self._waiting.clear()
        allowed = np.maximum(OVERDUE_AFTER_S, OVERDUE_GAPS * self._gap)
        overdue = (self._gaps >= GAPS_TO_KNOW) & (now_s - self._seen_at > allowed)
        return [int(token) for token in self._tokens[overdue]]

    def _learn(self, tokens: np.ndarray, now_s: float) -> None:
        slots = np.searchsorted(self._tokens, tokens)
        slots = slots[self._tokens[np.minimum(slots, len(self._tokens) - 1)] == tokens]
        known = slots[self._seen_at[slots] > 0]
        gap = now_s - self._seen_at[known]
        first = self._gaps[known] == 0
        self._gap[known] = np.where(first, gap, self._gap[known] + _WEIGHT * (gap - self._gap[known]))
        self._gaps[known] += 1
        self._seen_at[slots] = now_s
