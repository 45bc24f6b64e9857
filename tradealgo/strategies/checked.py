"""Python's and numpy's arithmetic in compiled code, to the last bit and with its errors, where numba's own is another.

numba's math.sqrt of a negative number is nan and its int() of nan is some number, where Python raises: the twins raise,
upon which the strategy runs interpreted and the error names its candle. numba rounds to digits by multiplying and adds
arrays up from left to right: the twins do as Python and numpy do. What has no twin here is refused: it runs interpreted.
"""

from __future__ import annotations

import builtins
import math
import operator
import types as python_types
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import compiler, errors, ir
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.extending import overload
from numba.core.ir_utils import get_definition, guard, mk_unique_var
from numba.core.untyped_passes import IRProcessing

_MOST = 2.0**62  # numbers from here on aren't made integers: Python's have no end, compiled ones do


def _strict(function: Any) -> Any:
    @njit(forceinline=True)
    def twin(x):  # type: ignore[no-untyped-def]
        y = function(x)
        if y - y != 0.0 and x - x == 0.0:
            raise ValueError("math domain error")
        if y != y and x == x:
            raise ValueError("math domain error")
        return y

    return twin


def _whole(function: Any) -> Any:
    @njit(forceinline=True)
    def twin(x):  # type: ignore[no-untyped-def]
        if not abs(x) < _MOST:
            raise ValueError("no integer")
        return function(x)

    return twin


def _stub(*arguments: Any, **named: Any) -> Any:
    raise NotImplementedError("only called by compiled code")


def _integer(x: Any) -> Any:
    return _stub(x)


def _rounded(x: Any, digits: Any = None) -> Any:
    return _stub(x, digits)


@overload(_integer, jit_options={"forceinline": True})
def _integer_of(x):  # type: ignore[no-untyped-def]
    if isinstance(x, types.Float):

        def cut(x):  # type: ignore[no-untyped-def]
            if not abs(x) < _MOST:
                raise ValueError("no integer")
            return int(x)

        return cut
    return lambda x: int(x)


@overload(_rounded, jit_options={"forceinline": True})
def _rounded_of(x, digits=None):  # type: ignore[no-untyped-def]
    if x != types.float64:
        raise errors.TypingError(f"round() of {x}: compiled code rounds floats")
    if digits is None or isinstance(digits, types.NoneType | types.Omitted):

        def to_int(x, digits=None):  # type: ignore[no-untyped-def]
            if not abs(x) < _MOST:
                raise ValueError("no integer")
            return np.int64(np.rint(x))

        return to_int
    return lambda x, digits=None: _to_digits(x, digits)


@njit
def _to_digits(x, digits):  # type: ignore[no-untyped-def]
    """As Python's round: the decimal that is nearest to x's exact value, the even one of two."""
    if not abs(x) < 2.0**52:  # an integer, or no number
        return x
    if digits < 0 or digits > 15:
        raise ValueError("digits")
    scale = 10.0**digits  # exact
    p = x * scale
    if not abs(p) < 2.0**51:
        raise ValueError("too large")
    a, b = 134217729.0 * x, 134217729.0 * scale  # Dekker's product: p + rest is x * scale without an error
    x_high, scale_high = a - (a - x), b - (b - scale)
    x_low, scale_low = x - x_high, scale - scale_high
    rest = ((x_high * scale_high - p) + x_high * scale_low + x_low * scale_high) + x_low * scale_low
    k = np.rint(p)
    if p - k == 0.5 and rest > 0.0:
        k += 1.0
    elif p - k == -0.5 and rest < 0.0:
        k -= 1.0
    return k / scale


@njit
def _block(a, begin, n):  # type: ignore[no-untyped-def]
    """Up to 128 elements in numpy's order of adding: eight sums side by side."""
    if n < 8:
        total = -0.0
        for i in range(begin, begin + n):
            total += a[i]
        return total
    r0, r1, r2, r3 = a[begin], a[begin + 1], a[begin + 2], a[begin + 3]
    r4, r5, r6, r7 = a[begin + 4], a[begin + 5], a[begin + 6], a[begin + 7]
    for i in range(begin + 8, begin + n - n % 8, 8):
        r0 += a[i]
        r1 += a[i + 1]
        r2 += a[i + 2]
        r3 += a[i + 3]
        r4 += a[i + 4]
        r5 += a[i + 5]
        r6 += a[i + 6]
        r7 += a[i + 7]
    total = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    for i in range(begin + n - n % 8, begin + n):
        total += a[i]
    return total


@njit
def _pairwise(a):  # type: ignore[no-untyped-def]
    """numpy's order of adding longer arrays: by halves, as a stack of parts to do, since numba's cache can't load what
    calls itself. A size of -1 adds the last two sums."""
    if len(a) <= 128:
        return _block(a, 0, len(a))
    begins, sizes, sums = np.zeros(128, np.int64), np.zeros(128, np.int64), np.zeros(128)
    sizes[0] = len(a)
    todo, done = 1, 0
    while todo > 0:
        todo -= 1
        begin, n = begins[todo], sizes[todo]
        if n < 0:
            done -= 1
            sums[done - 1] += sums[done]
        elif n <= 128:
            sums[done] = _block(a, begin, n)
            done += 1
        else:
            half = n // 2 - n // 2 % 8
            sizes[todo] = -1
            begins[todo + 1], sizes[todo + 1] = begin + half, n - half
            begins[todo + 2], sizes[todo + 2] = begin, half
            todo += 3
    return sums[0]


@njit
def _sum(a):  # type: ignore[no-untyped-def]
    return 0.0 + _pairwise(a)


@njit
def _mean(a):  # type: ignore[no-untyped-def]
    return _sum(a) / np.float64(len(a)) if len(a) > 0 else np.nan


@njit
def _var(a):  # type: ignore[no-untyped-def]
    squares = a - _mean(a)
    for i in range(len(a)):
        squares[i] = squares[i] * squares[i]
    return _mean(squares)


@njit
def _std(a):  # type: ignore[no-untyped-def]
    return np.sqrt(_var(a))


def _of_array(name: str, exact: Any) -> Any:
    """What stands for `a.name()`: exact for an array of floats; a class's own method of that name stays what it is."""

    def called(a: Any) -> Any:
        return _stub(a)

    def chosen(a):  # type: ignore[no-untyped-def]
        if not isinstance(a, types.Array):
            return own
        if a.dtype != types.float64 or a.ndim != 1 or a.layout != "C":
            raise errors.TypingError(f"{name}() of {a}: compiled code takes it of whole one-dimensional float arrays")
        return lambda a: exact(a)

    own: Any = eval(f"lambda a: a.{name}()")
    overload(called, jit_options={"forceinline": True})(chosen)
    return called


_METHODS = {"sum": _of_array("sum", _sum), "mean": _of_array("mean", _mean), "var": _of_array("var", _var),
            "std": _of_array("std", _std)}  # fmt: skip
#: By what they stand for.
_TWINS: dict[Any, Any] = {
    builtins.int: _integer, builtins.round: _rounded,
    np.sum: _METHODS["sum"], np.mean: _METHODS["mean"], np.var: _METHODS["var"], np.std: _METHODS["std"],
    **{f: _strict(f) for f in (
        math.sqrt, math.log, math.log10, math.log2, math.log1p, math.exp, math.expm1, math.sin, math.cos, math.tan,
        math.asin, math.acos, math.sinh, math.cosh, math.atanh, math.acosh,
    )},
    **{f: _whole(f) for f in (math.floor, math.ceil, math.trunc)},
}  # fmt: skip
#: Have another last bit than Python's or numpy's, or another error; with what to write instead.
_POWER = "write a square as x * x, a root as math.sqrt(x)"
_LOOP = "write it as a loop"
_REFUSED: dict[Any, tuple[str, str]] = {
    operator.pow: ("x ** y", _POWER), operator.ipow: ("x **= y", _POWER), math.pow: ("math.pow", _POWER),
    np.power: ("np.power", _POWER), operator.matmul: ("a @ b", _LOOP),
    math.hypot: ("math.hypot", "write math.sqrt(x * x + y * y)"), np.round: ("np.round", "write round(x, digits)"),
    **{f: (f"np.{f.__name__}", _LOOP) for f in (
        np.dot, np.prod, np.nansum, np.nanmean, np.nanstd, np.nanvar, np.average, np.percentile, np.quantile,
        np.nanpercentile, np.nanquantile, np.corrcoef, np.cov,
    )},
    **{f: (f"np.{f.__name__}", f"write math.{f.__name__}(x)") for f in (
        np.exp, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.sinh, np.cosh, np.tanh,
    )},
}  # fmt: skip


@register_pass(mutates_CFG=False, analysis_only=False)
class _Twins(FunctionPass):
    """Puts the twins in the place of calls, before types are known."""

    _name = "tradealgo_twins"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        for block in state.func_ir.blocks.values():
            body: list[Any] = []
            for statement in block.body:
                if isinstance(statement, ir.Assign) and isinstance(statement.value, ir.Expr):
                    body += _replaced(state.func_ir, block, statement)
                body.append(statement)
            block.body = body
        return True


def _replaced(function: Any, block: Any, statement: Any) -> list[Any]:
    """The statements before it that its call needs now."""
    said = statement.value
    if said.op in ("binop", "inplace_binop") and said.fn in _REFUSED:
        raise _refusal(said.fn, said.loc)
    if said.op != "call":
        return []
    called = guard(get_definition, function, said.func)
    known = _value(function, called)
    if callable(known):
        try:
            refused, twin = known in _REFUSED, _TWINS.get(known)
        except TypeError:
            return []
        if refused:
            raise _refusal(known, said.loc)
        arguments = list(said.args)
        if twin is not None and known in (np.sum, np.mean, np.var, np.std) and (len(arguments) != 1 or said.kws):
            raise errors.UnsupportedError(f"np.{known.__name__} with more than an array", loc=said.loc)
    elif isinstance(called, ir.Expr) and called.op == "getattr" and called.attr in _METHODS and not said.args:
        if said.kws:
            return []
        twin, arguments = _METHODS[called.attr], [called.value]
    else:
        return []
    if twin is None:
        return []
    var = ir.Var(block.scope, mk_unique_var("$twin"), said.loc)
    value = ir.Global("twin", twin, said.loc)
    function._definitions[var.name].append(value)
    statement.value = ir.Expr.call(var, arguments, said.kws, said.loc)
    function._definitions[statement.target.name] = [statement.value]
    return [ir.Assign(value, var, said.loc)]


def _value(function: Any, definition: Any) -> Any:
    """What a called name stands for, where that is known before types are: a global, or an attribute of a module."""
    if isinstance(definition, ir.Global | ir.FreeVar):
        return definition.value
    if isinstance(definition, ir.Expr) and definition.op == "getattr":
        module = _value(function, guard(get_definition, function, definition.value))
        if isinstance(module, python_types.ModuleType):
            return getattr(module, definition.attr, None)
    return None


def _refusal(what: Any, where: Any) -> Exception:
    name, mend = _REFUSED[what]
    return errors.UnsupportedError(
        f"{name} may have another last digit in compiled code than in Python: {mend}", loc=where
    )


class _Compiler(compiler.CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_Twins, IRProcessing)
        passes.finalize()
        return [passes]


def twin_of(function: Callable[..., Any]) -> Any:
    """A strategy's function, to be compiled with Python's arithmetic and Python's errors."""
    return njit(forceinline=True, boundscheck=True, pipeline_class=_Compiler)(function)
