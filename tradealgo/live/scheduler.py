"""Runs a schedule's notebooks by papermill: each at its time, by itself, under a deadline; failures are alerted.

A run is a process of its own, so that a notebook that crashes, hangs or eats the memory is nobody else's trouble. Its
exit code is papermill's. Beside each executed copy lies a `.json` that says when it was due, when it ran and how it
ended; it is written before the notebook starts, so that no run is ever made twice, whatever is killed or restarted.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from tradealgo.config import home
from tradealgo.domain.errors import LeaseHeld
from tradealgo.domain.hours import IST
from tradealgo.live.schedule import Job, Schedule, last_run, next_run

#: Exit codes that no notebook gave: ended at its deadline, or because the scheduler was told to stop.
TIMED_OUT, STOPPED = 124, 130
#: How long an interrupted papermill has to shut its kernel down.
INTERRUPT_S = 10.0
POLL_S = 0.1
#: Notebooks that may run at the same time.
WORKERS = 4


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as its `.json` says. Times are ISO, IST; `exit` is None while it runs, or if it was killed with -9."""

    job: str
    due: str
    started: str
    notebook: str
    parameters: dict[str, Any]
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

    def write(self, run: Run) -> None:
        """All at once."""
        temporary = self.status.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1))
        os.replace(temporary, self.status)


def past_runs(schedule: Schedule) -> list[Run]:
    """All runs of a schedule's folder, oldest first."""
    found = []
    for path in sorted(schedule.runs.glob("*/*.json")):
        with contextlib.suppress(ValueError, OSError):
            found.append(msgspec.json.decode(path.read_bytes(), type=Run))
    return sorted(found, key=lambda run: run.started)


@contextlib.contextmanager
def only_one(job: Job) -> Iterator[None]:
    """One run of a job at a time in this home, whoever starts it. Raises LeaseHeld."""
    path = home() / "scheduler" / f"{job.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LeaseHeld(f"job {job.name} is running already: its next run waits until this one has ended") from None
        yield


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
            papers.write(run)
            self.say(f"{job.name} runs: {papers.notebook}")
            code, why = self._execute(job, papers)
            papers.write(msgspec.structs.replace(run, ended=_text(_now()), exit=code, error=why))
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

    def alert(self, job: str, text: str) -> None:
        """To people, by the addresses of TRADEALGO_ALERT_URLS, as the Monitor's alerts go."""
        from tradealgo.monitor.shell import notifier

        self.say(f"ALERT {job}: {text}")
        sender, _ = notifier(os.environ.get("TRADEALGO_ALERT_URLS", ""))
        if sender is not None and not sender.notify(
            body=text, title=f"CRITICAL · scheduler · {job}", notify_type="failure"
        ):
            self.say(f"{job}: the alert could not be sent")


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
    """Run jobs when they are due, until SIGTERM or SIGINT; then running notebooks are ended, sessions trade on."""
    runner, told = Runner(schedule, say), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    scheduler = _scheduler(runner)
    for job in schedule.jobs:
        _add(scheduler, runner, job)
    scheduler.start()
    told.wait()
    say("told to stop")
    runner.stopping.set()
    scheduler.shutdown(wait=True)


def _scheduler(runner: Runner) -> Any:
    from apscheduler import events
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler(timezone=IST, executors={"default": ThreadPoolExecutor(WORKERS)})

    def lost(event: Any) -> None:
        why = {
            events.EVENT_JOB_MISSED: "its time went by while this machine slept or was busy; it was not run",
            events.EVENT_JOB_MAX_INSTANCES: "it was due while its last run was still running; it was not run again",
        }.get(event.code, f"{getattr(event, 'exception', '')}")
        runner.alert(event.job_id, why)

    scheduler.add_listener(lost, events.EVENT_JOB_MISSED | events.EVENT_JOB_MAX_INSTANCES | events.EVENT_JOB_ERROR)
    return scheduler


def _add(scheduler: Any, runner: Runner, job: Job) -> None:
    """A run that came due while no scheduler was there is made up for, within the job's grace and once."""
    missed, when = last_run(job, _now()), {}
    if missed is not None and not Papers(runner.schedule, job, missed).status.exists():
        when = {"next_run_time": _now()}
        runner.say(f"{job.name} makes up for its run of {missed:%H:%M}")
    scheduler.add_job(
        lambda: runner.run(job, last_run(job, _now()) or _now()), _trigger(job), id=job.name, max_instances=1,
        coalesce=True, misfire_grace_time=job.grace_min * 60, **when,
    )  # fmt: skip
    runner.say(f"{job.name} runs next {when_text(next_run(job, _now()))}")


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
    return f"{run.started}: {how}" + (f" ({run.error})" if run.error else "")


def run_once(schedule: Schedule, job: Job, say: Callable[[str], None]) -> int:
    """Run a job now; papermill's exit code. SIGTERM and Ctrl-C end the notebook. Raises LeaseHeld."""
    runner = Runner(schedule, say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stopping.set())
    return runner.run(job, _now(), by_hand=True) or 0
