"""How long to wait before the next try: exponential, with full jitter, so that many clients don't return at once. Pure."""

from __future__ import annotations

BASE_S = 0.25
CAP_S = 30.0


def full_jitter(attempt: int, draw: float, *, base_s: float = BASE_S, cap_s: float = CAP_S) -> float:
    """Seconds to wait before try `attempt` (0 is the first after a failure); `draw` is random in [0, 1)."""
    return draw * min(cap_s, base_s * 2.0 ** min(attempt, 32))
