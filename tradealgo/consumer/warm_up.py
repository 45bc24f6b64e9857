"""The candles of before a session that its strategy hears first: kept beside the manifest, which has their hash.

Whoever needs them takes them from there: the Consumer at every start, and the backtest that the session is held against.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping

import numpy as np

from tradealgo.config import Manifest, SessionDir
from tradealgo.domain.candles import CANDLE
from tradealgo.domain.errors import BadConfig


def digest(candles: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of `CANDLE` arrays by instrument's key; empty for none."""
    if not candles:
        return ""
    made = hashlib.sha256()
    for key in sorted(candles):
        made.update(f"{key}:{len(candles[key])}:".encode())
        made.update(np.ascontiguousarray(candles[key]).tobytes())
    return made.hexdigest()


def write_warm_up(folder: SessionDir, candles: Mapping[str, np.ndarray]) -> None:
    """Keep a session's; of none there is no file."""
    if candles:
        with open(folder.warm_up, "wb") as file:
            np.savez(file, **candles)  # type: ignore[arg-type]


def read_warm_up(folder: SessionDir, manifest: Manifest) -> dict[str, np.ndarray]:
    """What a session was launched with. Raises BadConfig where that isn't there any more."""
    if not manifest.warm_up:
        return {}
    found: dict[str, np.ndarray] = {}
    try:
        with np.load(folder.warm_up, allow_pickle=False) as kept:
            found = {key: kept[key] for key in kept.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadConfig(f"{folder.warm_up} can't be read ({error}): launch the session again") from error
    if any(rows.dtype != CANDLE for rows in found.values()) or digest(found) != manifest.warm_up:
        raise BadConfig(f"{folder.warm_up} isn't what the session was launched with: launch it again")
    return found
