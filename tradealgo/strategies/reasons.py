"""Signals in compiled code: a reason is a number there, the hash of its text, and turns into text again outside."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.core import errors
from numba.extending import overload

_OFFSET, _PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


class CodedSignal(NamedTuple):
    """A Signal whose reason is its code."""

    target: int | np.int64
    stop: float
    reason: int | np.int64


def code(text: str) -> int:
    """FNV-1a of the text's characters as a signed 64-bit number; 0 for no text."""
    if not text:
        return 0
    value = _OFFSET
    for character in text:
        value = ((value ^ ord(character)) * _PRIME) & _MASK
    return value - (1 << 64) if value >> 63 else value


@njit(forceinline=True)
def _code_of_text(text):  # type: ignore[no-untyped-def]
    if len(text) == 0:
        return np.int64(0)
    value = np.uint64(_OFFSET)
    for i in range(len(text)):
        value = (value ^ np.uint64(ord(text[i]))) * np.uint64(_PRIME)
    return np.int64(value)


def make_signal(target: Any, stop: Any = np.nan, reason: Any = "") -> Any:
    """Stands for `Signal(…)` in compiled code."""
    raise NotImplementedError("only called by compiled code")


@overload(make_signal, prefer_literal=True, jit_options={"forceinline": True})
def _make_signal(target, stop=np.nan, reason=""):  # type: ignore[no-untyped-def]
    if not isinstance(target, (types.Integer, types.IntegerLiteral)):
        raise errors.TypingError(f"Signal's target is {target}: expected 1, 0 or -1")
    if isinstance(reason, types.StringLiteral):
        fixed = code(reason.literal_value)
    elif isinstance(reason, types.Omitted):
        fixed = code(reason.value)
    elif isinstance(reason, str):
        fixed = code(reason)
    elif isinstance(reason, types.Integer):
        return lambda target, stop=np.nan, reason="": CodedSignal(np.int64(target), np.float64(stop), np.int64(reason))
    elif reason == types.unicode_type:
        return lambda target, stop=np.nan, reason="": CodedSignal(
            np.int64(target), np.float64(stop), _code_of_text(reason)
        )
    else:
        raise errors.TypingError(f"Signal's reason is {reason}: expected a str")
    return lambda target, stop=np.nan, reason="": CodedSignal(np.int64(target), np.float64(stop), np.int64(fixed))
