"""Which instruments have gone silent, each by how often it usually ticks, so that an illiquid strike raises no alarm. Pure.

Time here is the feed's own (`ts_event`), so that a replay at any speed is judged as the day was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: An instrument is overdue after so many of its usual gaps without a tick, and never before the mission's 5 s. Ticks of a
#: healthy strike come at random: ten usual gaps without one happen a dozen times a day among 40 of them.
OVERDUE_GAPS = 20.0
OVERDUE_AFTER_S = 5.0
#: Gaps seen before anything is called usual.
GAPS_TO_KNOW = 20
#: One that has never ticked is overdue after this, for the broker sends the last state of each as it is subscribed; after
#: a fifth of it where none of its connection has: then the subscription was lost.
NEVER_AFTER_S = 300.0
_WEIGHT = 0.05


class Liveness:
    """Last tick and usual gap of each instrument, in seconds of feed time."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = np.unique(np.asarray(tokens, np.int64))
        n = len(self._tokens)
        self._seen_at = np.zeros(n)  # its last tick, or since when its silence counts
        self._gap = np.zeros(n)
        self._gaps = np.zeros(n, np.int64)
        self._ticked = np.zeros(n, np.bool_)  # ever
        self._whole = np.zeros(n, np.bool_)  # whether `_seen_at` is a tick, from which a gap can be measured
        self._silent = np.zeros(n, np.bool_)  # until it ticks
        self._begun = False
        self.never_after_s = NEVER_AFTER_S
        self._waiting: list[np.ndarray] = []

    def saw(self, tokens: np.ndarray) -> None:
        """Note who ticked in a frame; worked out at the next `at`."""
        self._waiting.append(tokens.copy())

    def restart(self, now_s: float) -> None:
        """The feed was away: nobody is overdue for that."""
        self._waiting.clear()
        self._seen_at[:] = now_s
        self._whole[:] = False

    def at(self, now_s: float, counts: bool = True) -> list[int]:
        """Let time pass up to `now_s`; the tokens of the instruments that are silent, until each ticks again. To be asked
        about once a second.

        Args:
            counts: whether silence means anything now; if not, nobody's begins before the next time.
        """
        slots = self._slots()
        if counts and self._begun:
            self._learn(slots, now_s)
            usual = np.where(self._gaps >= GAPS_TO_KNOW, np.maximum(OVERDUE_AFTER_S, OVERDUE_GAPS * self._gap), np.inf)
            never = self.never_after_s if self._ticked.any() else self.never_after_s / 5
            self._silent |= now_s - self._seen_at > np.where(self._ticked, usual, never)
        else:
            self._ticked[slots] = True
            self._silent[slots] = False
            self._seen_at[:] = now_s
            self._whole[:] = False
            self._begun = True
        return [int(token) for token in self._tokens[self._silent]]

    def _slots(self) -> np.ndarray:
        """Where those are that have ticked since the last look."""
        if not self._waiting:
            return np.zeros(0, np.int64)
        tokens = np.unique(np.concatenate(self._waiting)).astype(np.int64)
        self._waiting.clear()
        slots = np.searchsorted(self._tokens, tokens)
        return slots[self._tokens[np.minimum(slots, len(self._tokens) - 1)] == tokens]

    def _learn(self, slots: np.ndarray, now_s: float) -> None:
        known = slots[self._whole[slots]]
        self._gaps[known] += 1
        weight = np.maximum(_WEIGHT, 1 / self._gaps[known])
        self._gap[known] += weight * (now_s - self._seen_at[known] - self._gap[known])
        self._seen_at[slots] = now_s
        self._ticked[slots] = self._whole[slots] = True
        self._silent[slots] = False
