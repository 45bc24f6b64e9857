"""`sweep(Strategy, grid, candles)`: many parameter points through the compiled simulator, on all cores or a cluster."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import numpy as np

from tradealgo.domain.errors import BadConfig, NotCompilable, TradeAlgoError
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.shown import many
from tradealgo.domain.sizing import Sizing
from tradealgo.research.backtest import (
    FILLS,
    backtest,
    by_instrument,
    check_options,
    check_tradable,
    default_sizing,
)
from tradealgo.research.columns import Columns, columns, late_mask
from tradealgo.research.grid import Point, points_of
from tradealgo.research.simulate import costs, size
from tradealgo.research.sweep_result import Sweep
from tradealgo.strategies.base import Strategy

#: Points that one thread takes at a time: enough to make a call's cost nothing, few enough for a lively progress bar.
CHUNK = 32


class Options(NamedTuple):
    """What all points share."""

    capital: float
    sizing: Sizing
    charges: bool | float
    slippage: float
    fill: str
    intraday: bool


class Task(NamedTuple):
    """Some points of one instrument; `rows` are their places in the result."""

    instrument: int
    rows: range | list[int]
    points: list[Point]


def sweep(
    strategy_class: type[Strategy], grid: Any, candles: Any, *, instruments: Any = None, capital: float = 1_000_000.0,
    sizing: Sizing | None = None, charges: bool | float = True, slippage: float = 0.0, fill: str = "next_open",
    intraday: bool = True, interval: int | None = None, sample: int | None = None, seed: int = 0,
    workers: int | None = None, progress: bool = True, on: Any = None,
) -> Sweep:  # fmt: skip
    """Backtest a strategy at many points. Interrupting it (Ctrl-C, the stop button) keeps the points that are done.

    Args:
        grid: a dict of values by parameter (their product), or a list of dicts.
        candles, instruments, capital, sizing, charges, slippage, fill, intraday, interval: as in `backtest`. Each
            instrument is a run of its own, with the whole capital.
        sample: a random part of the product of that many points, by `seed`.
        workers: threads; None takes all cores.
        on: a `dask.distributed.Client`: the points run on its cluster, with the same result.

    Returns:
        A Sweep: one row a point and instrument. One whose strategy raised has nan for all figures; a warning, the Sweep's
        repr and its `errors` name the line.
    """
    if not (isinstance(strategy_class, type) and issubclass(strategy_class, Strategy)):
        raise BadConfig(
            f"strategy is {strategy_class!r}: a sweep takes the class, as in sweep(EmaCross, grid, candles)"
        )
    check_options(strategy_class(), capital, fill, "compiled")
    points = points_of(strategy_class, grid, sample=sample, seed=seed)
    given = by_instrument(candles, instruments)
    check_tradable(given)
    runs = [(i, columns(c, i.key, interval)) for i, c in given.items()]
    options = Options(capital, sizing or default_sizing(1), charges, slippage, fill, intraday)
    job = Job(strategy_class, runs, options)
    result = Sweep(strategy_class, [i.key for i, _ in runs], points, capital)
    tasks = list(_tasks(len(runs), points))
    if refused := _why_interpreted(strategy_class(**points[0])):
        warnings.warn(
            f"{refused}; {many(len(result), 'point')} run interpreted, which is slower and gives the same result",
            stacklevel=2,
        )
    perform = _on_cluster if on is not None else _on_threads
    _collect(perform(job, tasks, on if on is not None else workers), result, progress)
    if result.errors:
        warnings.warn(result.error_text, stacklevel=2)
    return result


def _why_interpreted(strategy: Strategy) -> str:
    """Why the strategy can't be compiled; empty if it can."""
    from tradealgo.research.sweep_loop import loop
    from tradealgo.strategies.compiler import compiled

    try:
        loop(compiled(strategy))
    except NotCompilable as error:
        return str(error)
    except TradeAlgoError:
        raise
    except Exception:  # its setup() raises: the point will say that
        return ""
    return ""


class Job:
    """What a worker needs to run points: the class, the candles, the options. Travels to a cluster once."""

    def __init__(self, cls: type[Strategy], runs: list[tuple[Instrument, Columns]], options: Options) -> None:
        self.cls = cls
        self.runs = runs
        self.options = options
        self._shared: dict[int, tuple[Any, ...]] = {}

    def run(self, task: Task) -> tuple[np.ndarray, dict[int, str]]:
        """Figures of the task's points (a row each), and the sentences of strategies that raised, by row of the task."""
        out = np.full((len(task.points), 11), np.nan)
        wrong = np.full(len(task.points), -1, np.int64)
        try:
            self._compiled(task, out, wrong)
        except NotCompilable:
            wrong[:] = 0
        except Exception:  # a point's strategy raised: each is run by itself, to say which and where
            wrong[:] = 0
        said = {k: self._one(task, k, out) for k in np.flatnonzero(wrong >= 0).tolist()}
        return out, {k: text for k, text in said.items() if text}

    def _compiled(self, task: Task, out: np.ndarray, wrong: np.ndarray) -> None:
        from tradealgo.research.sweep_loop import loop
        from tradealgo.strategies.compiler import compiled

        code = compiled(self.cls(**task.points[0]))
        default = {n: p.default for n, p in self.cls.declared.items()}
        dtypes = {int: np.int64, float: np.float64, bool: np.bool_}
        values: list[np.ndarray] = [
            np.array([p.get(n, default[n]) for p in task.points], dtypes[kind])
            for n, kind in zip(code.names, code.kinds, strict=True)
        ]
        data, late, days, how_much, cost = self._of(task.instrument)
        o = self.options
        loop(code)(*data.arrays, late, days, *values, o.capital, FILLS[o.fill], how_much, cost, out, wrong)

    def _of(self, number: int) -> tuple[Any, ...]:
        if number not in self._shared:
            instrument, data = self.runs[number]
            o = self.options
            self._shared[number] = (
                data, late_mask(data, instrument, o.intraday), data.days,
                size(o.sizing, o.capital, instrument.lot_size), costs(instrument, o.charges, o.slippage),
            )  # fmt: skip
        return self._shared[number]

    def _one(self, task: Task, k: int, out: np.ndarray) -> str:
        """One point through `backtest`; for what the compiled loop couldn't do."""
        from tradealgo.research.tables import candle_array

        instrument, data = self.runs[task.instrument]
        o = self.options
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            test = backtest(
                self.cls(**task.points[k]), candle_array(data), instruments=instrument, capital=o.capital,
                sizing=o.sizing, charges=o.charges, slippage=o.slippage, fill=o.fill, intraday=o.intraday,
                interval=data.interval,
            )  # fmt: skip
        if not test.errors:  # what a strategy made before it raised says nothing of it
            out[k] = test.raw_figures()
        return "; ".join(test.errors)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_shared": {}}


def _tasks(instruments: int, points: list[Point]) -> Iterator[Task]:
    """Chunks of points that share their text parameters, which are fixed in compiled code."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, point in enumerate(points):
        groups.setdefault(tuple(v for v in point.values() if isinstance(v, str)), []).append(row)
    for number in range(instruments):
        for rows in groups.values():
            for begin in range(0, len(rows), CHUNK):
                some = rows[begin : begin + CHUNK]
                yield Task(number, [number * len(points) + r for r in some], [points[r] for r in some])


Done = tuple[Task, tuple[np.ndarray, dict[int, str]]]


def _on_threads(job: Job, tasks: list[Task], workers: int | None) -> Iterator[Done]:
    """The compiled loop lets go of the GIL, so threads use all cores and share the candles."""
    yield tasks[0], job.run(tasks[0])  # compiles, and says early what is wrong
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        waiting = {pool.submit(job.run, t): t for t in tasks[1:]}
        try:
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _on_cluster(job: Job, tasks: list[Task], client: Any) -> Iterator[Done]:
    from dask.distributed import as_completed

    there = client.scatter(job, broadcast=True, hash=False)
    futures = {client.submit(_run_task, there, t, pure=False): t for t in tasks}
    try:
        for future, found in as_completed(list(futures), with_results=True):
            yield futures[future], found
    finally:
        client.cancel([*futures, there])  # waits; a future that is only forgotten leaves the cluster later


def _run_task(job: Job, task: Task) -> tuple[np.ndarray, dict[int, str]]:
    return job.run(task)


def _collect(done: Iterable[Done], result: Sweep, progress: bool) -> None:
    bar = _bar(len(result), progress)
    try:
        for task, (figures, errors) in done:
            result.add(task.rows, figures, errors)
            bar(len(task.rows))
    except KeyboardInterrupt:
        warnings.warn(f"interrupted: {result.done} of {len(result)} points are done and kept", stacklevel=3)
    finally:
        bar(math.nan)


def _bar(total: int, progress: bool) -> Callable[[float], None]:
    if not progress:
        return lambda n: None
    from tqdm.auto import tqdm

    shown = tqdm(total=total, unit="point", leave=False, mininterval=0.1)
    return lambda n: shown.close() if math.isnan(n) else shown.update(int(n)) and None
