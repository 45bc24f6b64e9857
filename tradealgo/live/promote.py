"""From paper to live: a strategy is promoted by a paper session that did what its backtest says, and ended clean.

What is promoted is the strategy's identity: its source with what it builds on, parameters and candle interval. A change
of one character makes another one. Instruments, size and limits are chosen at each launch: contracts expire, and the
first live day should be small.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import os
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tradealgo.config import Mode, home
from tradealgo.domain.errors import BadConfig, TradeAlgoError
from tradealgo.domain.hours import ist_text
from tradealgo.domain.shown import many
from tradealgo.strategies import Strategy, describe

if TYPE_CHECKING:
    from tradealgo.live.session import LiveSession


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What was promoted and on what grounds; `promoted` in UTC nanoseconds."""

    identity: str
    strategy: str
    parameters: dict[str, Any]
    interval: int
    instruments: tuple[str, ...]
    session_id: str
    day: str
    signals: int
    requests: int
    fills: int
    promoted: int

    @property
    def text(self) -> str:
        """One line, as a launch prints it."""
        given = ", ".join(f"{k}={v}" for k, v in self.parameters.items())
        return (
            f"{self.strategy.rpartition(':')[2]}({given}), promoted {ist_text(self.promoted, '%d %b %Y %H:%M')} IST from "
            f"paper session {self.session_id} ({', '.join(self.instruments)} on {self.day}): {self.signals} signals, "
            f"{self.requests} order requests, 0 differences, {self.fills} fills, clean end"
        )


class Check(NamedTuple):
    """One thing that a promotion asks for."""

    name: str
    passed: bool
    text: str


def identity(path: str, source: str | None, parameters: dict[str, Any], interval: int) -> str:
    """SHA-256 of what a strategy is: the source it travels with (else its module's), class, parameters, interval in s; and
    the sources of the modules that it builds on, which are those of its own package and of `tradealgo.strategies`.
    """
    module, _, name = path.partition(":")
    text = source if source is not None else inspect.getsource(importlib.import_module(module))
    parts = (text, name, sorted(parameters.items()), interval, sorted(_builds_on(module, text).items()))
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _builds_on(module: str, text: str) -> dict[str, str]:
    """Sources by name of the modules that a text imports, and that these import, as far as they are a strategy's matter."""
    own = f"{module.partition('.')[0]}."
    families = ("tradealgo.strategies.", *([own] if own != "tradealgo." else []))
    start = _spec(module)
    found: dict[str, str] = {}
    waiting = [(text, start.parent if start else "")]
    while waiting:
        for name in _imported(*waiting.pop()):
            if name in found or not f"{name}.".startswith(families) or (spec := _spec(name)) is None:
                continue
            found[name] = Path(spec.origin).read_text() if spec.origin and spec.origin.endswith(".py") else ""
            waiting.append((found[name], spec.parent))
    return found


def _imported(text: str, package: str | None) -> Iterator[str]:
    """Names that a module of a package imports anywhere; of `from a import b` both a and a.b, which may be a module too."""
    for node in ast.walk(ast.parse(text)):  # it has been imported, so it parses
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = (
                resolve_name("." * node.level + (node.module or ""), package) if node.level and package else node.module
            )
            yield from (str(home), *(f"{home}.{alias.name}" for alias in node.names))


def _spec(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except (ImportError, ValueError):  # a.b of `from a import b` where a is no package
        return None


def promotion_file(which: str) -> Path:
    return home() / "promoted" / f"{which}.json"


def promotions() -> list[Promotion]:
    """All of this home, oldest first."""
    files = (home() / "promoted").glob("*.json")
    return sorted((msgspec.json.decode(f.read_bytes(), type=Promotion) for f in files), key=lambda p: p.promoted)


def required(strategy: Strategy, interval: int) -> Promotion:
    """The promotion of a strategy that is to go live. Raises BadConfig where there is none."""
    path, source = describe(type(strategy))
    file = promotion_file(identity(path, source, strategy.parameters, interval))
    try:
        return msgspec.json.decode(file.read_bytes(), type=Promotion)
    except FileNotFoundError:
        raise BadConfig(
            f"{strategy!r} with this source and candles of {interval} s was never promoted: run a paper session of exactly "
            "it, then `tradealgo promote`; or launch with unpromoted=True (--unpromoted), if you mean it"
        ) from None
    except ValueError as error:
        raise BadConfig(f"{file} can't be read ({error}): promote again") from None


def promote(session: LiveSession) -> tuple[list[Check], Promotion | None]:
    """Look at an ended paper session; the promotion, which is written, only if every check passed."""
    checks = [_paper(session), _ended(session)]
    if not all(c.passed for c in checks):
        return checks, None
    from tradealgo.live import day
    from tradealgo.live.review import profit_text, session_parity

    strategy = day.strategy_of(session)
    candles = day.heard_candles(session)
    result = day.day_backtest(session)
    held = session_parity(result, session)
    failed = "; ".join(result.errors)
    checks += [
        Check("source", _is_unchanged(session), "as the session ran it" if _is_unchanged(session) else "changed since"),
        Check("backtest", not failed, failed or repr(result)),
        _tried(lambda: _no_lookahead(strategy, candles)),
        Check("parity", not held.differences, held.text),
        Check("trades", len(session.fills) > 1, _trades_text(len(session.fills), profit_text(session, result))),
    ]
    if not all(c.passed for c in checks):
        return checks, None
    return checks, _written(session, held.signals, held.requests, day.day_of(session).isoformat())


def _paper(session: LiveSession) -> Check:
    mode = session.manifest.mode
    return Check(
        "mode", mode is Mode.PAPER, f"a {mode} session" + ("" if mode is Mode.PAPER else ": promote a paper one")
    )


def _trades_text(fills: int, profit: str) -> str:
    asked = "" if fills > 1 else " (a way in and a way out are asked for)"
    return f"{many(fills, 'fill')}{asked}" + (f"; {profit}" if profit else "")


def _ended(session: LiveSession) -> Check:
    """Over, and nothing left: squared off by itself, or killed and verified flat."""
    from tradealgo.live import day

    if session.is_running:
        return Check("end", False, f"still running: `tradealgo stop {session.id}` first")
    session.refresh()
    left = day.left_open(session)
    state = session.state
    kill = f", kill {state.kill}" if state is not None else ""
    return Check("end", not left, f"left open: {', '.join(left)}" if left else f"nothing left open{kill}")


def _is_unchanged(session: LiveSession) -> bool:
    manifest, source = session.manifest, session.folder.strategy_source
    text = source.read_text() if source.exists() else None
    return manifest.identity == identity(manifest.strategy, text, manifest.parameters, manifest.interval)


def _no_lookahead(strategy: Any, candles: Any) -> Check:
    from tradealgo.research.lookahead import check_lookahead

    found = check_lookahead(strategy, candles)
    return Check("look-ahead", found.passed, found.reading)


def _tried(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except TradeAlgoError as error:
        return Check("look-ahead", False, str(error))


def _written(session: LiveSession, signals: int, requests: int, day: str) -> Promotion:
    manifest = session.manifest
    made = Promotion(
        identity=manifest.identity, strategy=manifest.strategy, parameters=manifest.parameters, interval=manifest.interval,
        instruments=manifest.instruments, session_id=session.id, day=day, signals=signals, requests=requests,
        fills=len(session.fills), promoted=time.time_ns(),
    )  # fmt: skip
    path = promotion_file(made.identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1))
    os.replace(temporary, path)
    return made
