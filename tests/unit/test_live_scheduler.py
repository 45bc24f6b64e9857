"""What a scheduler that starts says of today's runs that came to nothing: each once, and none that is still made up for."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from apscheduler import events
from apscheduler.executors import base as executors
from apscheduler.schedulers import base as schedulers

from tradealgo.domain.errors import LeaseHeld
from tradealgo.domain.hours import IST
from tradealgo.live import scheduler
from tradealgo.live.schedule import Job, Schedule
from tradealgo.live.scheduler import Runner, _only_scheduler, _tell_lost, job_rows, lost_runs, only_one, past_runs

NOON = dt.datetime(2026, 11, 23, 12, 0, tzinfo=IST)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of each test's own, and nobody to send alerts to."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRADEALGO_ALERT_URLS", raising=False)


def schedule(folder: Path, *at: str, grace_min: int = 10) -> Schedule:
    job = Job(name="morning", notebook=folder / "one.ipynb", at=at, days="all", grace_min=grace_min)
    return Schedule(path=folder / "schedule.toml", runs=folder / "runs", jobs=(job,))


def told(plan: Schedule, now: dt.datetime = NOON) -> list[str]:
    """The alerts of a scheduler that starts at `now`."""
    said: list[str] = []
    runner = Runner(plan, said.append)
    for status, run in lost_runs(plan, now):
        runner.tell_lost(status, run)
    return [line for line in said if line.startswith("ALERT")]


def begun(plan: Schedule, name: str = "0905-morning", **more: object) -> Path:
    """A run's `.json`, as a scheduler leaves it that is killed while the notebook runs."""
    path = plan.runs / "2026-11-23" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    run = {"job": "morning", "due": "2026-11-23T09:05:00+05:30", "started": "2026-11-23T09:05:01+05:30",
           "notebook": "one.ipynb", "parameters": {}, "ended": "", "exit": None, "error": ""}  # fmt: skip
    path.write_text(json.dumps(run | more))
    return path


def test_a_run_that_was_missed_is_told_once(tmp_path: Path) -> None:
    """Back long after its time: one alert, also if the scheduler starts again; tomorrow's miss is another."""
    plan = schedule(tmp_path, "09:05", "13:00")
    (line,) = told(plan)
    assert "missed its run of 09:05" in line
    assert "--once morning" in line
    assert told(plan) == []
    assert len(told(plan, NOON + dt.timedelta(days=1))) == 1
    assert [(run.started, run.exit) for run in past_runs(plan)] == [("", 125)] * 2
    assert "09:05:00+05:30: exit code 125 (missed" in job_rows(plan)[0]["last"]


def test_a_run_that_is_made_up_for_is_not_lost(tmp_path: Path) -> None:
    """Within its grace the last one is run, an earlier one of two is told; shortly after midnight too."""
    assert told(schedule(tmp_path, "11:55")) == []
    (line,) = told(schedule(tmp_path, "11:52", "11:55"))
    assert "11:52" in line
    midnight = dt.datetime(2026, 11, 24, 0, 2, tzinfo=IST)
    assert told(schedule(tmp_path, "23:58"), midnight) == []
    yesterdays = schedule(tmp_path, "12:05", grace_min=720)
    assert told(yesterdays, NOON - dt.timedelta(hours=1)) == []  # history


def test_a_run_that_was_cut_off_is_told_once(tmp_path: Path) -> None:
    """Killed with its scheduler: one alert, and an end in its `.json`."""
    plan = schedule(tmp_path, "09:05")
    path = begun(plan)
    (line,) = told(plan)
    assert "its run of 09:05 was cut off" in line
    assert "0905-morning.ipynb" in line
    assert told(plan) == []
    assert json.loads(path.read_text())["exit"] == 137


def test_a_run_that_still_runs_or_has_ended_is_no_news(tmp_path: Path) -> None:
    """Another process may have begun it by hand: its lock is held."""
    plan = schedule(tmp_path, "09:05")
    path = begun(plan)
    with only_one(plan.jobs[0]):
        assert told(plan) == []
    assert json.loads(path.read_text())["exit"] is None
    begun(plan, exit=1)
    assert told(plan) == []


def test_what_could_not_be_sent_is_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut the network may be back later than the scheduler."""
    plan = schedule(tmp_path, "09:05")
    with monkeypatch.context() as patch:
        patch.setenv("TRADEALGO_ALERT_URLS", "json://127.0.0.1:1/")
        assert len(told(plan)) == 1
    assert len(told(plan)) == 1
    assert told(plan) == []


def test_a_run_whose_time_went_by_in_a_scheduler_is_not_told_by_the_next(tmp_path: Path) -> None:
    """A machine that slept through the time is alerted at once; a restart adds nothing."""
    plan, said = schedule(tmp_path, "09:05"), []
    due = NOON.replace(hour=9, minute=5)
    event = SimpleNamespace(code=events.EVENT_JOB_MISSED, job_id="morning", scheduled_run_time=due)
    _tell_lost(Runner(plan, said.append), event)
    assert "its time went by while this machine slept" in said[0]
    assert told(plan) == []


@pytest.mark.timeout(180)
def test_a_machine_that_slept_runs_what_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes on while it sleeps, the wait for the next run doesn't: what is due is run, within its grace."""
    asleep = [dt.timedelta()]

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return dt.datetime.now(tz) + asleep[0]

    for module in (executors, schedulers):
        monkeypatch.setattr(module, "datetime", Clock)
    monkeypatch.setattr(scheduler, "_now", lambda: Clock.now(IST))
    monkeypatch.setattr(scheduler, "LOOK_S", 0.05)
    waits, ran = threading.Event(), threading.Event()
    process_jobs = schedulers.BaseScheduler._process_jobs

    def processed(self: schedulers.BaseScheduler) -> float:
        wait_s = process_jobs(self)
        waits.set()
        return wait_s

    monkeypatch.setattr(schedulers.BaseScheduler, "_process_jobs", processed)
    monkeypatch.setattr(Runner, "_execute", lambda *_: (ran.set(), (0, ""))[1])
    plan = schedule(tmp_path, f"{dt.datetime.now(IST) + dt.timedelta(hours=2):%H:%M}", grace_min=30)

    def sleep_and_wake() -> None:
        waits.wait(60)
        asleep[0] = dt.timedelta(hours=2)
        ran.wait(20)
        os.kill(os.getpid(), signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    sleeper = threading.Thread(target=sleep_and_wake)
    sleeper.start()
    try:
        scheduler.serve(plan, print)
    finally:
        sleeper.join()
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ran.is_set()


def test_a_second_scheduler_of_a_file_is_refused(tmp_path: Path) -> None:
    """It would alert at each run that the other had it."""
    plan = schedule(tmp_path, "09:05")
    with _only_scheduler(plan), pytest.raises(LeaseHeld, match=r"a scheduler runs .*schedule.toml already"):
        scheduler.serve(plan, print)
