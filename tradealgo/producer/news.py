"""What people should hear of the feed."""

from __future__ import annotations

from typing import NamedTuple

from tradealgo.domain.state import Level


class News(NamedTuple):
    """An alert to raise, or to resolve."""

    level: Level
    code: str
    text: str
    resolved: bool = False
