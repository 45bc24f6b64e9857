"""Schedule files: what runs when, and a sentence for each bad line."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import nbformat
import pytest

from tradealgo.domain.errors import BadConfig
from tradealgo.domain.hours import IST
from tradealgo.live.schedule import Job, Schedule, last_run, next_run, read_schedule, times_on, weekdays

GOOD = """
[jobs.morning]
notebook = "one.ipynb"
at = "open-10m"
parameters = { speed = 2.0 }
"""


def notebook(folder: Path, name: str = "one.ipynb", parameters: str = "speed = 1.0\nmode = 'paper'") -> Path:
    """A notebook with a cell of parameters."""
    cell = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    kernel = {"name": "tradealgo-research", "display_name": "x", "language": "python"}
    made = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.write(made, folder / name)
    return folder / name


def schedule(folder: Path, text: str) -> Schedule:
    (folder / "schedule.toml").write_text(text)
    return read_schedule(folder / "schedule.toml")


def job(**changes: object) -> Job:
    return Job(**{"name": "j", "notebook": Path("n.ipynb"), "at": ("09:05",)} | changes)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=IST)


def test_a_good_file(tmp_path: Path) -> None:
    """Defaults: trading days, the research kernel, a folder beside the file."""
    notebook(tmp_path)
    found = schedule(tmp_path, GOOD)
    (one,) = found.jobs
    assert (one.name, one.at, one.days, one.kernel) == ("morning", ("open-10m",), "trading", "tradealgo-research")
    assert one.parameters == {"speed": 2.0}
    assert found.runs == tmp_path / "runs"
    assert found.job("morning") is one
    with pytest.raises(BadConfig, match="no job 'evening': it has morning"):
        found.job("evening")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('at = "25:00"', "line 4: at = '25:00': expected \"HH:MM\""),
        ("at = []", "line 4: at = []"),
        ('notebook = "two.ipynb"', "line 3: there is no notebook at two.ipynb"),
        ('notebook = "one.py"', "line 3: notebook = 'one.py': expected a notebook's path"),
        ("parameters = { sped = 2.0 }", "line 5: one.ipynb has no parameter sped: it has mode, speed"),
        ("parameters = { speed = 2020-01-01 }", "line 5: parameters"),
        ('days = "1-5"', "numbers mean other days"),
        ('days = "montag"', "line 6: days = 'montag'"),
        ('kernel = "python3"', "line 6: kernel = 'python3': expected 'tradealgo-research' or 'tradealgo-live'"),
        ("grace_min = 0", "line 6: grace_min = 0: expected whole minutes"),
        ("timeout_min = true", "line 6: timeout_min = True"),
        ("notbook = 1", "line 6: unknown key 'notbook': expected one of notebook, at"),
    ],
)
def test_each_bad_line_has_its_sentence(tmp_path: Path, line: str, said: str) -> None:
    """The line's number, what was found and what was expected."""
    notebook(tmp_path)
    key = line.split(" = ")[0]
    lines = [f"{line}" if each.startswith(f"{key} =") else each for each in GOOD.splitlines()]
    text = "\n".join(lines if line in lines else [*lines, line])
    with pytest.raises(BadConfig) as caught:
        schedule(tmp_path, text)
    assert said in str(caught.value)


def test_all_bad_lines_are_told_at_once(tmp_path: Path) -> None:
    """Three mistakes in two jobs are three lines, each with its number."""
    notebook(tmp_path)
    text = GOOD + 'days = "never"\n[jobs.Evening]\nnotebook = "one.ipynb"\nat = "9:05"\n'
    with pytest.raises(BadConfig) as caught:
        schedule(tmp_path, text)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [f"schedule.toml line {n}" for n in (6, 7, 9)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there are no jobs"),
        ("[jobs.a]\nat = ", "can't be read as TOML"),
        ("[job.a]\n", "unknown key 'job'"),
        ("jobs = 3", "there are no jobs"),
        ("[jobs]\na = 1", "a is no table"),
        ("[jobs.a]\n", "job a lacks notebook"),
    ],
)
def test_a_file_that_is_no_schedule(tmp_path: Path, text: str, said: str) -> None:
    """Refused with what was expected."""
    with pytest.raises(BadConfig, match=said):
        schedule(tmp_path, text)


def test_a_missing_file(tmp_path: Path) -> None:
    """Says how to give one."""
    with pytest.raises(BadConfig, match="--config"):
        read_schedule(tmp_path / "none.toml")


def test_holidays_and_weekends_are_skipped() -> None:
    """From Friday to Monday; Republic Day 2026 is a holiday, the Budget's Sunday is not."""
    daily = job()
    assert next_run(daily, at("2026-11-20T09:05")) == at("2026-11-23T09:05")
    assert next_run(daily, at("2026-01-24T12:00")) == at("2026-01-27T09:05")
    assert next_run(daily, at("2026-01-31T12:00")) == at("2026-02-01T09:05")
    assert next_run(job(days="mon-fri"), at("2026-01-24T12:00")) == at("2026-01-26T09:05")


def test_times_follow_the_days_own_hours() -> None:
    """Derivatives close at 15:40 since August 2026; Muhurat is an evening hour."""
    edges = job(at=("close+20m", "open-10m", "12:00"))
    said = [f"{t:%H:%M}" for t in times_on(edges, dt.date(2026, 11, 20))]
    assert said == ["09:05", "12:00", "16:00"]
    assert [f"{t:%H:%M}" for t in times_on(edges, dt.date(2026, 7, 20))] == ["09:05", "12:00", "15:50"]
    assert [f"{t:%H:%M}" for t in times_on(edges, dt.date(2026, 11, 8))] == ["12:00", "17:50", "19:20"]


def test_a_run_that_was_missed_is_due_within_its_grace() -> None:
    """Ten minutes by default, also over midnight."""
    assert last_run(job(), at("2026-11-20T09:15")) == at("2026-11-20T09:05")
    assert last_run(job(), at("2026-11-20T09:16")) is None
    assert last_run(job(), at("2026-11-20T09:04")) is None
    late = job(at=("23:55",), days="all")
    assert last_run(late, at("2026-11-21T00:03")) == at("2026-11-20T23:55")


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("sat,sun", {5, 6}),
        ("fri-mon", {4, 5, 6, 0}),
        ("wed", {2}),
        ("all", set(range(7))),
    ],
)
def test_names_of_days(text: str, days: set[int]) -> None:
    """Monday is 0, by name only."""
    assert weekdays(text) == days
