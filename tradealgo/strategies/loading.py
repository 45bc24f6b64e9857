"""From a strategy class to what another process can load, and back.

A class of an installed package travels by name (`module:Class`). Any other (a notebook's, a script's) travels as source:
the class with the imports, constants and functions of its own module that it uses, in one file beside the manifest. So
the session keeps the source it was launched with, whatever becomes of the notebook.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import linecache
import symtable
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

from tradealgo.domain.errors import BadConfig
from tradealgo.strategies.base import Strategy

SOURCE_FILE = "strategy.py"
_MODULE_OF_SOURCE = "tradealgo_session_strategy"
_PLAIN = (bool, int, float, str, bytes, type(None))


def load(path: str, folder: Any = None) -> type[Strategy]:
    """The class of `module:Class`, or of `strategy.py:Class` in `folder` (a Path or a SessionDir). Raises BadConfig."""
    where, _, name = path.partition(":")
    if not where or not name:
        raise BadConfig(f"strategy {path!r}: expected module:Class or strategy.py:Class")
    try:
        module = (
            _load_file(Path(getattr(folder, "path", folder)) / where)
            if where.endswith(".py")
            else (importlib.import_module(where))
        )
    except Exception as error:
        raise BadConfig(f"strategy {path!r} can't be loaded: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        classes = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Strategy)]
        raise BadConfig(
            f"strategy {path!r}: {where} has no strategy class {name!r}, only {', '.join(classes) or 'none'}"
        )
    return found


def _load_file(file: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(_MODULE_OF_SOURCE, file)
    if spec is None or spec.loader is None or not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE_OF_SOURCE] = module
    spec.loader.exec_module(module)
    return module


def describe(cls: type[Strategy]) -> tuple[str, str | None]:
    """The path that `load` takes, and the text of its file where the class must travel as source. Raises BadConfig."""
    if _is_installed(cls.__module__):
        return f"{cls.__module__}:{cls.__qualname__}", None
    return f"{SOURCE_FILE}:{cls.__name__}", self_contained(cls)


def _is_installed(module_name: str) -> bool:
    """Whether any process of this Python can import the module: a part of TradeAlgo or of an installed package."""
    if module_name.partition(".")[0] == __name__.partition(".")[0]:
        return True
    file = getattr(sys.modules.get(module_name), "__file__", None)
    homes = {sysconfig.get_path(p) for p in ("purelib", "platlib", "stdlib")}
    return file is not None and any(Path(file).is_relative_to(home) for home in homes)


def self_contained(cls: type) -> str:
    """The source of a class as a file of its own. Raises BadConfig, naming what can't be carried over."""
    carrier = _Carrier(cls.__name__, _namespace(cls))
    carrier.carry(cls)
    body = "\n\n\n".join(carrier.pieces)
    imports = "\n".join(["from tradealgo.strategies import *", *sorted(carrier.imports)])
    return f"{imports}\n\n\n{body}\n"


def _namespace(cls: type) -> dict[str, Any]:
    """The globals that the class's methods see; for `__main__` they outlive the cell."""
    functions = [f for f in vars(cls).values() if isinstance(f, types.FunctionType)]
    return functions[0].__globals__ if functions else vars(sys.modules[cls.__module__])


class _Carrier:
    """Collects a class and everything of its module that it uses, what is used before what uses it."""

    def __init__(self, owner: str, namespace: dict[str, Any]) -> None:
        self.owner = owner
        self.namespace = namespace
        self.imports: set[str] = set()
        self.pieces: list[str] = []
        self._seen: set[str] = set()

    def carry(self, thing: type | types.FunctionType) -> None:
        source = source_of(thing)
        self._seen.add(thing.__name__)
        for name in sorted(_globals_used(source) - {thing.__name__}):
            if name not in self._seen:
                self._seen.add(name)
                self._carry_name(name)
        self.pieces.append(source)

    def _carry_name(self, name: str) -> None:
        from tradealgo import strategies

        if name not in self.namespace:
            if hasattr(builtins, name):
                return
            raise BadConfig(
                f"{self.owner} uses {name!r}, which is no global of its module, so another process can't have it: "
                "define it at the top level, or make it a parameter"
            )
        value = self.namespace[name]
        if name in strategies.__all__ and value is getattr(strategies, name):
            return
        if isinstance(value, types.ModuleType):
            self._import(f"import {value.__name__} as {name}", value.__name__, name)
        elif isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
            self._carry_object(name, value)
        else:
            self._carry_value(name, value)

    def _carry_object(self, name: str, value: Any) -> None:
        home = value.__module__
        if home == self.namespace.get("__name__") and not _is_installed(home):
            if value.__name__ != name:
                raise BadConfig(f"{self.owner} uses {name!r}, another name of {value.__name__!r}: use that name")
            self.carry(value)
        else:
            self._import(f"from {home} import {value.__name__} as {name}", home, name)

    def _import(self, line: str, module: str, name: str) -> None:
        if not _is_installed(module) and module not in sys.builtin_module_names:
            raise BadConfig(
                f"{self.owner} uses {name!r} of {module}, which is not an installed package, so another process can't "
                "import it: define it in the notebook, or install the package"
            )
        self.imports.add(line)

    def _carry_value(self, name: str, value: Any) -> None:
        from tradealgo.domain.signals import Signal

        if isinstance(value, Signal):
            self.pieces.append(f"{name} = Signal({value.target}, float({str(value.stop)!r}), {value.reason!r})")
        elif _is_plain(value):
            self.pieces.append(f"{name} = {value!r}")
        else:
            raise BadConfig(
                f"{self.owner} uses {name!r}, a {type(value).__name__}, which can't be carried to another process: "
                "make it in setup(), or make it a parameter"
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return value - value == 0.0  # repr of nan and inf is no literal
    if isinstance(value, (tuple, list, set, frozenset)) and type(value).__module__ == "builtins":
        return all(_is_plain(v) for v in value)
    if type(value) is dict:
        return all(_is_plain(k) and _is_plain(v) for k, v in value.items())
    return type(value) in _PLAIN


def source_of(thing: type | types.FunctionType) -> str:
    """The text of a class or function, unindented; also of one made in a notebook cell, where inspect finds no file."""
    codes = [
        f.__code__ for f in ([thing] if isinstance(thing, types.FunctionType) else vars(thing).values())
        if isinstance(f, types.FunctionType)
    ]  # fmt: skip
    if not codes:
        raise BadConfig(f"the source of {thing.__name__} can't be found: it has no method; add on_candle")
    file, line = codes[0].co_filename, codes[0].co_firstlineno
    lines = linecache.getlines(file)
    for node in ast.walk(ast.parse("".join(lines))) if lines else ():
        if (
            isinstance(node, (ast.ClassDef, ast.FunctionDef))
            and node.name == thing.__name__
            and min([node.lineno, *(d.lineno for d in node.decorator_list)]) <= line <= (node.end_lineno or line)
        ):
            return _unindented(lines, node)
    raise BadConfig(f"the source of {thing.__name__} can't be found in {file}: write it in a notebook cell or a file")


def _unindented(lines: list[str], node: ast.ClassDef | ast.FunctionDef) -> str:
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
    text = lines[first : node.end_lineno]
    margin = len(text[0]) - len(text[0].lstrip())
    return "".join(t[margin:] if t[:margin].isspace() else t for t in text).rstrip()


def _globals_used(source: str) -> set[str]:
    top = symtable.symtable(source, "<strategy>", "exec")
    used = {s.get_name() for s in top.get_symbols() if s.is_referenced() and not s.is_assigned()}
    stack = list(top.get_children())
    while stack:
        table = stack.pop()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
        stack.extend(table.get_children())
    return {name for name in used if not name.startswith("__")}
