"""Runs a schedule's notebooks by papermill: each at its time, by itself, under a deadline; failures are alerted.

A run is a process of its own, so that a notebook that crashes, hangs or eats the memory is nobody else's trouble. Its
exit code is papermill's. Beside each executed copy lies a `.json` that says when it was due, when it ran and how it
ended; it is written before the notebook starts, so that no run is ever made twice, whatever is killed or restarted.
What of today was missed or cut off meanwhile, the next scheduler tells people when it starts.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from tradealgo.config import home
from tradealgo.domain.errors import LeaseHeld
from tradealgo.domain.hours import IST
from tradealgo.live.schedule import Job, Schedule, days_in_grace, last_run, next_run, times_on

#: Exit codes that no notebook gave: ended at its deadline, or because the scheduler was told to stop.
TIMED_OUT, STOPPED = 124, 130
#: Nor these: its time went by without a run, or it was killed with its scheduler.
MISSED, CUT_OFF = 125, 137
#: How long an interrupted papermill has to shut its kernel down.
INTERRUPT_S = 10.0
POLL_S = 0.1
#: How often it looks at the clock: one wait until the next run would last as much longer as the machine sleeps meanwhile.
LOOK_S = 10.0
#: Notebooks that may run at the same time.
WORKERS = 4


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as its `.json` says. Times are ISO, IST; `started` is empty for a run that was missed, `exit` None while it runs and
    until the next scheduler starts if it was killed with -9."""

    job: str
    due: str
    notebook: str
    parameters: dict[str, Any]
    started: str = ""
    ended: str = ""
    exit: int | None = None
    error: str = ""


class Papers:
    """Where a run's files lie: `runs/2026-11-23/0905-morning-launch.ipynb`, its `.json` and its `.log`."""

    def __init__(self, schedule: Schedule, job: Job, due: dt.datetime, *, by_hand: bool = False) -> None:
        local = due.astimezone(IST)
        stem = f"{local:%H%M%S}" if by_hand else f"{local:%H%M}"
        self.notebook = schedule.runs / f"{local:%Y-%m-%d}" / f"{stem}-{job.name}.ipynb"

    status = property(lambda self: self.notebook.with_suffix(".json"))
    log = property(lambda self: self.notebook.with_suffix(".log"))


def _write(status: Path, run: Run) -> None:
    """All at once."""
    temporary = status.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1))
    os.replace(temporary, status)


def _read(statuses: Iterable[Path]) -> Iterator[tuple[Path, Run]]:
    for path in statuses:
        with contextlib.suppress(ValueError, OSError):
            yield path, msgspec.json.decode(path.read_bytes(), type=Run)


def past_runs(schedule: Schedule) -> list[Run]:
    """All runs of a schedule's folder, oldest first."""
    found = [run for _, run in _read(sorted(schedule.runs.glob("*/*.json")))]
    return sorted(found, key=lambda run: run.started or run.due)


def only_one(job: Job) -> contextlib.AbstractContextManager[None]:
    """One run of a job at a time in this home, whoever starts it. Raises LeaseHeld."""
    why = f"job {job.name} is running already: its next run waits until this one has ended"
    return _locked(home() / "scheduler" / f"{job.name}.lock", why)


def _only_scheduler(schedule: Schedule) -> contextlib.AbstractContextManager[None]:
    """Two of one file would each alert that the other runs its jobs. Raises LeaseHeld."""
    name = hashlib.blake2b(str(schedule.path).encode(), digest_size=6).hexdigest()
    why = f"a scheduler runs {schedule.path} already: look with `tradealgo scheduler --list`, or end that one first"
    return _locked(home() / "scheduler" / f"of-{name}.serving", why)


@contextlib.contextmanager
def _locked(path: Path, why: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LeaseHeld(why) from None
        yield


def lost_runs(schedule: Schedule, now: dt.datetime) -> list[tuple[Path, Run]]:
    """Today's runs that came to nothing while no scheduler was there, and where to say so; not what is still made up for."""
    return [found for job in schedule.jobs for found in (*_missed(schedule, job, now), *_cut_off(schedule, job, now))]


def _missed(schedule: Schedule, job: Job, now: dt.datetime) -> Iterator[tuple[Path, Run]]:
    for due in (t for day in days_in_grace(job, now) for t in times_on(job, day) if _since(job, now) <= t <= now):
        papers = Papers(schedule, job, due)
        if due != last_run(job, now) and not papers.status.exists():
            why = (
                f"missed its run of {due:%H:%M}: no scheduler was there, and its grace of {job.grace_min} minutes is over; "
                f"it was not run: `tradealgo scheduler --once {job.name}` runs it now"
            )
            yield papers.status, _not_run(job, due, why)


def _cut_off(schedule: Schedule, job: Job, now: dt.datetime) -> Iterator[tuple[Path, Run]]:
    folders = [schedule.runs / f"{day:%Y-%m-%d}" for day in days_in_grace(job, now)]
    for path, run in _read(p for folder in folders for p in sorted(folder.glob("*.json"))):
        is_new = dt.datetime.fromisoformat(run.due) >= _since(job, now)
        if run.job == job.name and run.exit is None and is_new and not _is_running(job):
            why = (
                f"its run of {run.started[11:16]} was cut off: the scheduler was killed, or this machine went down; it was not "
                f"run again: what it began may run, see `tradealgo status` and {path.with_suffix('.ipynb')}"
            )
            yield path, msgspec.structs.replace(run, ended=_text(now), exit=CUT_OFF, error=why)


def _since(job: Job, now: dt.datetime) -> dt.datetime:
    """Runs due before this are history: what is older than today, and than the job's grace where it is just past midnight."""
    return min(dt.datetime.combine(now.date(), dt.time(), IST), now - dt.timedelta(minutes=job.grace_min))


def _not_run(job: Job, due: dt.datetime, why: str) -> Run:
    return Run(
        job=job.name, due=_text(due), notebook=job.notebook.name, parameters=job.parameters, exit=MISSED, error=why
    )


def _is_running(job: Job) -> bool:
    try:
        with only_one(job):
            return False
    except LeaseHeld:
        return True


class Runner:
    """Runs jobs, tells what happens, and alerts people when one fails."""

    def __init__(self, schedule: Schedule, say: Callable[[str], None]) -> None:
        self.schedule, self.say = schedule, say
        self.stopping = threading.Event()

    def run(self, job: Job, due: dt.datetime, *, by_hand: bool = False) -> int | None:
        """Run a job to its end; its exit code, or None where this run was begun before. Raises LeaseHeld."""
        papers = Papers(self.schedule, job, due, by_hand=by_hand)
        with only_one(job):
            if papers.status.exists():
                return None
            papers.notebook.parent.mkdir(parents=True, exist_ok=True)
            run = Run(
                job=job.name, due=_text(due), started=_text(_now()), notebook=job.notebook.name, parameters=job.parameters
            )  # fmt: skip
            _write(papers.status, run)
            self.say(f"{job.name} runs: {papers.notebook}")
            code, why = self._execute(job, papers)
            _write(papers.status, msgspec.structs.replace(run, ended=_text(_now()), exit=code, error=why))
        self.say(f"{job.name} ended with exit code {code}" + (f": {why}" if why else ""))
        if code and not self.stopping.is_set():
            self.alert(job.name, f"{why or f'exit code {code}'}; see {papers.notebook}")
        return code

    def _execute(self, job: Job, papers: Papers) -> tuple[int, str]:
        command = [
            sys.executable, "-m", "papermill", str(job.notebook), str(papers.notebook), "--kernel", job.kernel,
            "--cwd", str(job.notebook.parent), "--no-progress-bar", "--parameters_yaml",
            msgspec.json.encode(job.parameters).decode(),
        ]  # fmt: skip
        with open(papers.log, "wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            deadline = time.monotonic() + job.timeout_min * 60
            while process.poll() is None:
                if self.stopping.is_set():
                    return _end(process, STOPPED, "the scheduler was told to stop")
                if time.monotonic() > deadline:  # papermill may wait for ever on a kernel that died
                    return _end(process, TIMED_OUT, f"still running after {job.timeout_min} minutes, ended by force")
                time.sleep(POLL_S)
        return process.returncode, _last_line(papers.log) if process.returncode else ""

    def alert(self, job: str, text: str) -> bool:
        """To people, by the addresses of TRADEALGO_ALERT_URLS, as the Monitor's alerts go; False if it couldn't be sent."""
        from tradealgo.monitor.shell import tell

        self.say(f"ALERT {job}: {text}")
        sent = tell(f"CRITICAL · scheduler · {job}", text)
        if not sent:
            self.say(f"{job}: the alert could not be sent")
        return sent

    def tell_lost(self, status: Path, run: Run) -> None:
        """Alert people of a run that came to nothing, once: what was told is in its `.json`."""
        if self.alert(run.job, run.error):
            status.parent.mkdir(parents=True, exist_ok=True)
            _write(status, run)


def _end(process: subprocess.Popen[bytes], code: int, why: str) -> tuple[int, str]:
    """End a papermill and its kernel; what the kernel launched (a session's supervisor) lives on."""
    kernels = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(INTERRUPT_S)
    if process.poll() is None:
        process.kill()
        process.wait()
    for kernel in kernels:
        with contextlib.suppress(psutil.NoSuchProcess):
            kernel.kill()
    return code, why


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _now() -> dt.datetime:
    return dt.datetime.now(IST)


def _text(when: dt.datetime) -> str:
    return when.astimezone(IST).isoformat(timespec="seconds")


# ---------------------------------------------------------------------------------------------- by the clock


def serve(schedule: Schedule, say: Callable[[str], None]) -> None:
    """Run jobs when they are due, until SIGTERM or SIGINT; then running notebooks are ended, sessions trade on.

    Raises LeaseHeld where another scheduler runs the file.
    """
    with _only_scheduler(schedule):
        _serve(schedule, say)


def _serve(schedule: Schedule, say: Callable[[str], None]) -> None:
    runner, told = Runner(schedule, say), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    scheduler, now = _scheduler(runner), _now()
    lost = lost_runs(schedule, now)
    for job in schedule.jobs:
        _add(scheduler, runner, job, now)
    scheduler.start()
    for status, run in lost:  # a messenger that hangs must hold up no run
        runner.tell_lost(status, run)
    while not told.wait(LOOK_S):
        scheduler.wakeup()
    say("told to stop")
    runner.stopping.set()
    scheduler.shutdown(wait=True)


def _scheduler(runner: Runner) -> Any:
    from apscheduler import events
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler(timezone=IST, executors={"default": ThreadPoolExecutor(WORKERS)})

    scheduler.add_listener(
        lambda event: _tell_lost(runner, event),
        events.EVENT_JOB_MISSED | events.EVENT_JOB_MAX_INSTANCES | events.EVENT_JOB_ERROR,
    )
    return scheduler


def _tell_lost(runner: Runner, event: Any) -> None:
    """APScheduler could not run a job: the next scheduler mustn't tell of it once more."""
    from apscheduler import events

    why = {
        events.EVENT_JOB_MISSED: "its time went by while this machine slept or was busy; it was not run",
        events.EVENT_JOB_MAX_INSTANCES: "it was due while its last run was still running; it was not run again",
    }.get(event.code, f"{getattr(event, 'exception', '')}")
    job = runner.schedule.job(event.job_id)
    due = getattr(event, "scheduled_run_time", None) or event.scheduled_run_times[-1]
    status = Papers(runner.schedule, job, due).status
    if status.exists():  # it was begun
        runner.alert(job.name, why)
    else:
        runner.tell_lost(status, _not_run(job, due, why))


def _add(scheduler: Any, runner: Runner, job: Job, now: dt.datetime) -> None:
    """A run that came due while no scheduler was there is made up for, within the job's grace and once."""
    first = last_run(job, now)
    if first is not None and not Papers(runner.schedule, job, first).status.exists():
        runner.say(f"{job.name} makes up for its run of {first:%H:%M}")
    else:
        first = next_run(job, now)
    scheduler.add_job(
        lambda: runner.run(job, last_run(job, _now()) or _now()), _trigger(job), id=job.name, max_instances=1,
        coalesce=True, misfire_grace_time=job.grace_min * 60, next_run_time=first,
    )  # fmt: skip
    runner.say(f"{job.name} runs next {when_text(next_run(job, now))}")


def when_text(when: dt.datetime | None) -> str:
    """An instant as people read it."""
    return f"{when:%a %d %b %Y %H:%M} IST" if when else "never"


def _trigger(job: Job) -> Any:
    from apscheduler.triggers.base import BaseTrigger

    class ByOurCalendar(BaseTrigger):  # type: ignore[misc]
        """APScheduler's question, answered by `next_run`."""

        def get_next_fire_time(self, previous: dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
            return next_run(job, previous or now)

    return ByOurCalendar()


def job_rows(schedule: Schedule) -> list[dict[str, Any]]:
    """What `tradealgo scheduler --list` shows, the next to run first."""
    last = {run.job: run for run in past_runs(schedule)}
    now = _now()
    far = dt.datetime.max.replace(tzinfo=IST)
    jobs = sorted(schedule.jobs, key=lambda job: next_run(job, now) or far)
    return [
        {
            "job": job.name,
            "next": when_text(next_run(job, now)),
            "notebook": job.notebook.name,
            "kernel": job.kernel,
            "last": _ended(last.get(job.name)),
        }
        for job in jobs
    ]


def _ended(run: Run | None) -> str:
    if run is None:
        return "none yet"
    how = f"exit code {run.exit}" if run.exit is not None else "not ended"
    return f"{run.started or run.due}: {how}" + (f" ({run.error})" if run.error else "")


def run_once(schedule: Schedule, job: Job, say: Callable[[str], None]) -> int:
    """Run a job now; papermill's exit code. SIGTERM and Ctrl-C end the notebook. Raises LeaseHeld."""
    runner = Runner(schedule, say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stopping.set())
    return runner.run(job, _now(), by_hand=True) or 0
