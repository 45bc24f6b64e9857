"""Compiles a strategy class, from its own source, into loops that run it with the contract's exits around it.

What `setup` leaves on an instance gives each attribute its type; each method is compiled with its globals replaced by
what stands for them in compiled code (indicator classes, `Signal`, helper functions). The loop's source is written to a
file named after a fingerprint of all that goes into it, so that numba's on-disk cache serves it to the next process:
compiling takes seconds, loading hundredths of one.

A class that can't be compiled raises NotCompilable with the file and the line, and runs interpreted.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import re
import sys
import types
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import njit
from numba.core import errors, ir

from tradealgo.domain.candles import Candle
from tradealgo.domain.errors import NotCompilable
from tradealgo.domain.signals import Signal
from tradealgo.sources import stamp
from tradealgo.strategies import checked, reasons, structs
from tradealgo.strategies.base import EXITS, Strategy
from tradealgo.strategies.guard import Guard
from tradealgo.strategies.watched import Watched, attribute_names, global_names

FLOATS = numba.types.Array(numba.float64, 1, "C", readonly=True)
INTS = numba.types.Array(numba.int64, 1, "C", readonly=True)
BOOLS = numba.types.Array(numba.boolean, 1, "C", readonly=True)
#: Types of the loop's candle arguments: start, open, high, low, close, volume, oi and late (square-off has come).
CANDLES = (INTS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, BOOLS)
_WIDE = (numba.float64, numba.int64, numba.boolean)
_NUMBA = {int: numba.int64, float: numba.float64, bool: numba.boolean}

#: What a loop does first: makes the strategy of the given parameters and its guard.
PROLOGUE = """
    strategy = new_strategy()
{assignments}
    strategy.setup()
    guard = new_guard()
    init_guard(guard, strategy.stop_loss, strategy.take_profit, strategy.trailing_stop, strategy.max_candles)
"""

SIGNALS = """
def signals(start, open_, high, low, close, volume, oi, late, {parameters}, at, target, stop, reason):
    {prologue}
    count, last = 0, -2
    last_stop, last_reason = 0.0, 0
    for i in range(len(close)):
        candle = Candle(start[i], open_[i], high[i], low[i], close[i], volume[i], oi[i])
        wanted = strategy.on_candle(candle)
        if wanted.target > 1 or wanted.target < -1 or wanted.stop <= 0.0 or wanted.stop == inf:
            count = -1 - i
            break
        said = guard.judge(candle, wanted, late[i])
        if said.target == last and said.reason == last_reason:
            if said.stop == last_stop or (said.stop != said.stop and last_stop != last_stop):
                continue
        last, last_stop, last_reason = said.target, said.stop, said.reason
        at[count] = i
        target[count] = last
        stop[count] = last_stop
        reason[count] = last_reason
        count += 1
    release(strategy)
    return count
"""


def cache_folder() -> Path:
    """Where compiled strategies are kept between processes: safe to delete at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tradealgo" / "strategies"


class Compiled:
    """A strategy class ready to run compiled, for all parameters whose state has the same types."""

    def __init__(self, strategy: Strategy, watched: Watched) -> None:
        self.cls = type(strategy)
        self.names = [n for n, p in strategy.declared.items() if p.kind is not str]
        self.kinds = [strategy.declared[n].kind for n in self.names]
        builder = _Builder(strategy, watched)
        self._value, self._guard = builder.strategy, builder.guard
        self._fingerprint, self._twins = builder.fingerprint(), builder.twins
        self.reasons: dict[int, str] = {reasons.code(text): text for text in builder.texts}
        self._kernels: dict[str, Any] = {}
        self.refused = ""  # why it can't be compiled, once that is known

    @property
    def parameter_types(self) -> tuple[Any, ...]:
        return tuple(_NUMBA[k] for k in self.kinds)

    def values(self, strategy: Strategy) -> tuple[Any, ...]:
        """The parameters in the order that kernels take them."""
        return tuple(getattr(strategy, n) for n in self.names)

    @cached_property
    def signals(self) -> Any:
        """The loop that says the signals. It fills `at` with each candle whose signal differs from the one before, and its
        target, stop and reason; returns how many there are, or below 0 where the strategy said what is no signal."""
        out = (numba.int64[::1], numba.int8[::1], numba.float64[::1], numba.int64[::1])
        return self.kernel("signals", SIGNALS, numba.int64(*CANDLES, *self.parameter_types, *out))

    def kernel(self, name: str, template: str, signature: Any, source: types.ModuleType | None = None) -> Any:
        """A compiled function from a template that defines `name`. Raises NotCompilable.

        The template's `{prologue}` makes `strategy` and `guard` from arguments called as the parameters: `{parameters}`
        lists their names, `{columns}` names of arrays of them, `{picked}` the elements at `k` of these. `source` is a
        module whose functions the template calls.
        """
        if self.refused:
            raise NotCompilable(self.refused)
        if name not in self._kernels:
            try:
                self._kernels[name] = self._build(name, template, signature, source)
            except Exception as error:  # numba has no common base for what it can't do
                self.refused = _sentence(self.cls, error)
                raise NotCompilable(self.refused) from error
        return self._kernels[name]

    def _build(self, name: str, template: str, signature: Any, source: types.ModuleType | None) -> Any:
        assignments = "\n".join(f"    strategy.{n} = {n}" for n in self.names)
        text = template.format(
            prologue=PROLOGUE.format(assignments=assignments).strip(), parameters=", ".join(self.names),
            columns=", ".join(f"{n}_all" for n in self.names), picked=", ".join(f"{n}_all[k]" for n in self.names),
        )  # fmt: skip
        namespace = {
            "new_strategy": structs.new_in_frame(self._value), "new_guard": structs.new_in_frame(self._guard),
            "init_guard": self._guard.methods["__init__"], "release": structs.release,
            "Candle": Candle, "inf": np.inf, "njit": njit, **_globals_of(source),
        }  # fmt: skip
        prints = [self._fingerprint, text, str(signature), str(stamp(source.__name__)) if source else ""]
        file = cache_folder() / f"{self.cls.__name__}_{name}_{_digest(*prints)}.py"
        if file.exists():
            return _jit(file, text, name, namespace, signature)
        self._check_types()
        try:
            return _jit(_written(file, text), text, name, namespace, signature)
        except BaseException:
            file.unlink(missing_ok=True)  # only what compiled once skips the check of types
            raise

    def _check_types(self) -> None:
        """Compile the methods by themselves and refuse what compiles to something else than Python does."""
        ref = structs.StructRef(self._value)
        candle = numba.types.NamedTuple([numba.int64, *[numba.float64] * 6], Candle)
        self._value.methods["setup"].compile((ref,))
        self._value.methods["on_candle"].compile((ref, candle))
        for _, twin in self._twins.values():
            for overload in twin.overloads.values():
                _refuse_cut_floats(overload.type_annotation)
                _refuse_shared(overload.type_annotation)
                _refuse_made_texts(overload.type_annotation)
                _refuse_narrow(overload.type_annotation)


_known: dict[tuple[Any, ...], tuple[Compiled | NotCompilable, Watched]] = {}


def compiled(strategy: Strategy) -> Compiled:
    """The compiled form of a strategy's class as it is now, made once a process. Raises NotCompilable."""
    key = (type(strategy), _shape(strategy.fresh()))
    found, watched = _known.get(key, (None, None))
    if found is None or watched is None or watched.changed:
        watched = Watched()
        try:
            found = Compiled(strategy, watched)
        except NotCompilable as error:
            found = error
        _known[key] = found, watched
    if isinstance(found, NotCompilable):
        raise found
    return found


def _shape(instance: Any) -> tuple[Any, ...]:
    """What the types of an instance's state depend on."""
    parts: list[Any] = []
    for name, value in vars(instance).items():
        if isinstance(value, np.ndarray):
            parts.append((name, value.dtype.str, value.ndim))
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            parts.append((name, type(value), _shape(value)))
        else:
            parts.append((name, value if isinstance(value, str) else type(value)))
    return tuple(parts)


def _globals_of(source: types.ModuleType | None) -> dict[str, Any]:
    """What a template may call by name; not the module's own name and file."""
    return {n: v for n, v in vars(source).items() if not n.startswith("__")} if source else {}


def _refuse_cut_floats(annotation: Any) -> None:
    for instruction, signature in annotation.calltypes.items():
        if isinstance(instruction, ir.SetAttr) and isinstance(
            signature.args[1], (numba.types.Integer, numba.types.Boolean)
        ):
            given = annotation.typemap[instruction.value.name]
            if isinstance(given, numba.types.Float) or (
                isinstance(given, numba.types.Integer) and isinstance(signature.args[1], numba.types.Boolean)
            ):
                raise errors.TypingError(
                    f"self.{instruction.attr} is {signature.args[1]} after setup() and is given a {given} later: "
                    f"give it one type from the start, as in self.{instruction.attr} = 0.0",
                    loc=instruction.loc,
                )


def _refuse_shared(annotation: Any) -> None:
    """An object under two names: an attribute holds its object itself, so a second name would hold a copy."""
    given: set[str] = set()
    for instruction in annotation.calltypes:
        if isinstance(instruction, ir.SetAttr):
            name, kind = instruction.value.name, annotation.typemap[instruction.value.name]
            made = isinstance(kind, structs.StructValue) and name.startswith("$") and name not in given
            if isinstance(kind, structs.StructRef | structs.StructValue) and not made:
                raise errors.TypingError(
                    f"self.{instruction.attr} is given an object that has another name already: compiled code would copy "
                    "it. Make a new one there, or swap a number that says which of two is meant",
                    loc=instruction.loc,
                )
            given.add(name)


def _refuse_narrow(annotation: Any) -> None:
    """numpy's short floats and integers: mixed with Python's they widen here and stay short there."""
    for kind in annotation.typemap.values():
        array = isinstance(kind, numba.types.Array)
        dtype = kind.dtype if array else kind
        if (array or isinstance(dtype, numba.types.Float)) and dtype not in _WIDE:
            raise errors.TypingError(
                f"{kind} is used: compiled code takes numbers and arrays of float64, int64 or bool"
            )


def _refuse_made_texts(annotation: Any) -> None:
    """A reason is a number in compiled code, and only the texts in the source have one."""
    for instruction, signature in annotation.calltypes.items():
        if not isinstance(instruction, ir.Expr) or getattr(signature, "return_type", None) != numba.types.unicode_type:
            continue
        called = annotation.typemap[instruction.func.name] if instruction.op == "call" else None
        mine = isinstance(called, numba.types.Dispatcher) or isinstance(
            getattr(called, "this", None), structs.StructRef
        )
        if not mine:
            raise errors.TypingError(
                "a text is made while it runs: compiled code takes texts as they are written", loc=instruction.loc
            )


def _jit(file: Path | None, text: str, name: str, namespace: dict[str, Any], signature: Any) -> Any:
    where = str(file) if file else "<compiled strategy>"
    module = types.ModuleType(f"tradealgo_compiled_{file.stem if file else name}")
    vars(module).update(namespace)
    sys.modules[module.__name__] = module  # numba's cache looks the function's module up by name
    exec(compile(text, where, "exec"), vars(module))
    return njit(signature, cache=file is not None, nogil=True)(getattr(module, name))


def _written(file: Path, text: str) -> Path | None:
    """The loop's source on disk, whole or not at all; None where the folder can't be written, so nothing is cached."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_text(text)
        os.replace(temporary, file)
    except OSError:
        return None
    return file


def _digest(*texts: str) -> str:
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=12).hexdigest()


_PLACE = re.compile(r'(?:File "|Raised from |at )([^"\n]+?)"?(?:, line | \()(\d+)')


def _sentence(cls: type, error: Exception) -> str:
    """What is wrong and where, out of numba's many lines."""
    file = inspect.unwrap(cls.on_candle).__code__.co_filename  # type: ignore[attr-defined]
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    places = [(f, n) for f, n in _PLACE.findall(text) if os.path.basename(f) == os.path.basename(file)]
    loc = getattr(error, "loc", None)
    if loc is not None and os.path.basename(loc.filename) == os.path.basename(file):
        places.append((loc.filename, loc.line))
    where = f"{os.path.basename(file)}, line {places[-1][1]}" if places else os.path.basename(file)
    lines = [t.strip(" -\n") for t in text.splitlines() if t.strip() and not t.startswith(("Failed in", "During:"))]
    said = (lines[0] if lines else str(error)).partition(" Raised from ")[0]
    return f"{cls.__name__} can't be compiled ({where}): {said}"


class _Builder:
    """Makes the struct types of a strategy and its guard, and the functions that stand for their methods."""

    def __init__(self, strategy: Strategy, watched: Watched) -> None:
        self.watched = watched
        self.texts: set[str] = {""}
        self._prints: list[str] = [
            numba.__version__,
            platform.python_version(),
            *(_code_print(sys.modules[m]) for m in (__name__, *(m.__name__ for m in (checked, reasons, structs)))),
        ]
        self._types: dict[type, structs.StructValue] = {}
        self.twins: dict[int, tuple[Any, Any]] = {}
        self._constructors: dict[type, Any] = {}
        try:
            self.strategy = self._struct(strategy.fresh())
            self.guard = self._struct(Guard(0.0, 0.0, 0.0, 0))
            for cls, value in list(self._types.items()):
                value.methods.update({n: self._twin_function(f) for n, f in _methods(cls).items()})
        except (TypeError, ValueError) as error:
            raise NotCompilable(_sentence(type(strategy), error)) from error

    def fingerprint(self) -> str:
        return _digest(*sorted(self._prints), *(v.layout for v in self._types.values()))

    def _struct(self, instance: Any) -> structs.StructValue:
        cls, texts = type(instance), {}
        fields = []
        for name, value in vars(instance).items():
            if isinstance(value, str) and isinstance(instance, Strategy) and name in instance.declared:
                texts[name] = value  # a str parameter is fixed in what is compiled
            else:
                kind = structs.field_type(cls.__name__, name, value)
                fields.append((name, kind if kind is not None else self._struct(value)))
        constants = {**_class_constants(cls, {n for n, _ in fields}), **texts}
        self.watched.attributes(cls, *(n for n in constants if n not in texts), *_methods(cls))
        made = structs.StructValue(cls.__name__, tuple(fields), constants)
        known = self._types.setdefault(cls, made)
        if known.layout != made.layout:
            raise TypeError(
                f"{cls.__name__} is used with attributes of different types: {known.layout} and {made.layout}"
            )
        return known

    def _twin_function(self, function: types.FunctionType) -> Any:
        if id(function) in self.twins:
            return self.twins[id(function)][1]
        self.twins[id(function)] = (function, None)
        code = function.__code__
        if "__class__" in code.co_freevars:
            raise TypeError(f"{function.__qualname__} calls super(), which numba can't")
        self._prints.append(_code_print(function))
        self.watched.function(function)
        wanted = sorted(global_names(code))
        for n in wanted:
            self.watched.name(function.__globals__, n)
        named = [(n, function.__globals__[n]) for n in wanted if n in function.__globals__]
        for n, value in named:
            if isinstance(value, types.ModuleType):
                self._module(n, value, attribute_names(code))
        self._prints += [
            f"{code.co_name}: {n} is {_code_print(f)}" for n, f in named if isinstance(f, types.FunctionType)
        ]
        self.texts |= set(_strings(code))
        scope = {n: self._twin(value) for n, value in named}
        cells = tuple(types.CellType(self._twin(c.cell_contents)) for c in function.__closure__ or ())
        scope = {**function.__globals__, **scope}
        twin = types.FunctionType(code, scope, function.__name__, function.__defaults__, cells)
        twin.__kwdefaults__ = function.__kwdefaults__
        compiled = checked.twin_of(twin)
        self.twins[id(function)] = (function, compiled)
        return compiled

    def _module(self, path: str, module: types.ModuleType, names: set[str]) -> None:
        """Constants that a function takes from a module, as in `settings.BAND`."""
        if not _is_library(module):
            for n in sorted(names & vars(module).keys()):
                value = vars(module)[n]
                self.watched.name(vars(module), n)
                if isinstance(value, types.ModuleType) and value is not module:
                    self._module(f"{path}.{n}", value, names)
                else:
                    self._prints.append(f"{path}.{n} is {_code_print(value)}")

    def _constructor(self, cls: type) -> Any:
        if cls not in self._constructors:
            value = self._types[cls]
            value.methods["__init__"] = self._twin_function(vars(cls)["__init__"])
            self._constructors[cls] = structs.constructor(value)
        return self._constructors[cls]

    def _twin(self, value: Any) -> Any:
        """What stands for a global in compiled code."""
        if value is Signal:
            return reasons.make_signal
        if isinstance(value, Signal):
            self.texts.add(value.reason)
            self._prints.append(repr(value))
            return reasons.CodedSignal(value.target, value.stop, reasons.code(value.reason))
        if isinstance(value, type) and value in self._types:
            return self._constructor(value)
        if isinstance(value, types.FunctionType) and not hasattr(value, "__wrapped__") and not _is_library(value):
            return self._twin_function(value)
        if not isinstance(value, (types.ModuleType, type, types.BuiltinFunctionType)):
            self._prints.append(value.tobytes().hex() if isinstance(value, np.ndarray) else repr(value))
        return value


def _is_library(thing: types.FunctionType | types.ModuleType) -> bool:
    name = thing.__name__ if isinstance(thing, types.ModuleType) else thing.__module__
    return name.partition(".")[0] in ("numpy", "math", "numba")


def _methods(cls: type) -> dict[str, types.FunctionType]:
    """Functions of a class and its bases; of Strategy itself only `setup`, which does nothing."""
    found: dict[str, types.FunctionType] = {}
    for base in reversed(cls.__mro__[:-1]):
        wanted = vars(base) if base is not Strategy else {"setup": Strategy.setup}
        functions = {n: f for n, f in wanted.items() if isinstance(f, types.FunctionType)}
        found.update({n: f for n, f in functions.items() if not n.startswith("__") or n == "__init__"})
    return found


def _class_constants(cls: type, fields: set[str]) -> dict[str, Any]:
    """Scalar class attributes that no instance attribute hides."""
    found = {
        n: v for base in reversed(cls.__mro__) for n, v in vars(base).items() if type(v) in (bool, int, float, str)
    }
    return {n: v for n, v in found.items() if n not in fields and n not in EXITS and not n.startswith("__")}


def _strings(code: types.CodeType) -> list[str]:
    nested = [s for c in code.co_consts if isinstance(c, types.CodeType) for s in _strings(c)]
    return [c for c in code.co_consts if isinstance(c, str)] + nested


def _code_print(thing: Any) -> str:
    """Text that changes when a function's or module's code does."""
    if isinstance(thing, types.ModuleType):
        return Path(thing.__file__ or "").read_text()
    function: Callable[..., Any] = getattr(thing, "py_func", thing)
    if not isinstance(function, types.FunctionType):
        return repr(thing)
    return _bytecode(function.__code__) + repr(function.__defaults__)


def _bytecode(code: types.CodeType) -> str:
    consts = [_bytecode(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_name}{code.co_code.hex()}{code.co_names}{code.co_varnames}{code.co_freevars}{consts}"
