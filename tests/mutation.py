"""Mutants made from source: one comparison turned, one condition dropped, one denial left out; and who notices them.

`mutants(module)` yields (name, namespace): the module's code with one change. `cases(module)` are a test module's own
tests as plain calls, parametrised ones spread out, so that hundreds of mutants are tried in seconds.
"""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import signal
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_SWAPPED: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div}
_SISTERS = {"max": "min", "min": "max"}


class _Sites(ast.NodeVisitor):
    """Every place where one change can be made, as (node, what it is called, the change)."""

    def __init__(self) -> None:
        self.found: list[tuple[ast.AST, str, Callable[[Any], Any]]] = []
        self._depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for child in node.body:
            self.visit(child)

    def visit_Compare(self, node: ast.Compare) -> None:
        for position, op in enumerate(node.ops):
            if type(op) in _TURNED:
                self._add(node, "turned", lambda n, p=position, o=op: n.ops.__setitem__(p, _TURNED[type(o)]()))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        self._add(node, "and for or", lambda n: setattr(n, "op", other()))
        for position in range(len(node.values)):
            neutral = ast.Constant(isinstance(node.op, ast.And))
            self._add(node, f"without part {position + 1}", lambda n, p=position, c=neutral: n.values.__setitem__(p, c))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            self._add(node, "sign dropped", lambda n: setattr(n, "op", ast.UAdd()))
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _SWAPPED and not (
            isinstance(node.op, ast.Mult) and "sign" in ast.unparse(node)
        ):  # by ±1 it makes no difference
            self._add(node, "other sum", lambda n: setattr(n, "op", _SWAPPED[type(n.op)]()))
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and _is_denial(node.value):
            self._add(node, "denial left out", lambda n: setattr(n, "value", ast.Constant(None)))
        if node.value is not None:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        if _is_denial(node):  # of its words only the code is a promise
            self._add(node, "other code", lambda n: n.args.__setitem__(0, ast.Constant("X")))
            return
        if isinstance(node.func, ast.Name) and node.func.id in _SISTERS:
            self._add(node, "max for min", lambda n: setattr(n.func, "id", _SISTERS[n.func.id]))
        self.generic_visit(node)

    def _add(self, node: ast.AST, what: str, change: Callable[[Any], Any]) -> None:
        self.found.append((node, what, change))


def _is_denial(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Denial"


def mutants(module: ModuleType) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each function and method: the name `module: line of code: what was done`, and the changed module's namespace."""
    tree = ast.parse(inspect.getsource(module))
    short = module.__name__.rsplit(".", 1)[1]
    for number in range(len(_sites(tree))):
        mutant = copy.deepcopy(tree)
        node, what, change = _sites(mutant)[number]
        code = ast.unparse(node).splitlines()[0][:70]
        change(node)
        namespace = {"__name__": module.__name__, "__package__": module.__package__}
        exec(compile(ast.fix_missing_locations(mutant), f"<mutant of {short}>", "exec"), namespace)
        yield f"{short}: {code}: {what}", namespace


def _sites(tree: ast.AST) -> list[tuple[ast.AST, str, Callable[[Any], Any]]]:
    visitor = _Sites()
    for node in tree.body if isinstance(tree, ast.Module) else ():
        for part in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(part, ast.FunctionDef):
                visitor.visit(part)
    return visitor.found


def cases(module: ModuleType) -> list[Callable[[], Any]]:
    """The tests of a module as calls without arguments; those that need fixtures or Hypothesis are left out.
    Tests of a whole come before those of one row each."""
    found: list[tuple[int, Callable[[], Any]]] = []
    for name, test in vars(module).items():
        if not name.startswith("test_") or hasattr(test, "hypothesis"):
            continue
        spread = [_values(mark) for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        for combination in itertools.product(*spread):
            arguments = {k: v for part in combination for k, v in part.items()}
            if set(inspect.signature(test).parameters) == set(arguments):
                found.append((len(arguments), lambda t=test, a=arguments: t(**a)))
    return [call for _, call in sorted(found, key=lambda c: c[0])]


def _values(mark: Any) -> list[dict[str, Any]]:
    """The rows of one `parametrize`."""
    names, rows = mark.args[0], mark.args[1]
    if isinstance(names, str):
        names, rows = (names,), [(row,) for row in rows]
    return [dict(zip(names, row, strict=True)) for row in rows]


def is_noticed(tests: list[Callable[[], Any]], longest_s: float = 2.0) -> bool:
    """Whether any of the tests fails, crashes, or takes longer than so much processor time. The one that does comes first from
    then on: it is likely to notice the next mutant of the same code too.
    """

    def too_long(*_: Any) -> None:
        raise TimeoutError(f"more than {longest_s} s of processor time")

    before = signal.signal(signal.SIGVTALRM, too_long)
    position = 0
    try:
        for position, test in enumerate(tests):  # noqa: B007
            signal.setitimer(signal.ITIMER_VIRTUAL, longest_s)
            test()
        return False
    except (Exception, pytest.fail.Exception):
        tests.insert(0, tests.pop(position))
        return True
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
