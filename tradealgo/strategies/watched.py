"""What a compiled class was made from besides its state: it is asked whether all of that still stands.

numba takes globals, class attributes and functions as they are when it compiles. In a notebook they change: a constant is
tuned, a cell with a helper function runs again, a module is loaded anew into the same functions.
"""

from __future__ import annotations

import dis
import types
from typing import Any

import numpy as np

_NONE = object()
_SCALARS = (bool, int, float, str)


class Watched:
    """Names and what they stood for. Asked at each use of a compiled class: some microseconds."""

    def __init__(self) -> None:
        self._globals: list[tuple[dict[str, Any], str, Any]] = []
        self._attributes: list[tuple[Any, str, Any]] = []
        self._arrays: list[tuple[np.ndarray, bytes]] = []

    def name(self, names: dict[str, Any], name: str) -> None:
        """Watch a global, also one that isn't there: it may come to hide a builtin."""
        value = names.get(name, _NONE)
        self._globals.append((names, name, value))
        if isinstance(value, np.ndarray):
            self._arrays.append((value, value.tobytes()))

    def attributes(self, owner: Any, *names: str) -> None:
        """Watch attributes of a class, a function or a cell."""
        self._attributes += [(owner, n, getattr(owner, n, _NONE)) for n in names]

    def function(self, function: types.FunctionType) -> None:
        """Watch a function's insides, which reloading a module changes in place."""
        self.attributes(function, "__code__", "__defaults__", "__kwdefaults__")
        for cell in function.__closure__ or ():
            self.attributes(cell, "cell_contents")

    @property
    def changed(self) -> bool:
        """Whether anything is another than it was."""
        for names, name, was in self._globals:
            if (now := names.get(name, _NONE)) is not was and not _alike(now, was):
                return True
        for owner, name, was in self._attributes:
            if (now := getattr(owner, name, _NONE)) is not was and not _alike(now, was):
                return True
        return any(array.tobytes() != was for array, was in self._arrays)


def _alike(now: Any, was: Any) -> bool:
    return type(now) is type(was) and type(now) in _SCALARS and repr(now) == repr(was)


def global_names(code: types.CodeType) -> set[str]:
    """The globals and builtins that a function's code reads, its inner functions' too; no names of attributes."""
    found = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return found.union(*(global_names(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def attribute_names(code: types.CodeType) -> set[str]:
    """All names in a function's code, its inner functions' too: among them those of attributes."""
    return {*code.co_names, *(n for c in code.co_consts if isinstance(c, types.CodeType) for n in attribute_names(c))}
