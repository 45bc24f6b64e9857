"""What runs when: a schedule file of notebooks, read whole, each bad line a sentence. Decides; runs nothing.

    [jobs.morning-launch]
    notebook = "01_morning_launch.ipynb"   # beside this file
    at = "open-10m"                        # or "09:05", or "close+20m"; IST
    kernel = "tradealgo-research"          # paper only; the default
    parameters = { mode = "paper" }

A job runs on NSE's trading days, special sessions included, unless `days` says otherwise: "mon-fri", "sat,sun", "all".
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tradealgo.domain.errors import BadConfig
from tradealgo.domain.hours import IST, MarketHours, is_trading_day, market_hours
from tradealgo.domain.instruments import Instrument, Kind

KERNELS = ("tradealgo-research", "tradealgo-live")
#: The schedule that is used unless one is given, from the folder of a checkout.
DEFAULT = Path("notebooks/production/schedule.toml")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: A day with no run for this long ahead is one that never comes: the calendar's longest gap is a few days.
LOOK_AHEAD_DAYS = 40

_AT = re.compile(r"(?P<clock>(?:[01]\d|2[0-3]):[0-5]\d)|(?P<edge>open|close)(?:(?P<sign>[+-])(?P<minutes>\d{1,3})m)?")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_SCALARS = (str, int, float, bool)
#: A derivative trades longest: what "close" means is when the last instrument closes.
_LONGEST = Instrument(instrument_token=2, exchange="NFO", tradingsymbol="", kind=Kind.FUTURE)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One notebook's schedule. `grace_min`: how late it may still begin. `timeout_min`: when it is ended by force."""

    name: str
    notebook: Path
    at: tuple[str, ...]
    days: str = "trading"
    kernel: str = KERNELS[0]
    grace_min: int = 10
    timeout_min: int = 30
    parameters: dict[str, Any] = {}

    def runs_on(self, day: dt.date) -> bool:
        """Whether the job runs on a day of India's calendar."""
        return is_trading_day(day) if self.days == "trading" else day.weekday() in weekdays(self.days)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule file. `runs` is the folder whose dated folders take the executed notebooks."""

    path: Path
    runs: Path
    jobs: tuple[Job, ...]

    def job(self, name: str) -> Job:
        """Raises BadConfig."""
        for job in self.jobs:
            if job.name == name:
                return job
        raise BadConfig(f"{self.path.name} has no job {name!r}: it has {', '.join(j.name for j in self.jobs)}")


def weekdays(text: str) -> frozenset[int]:
    """Monday is 0: of "mon-fri", "sat,sun" or "all". Raises ValueError, also for numbers, which cron and others count
    differently."""
    days: set[int] = set()
    for part in ("mon-sun" if text == "all" else text).split(","):
        first, _, last = part.strip().partition("-")
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        days.update((begin + i) % 7 for i in range((end - begin) % 7 + 1))
    return frozenset(days)


def times_on(job: Job, day: dt.date) -> list[dt.datetime]:
    """When a job runs on a day, in order, IST; none where it doesn't."""
    return sorted({_time(at, day) for at in job.at}) if job.runs_on(day) else []


def _time(at: str, day: dt.date) -> dt.datetime:
    found = _AT.fullmatch(at)
    assert found is not None
    if found["clock"]:
        return dt.datetime.combine(day, dt.time.fromisoformat(found["clock"]), IST)
    edge = dt.datetime.fromtimestamp(getattr(_hours(day), found["edge"]) / 1e9, IST)
    return edge + dt.timedelta(minutes=int(f"{found['sign'] or '+'}{found['minutes'] or 0}"))


def _hours(day: dt.date) -> MarketHours:
    return market_hours(_LONGEST, day)


def next_run(job: Job, after: dt.datetime) -> dt.datetime | None:
    """The first time after an instant at which a job is due; None if none comes."""
    return next((t for t in _runs_from(job, after.astimezone(IST).date()) if t > after), None)


def last_run(job: Job, until: dt.datetime) -> dt.datetime | None:
    """The last time up to an instant at which a job was due, if that was within its grace."""
    since = until - dt.timedelta(minutes=job.grace_min)
    due = [t for day in days_in_grace(job, until) for t in times_on(job, day) if since <= t <= until]
    return due[-1] if due else None


def days_in_grace(job: Job, now: dt.datetime) -> list[dt.date]:
    """Today, IST; shortly after midnight yesterday too."""
    return sorted({t.astimezone(IST).date() for t in (now - dt.timedelta(minutes=job.grace_min), now)})


def _runs_from(job: Job, day: dt.date) -> Iterator[dt.datetime]:
    for ahead in range(LOOK_AHEAD_DAYS):
        yield from times_on(job, day + dt.timedelta(days=ahead))


# ---------------------------------------------------------------------------------------------- reading


def find_schedule(given: str | None) -> Path:
    """The file that was given, else that of this folder or checkout."""
    if given is not None:
        return Path(given).expanduser()
    places = [folder / DEFAULT for folder in (Path.cwd(), Path(__file__).resolve().parents[2])]
    return next((place for place in places if place.exists()), places[0])


def read_schedule(path: Path) -> Schedule:
    """A schedule file, checked whole. Raises BadConfig with a sentence a line that is wrong."""
    try:
        text = path.read_text()
        data = tomllib.loads(text)
    except FileNotFoundError:
        raise BadConfig(f"no schedule at {path}: give one with --config, or run in TradeAlgo's folder") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(f"{path.name} can't be read as TOML: {error}") from None
    reader = _Reader(path.resolve(), text)
    schedule = reader.schedule(data)
    if reader.problems:
        raise BadConfig("\n".join(reader.problems))
    return schedule


class _Reader:
    """Reads one file's tables, and collects what is wrong with them."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.lines = path, text.splitlines()
        self.problems: list[str] = []

    def schedule(self, data: dict[str, Any]) -> Schedule:
        for key in data.keys() - {"jobs", "runs"}:
            self._say("", key, f"unknown key {key!r}: expected runs and tables [jobs.NAME]")
        jobs, runs = data.get("jobs", {}), data.get("runs", "runs")
        if not isinstance(runs, str):
            self._say("", "runs", f"runs = {runs!r}: expected a folder's path")
            runs = "runs"
        if not isinstance(jobs, dict) or not jobs:
            self._say(
                "", "jobs", 'there are no jobs: expected tables such as [jobs.morning] with notebook and at = "09:05"'
            )
            jobs = {}
        found = [self._job(name, table) for name, table in jobs.items()]
        return Schedule(path=self.path, runs=self.path.parent / runs, jobs=tuple(j for j in found if j is not None))

    def _job(self, name: str, table: Any) -> Job | None:
        before = len(self.problems)
        if not isinstance(table, dict):
            self._say(name, name, f"{name} is no table: expected [jobs.{name}] with notebook and at")
            return None
        if not _NAME.fullmatch(name):
            self._say(name, "", f"job name {name!r}: expected small letters, digits and hyphens")
        known = [f for f in Job.__struct_fields__ if f != "name"]
        for key in table.keys() - set(known):
            self._say(name, key, f"unknown key {key!r}: expected one of {', '.join(known)}")
        for key in ("notebook", "at"):
            if key not in table:
                self._say(name, "", f"job {name} lacks {key}")
        for key, check in _CHECKS.items():
            if key in table and (wrong := check(table[key])):
                self._say(name, key, f"{key} = {table[key]!r}: expected {wrong}")
        if len(self.problems) > before:
            return None
        return self._checked(name, table)

    def _checked(self, name: str, table: dict[str, Any]) -> Job | None:
        notebook = (self.path.parent / table["notebook"]).resolve()
        if not notebook.is_file():
            self._say(
                name, "notebook", f"there is no notebook at {table['notebook']}: its path is from {self.path.name}"
            )
            return None
        try:
            known = notebook_parameters(notebook)
        except BadConfig as error:
            self._say(name, "notebook", str(error))
            return None
        for key in sorted(table.get("parameters", {}).keys() - known):
            has = ", ".join(sorted(known)) or "none"
            self._say(name, key, f"{notebook.name} has no parameter {key}: it has {has}")
        at = table["at"]
        return Job(**table | {"name": name, "notebook": notebook, "at": (at,) if isinstance(at, str) else tuple(at)})

    def _say(self, job: str, key: str, problem: str) -> None:
        self.problems.append(f"{self.path.name} line {self._line(job, key)}: {problem}")

    def _line(self, job: str, key: str) -> int:
        """The line of a key in a job's table, else of the table's own header, else the first."""
        inside, header = not job, 1
        for number, line in enumerate(self.lines, 1):
            if line.strip().startswith("["):
                inside = bool(job) and re.match(rf"\s*\[+jobs\.[\"']?{re.escape(job)}[\"']?[.\]]", line) is not None
                header = number if inside and header == 1 else header
            if inside and key and re.search(rf"(?:^|[{{,\[.\s\"']){re.escape(key)}[\"']?\s*[=.\]]", line.split("#")[0]):
                return number
        return header


def _is_at(value: Any) -> bool:
    return isinstance(value, str) and _AT.fullmatch(value) is not None


def _check_at(value: Any) -> str:
    all_right = bool(value) and all(map(_is_at, value if isinstance(value, list) else [value]))
    return "" if all_right else '"HH:MM", "open-10m" or "close+20m" (IST), or a list of such'


def _check_days(value: Any) -> str:
    try:
        if value == "trading" or (isinstance(value, str) and weekdays(value)):
            return ""
    except ValueError:
        pass
    return '"trading", "all", or names such as "mon-fri" or "sat,sun"; numbers mean other days to other programs'


def _check_minutes(value: Any) -> str:
    right = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 720
    return "" if right else "whole minutes, 1 to 720"


def _check_parameters(value: Any) -> str:
    if not isinstance(value, dict):
        return "a table, as in { speed = 60.0 }"
    return "" if all(map(_is_plain, value.values())) else "texts, numbers, true or false, or lists or tables of them"


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return all(isinstance(v, _SCALARS) for v in (value if isinstance(value, list) else [value]))


_CHECKS = {
    "notebook": lambda v: "" if isinstance(v, str) and v.endswith(".ipynb") else "a notebook's path, ending in .ipynb",
    "at": _check_at,
    "days": _check_days,
    "kernel": lambda v: "" if v in KERNELS else " or ".join(map(repr, KERNELS)),
    "grace_min": _check_minutes,
    "timeout_min": _check_minutes,
    "parameters": _check_parameters,
}


def notebook_parameters(notebook: Path) -> set[str]:
    """The names in a notebook's cell tagged `parameters`. Raises BadConfig where it is no notebook."""
    import papermill

    try:
        return set(papermill.inspect_notebook(str(notebook)))
    except Exception as error:
        raise BadConfig(f"{notebook.name} can't be read as a notebook ({type(error).__name__}: {error})") from None
