"""Production notebooks: run on schedule by papermill, their day reported, their strategy promoted. Real processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import nbformat
import psutil
import pytest

from tradealgo.config import SessionDir
from tradealgo.live import supervisor
from tradealgo.live.promote import promotions
from tradealgo.live.scheduler import past_runs

#: A notebook's run starts three Pythons, which takes ten seconds, or a minute on a machine that is busy with other work.
pytestmark = pytest.mark.timeout(420)

PRODUCTION = Path(__file__).resolve().parents[2] / "notebooks" / "production"
SCHEDULE = """
runs = "{runs}"

[jobs.morning]
notebook = "{production}/01_morning_launch.ipynb"
at = "open-10m"
parameters = {{ speed = 1200.0, warm_up_days = 2, strategy_parameters = {{ fast = 10, slow = 40 }} }}

[jobs.close]
notebook = "{production}/02_close_report.ipynb"
at = "close+20m"
parameters = {{ run_dir = "{report}" }}

[jobs.broken]
notebook = "{production}/02_close_report.ipynb"
at = "close+20m"
parameters = {{ run_dir = "{runs}/../schedule.toml" }}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home, a schedule and its runs; whatever still runs at the end is stopped."""
    folder = tmp_path_factory.mktemp("production")
    text = SCHEDULE.format(runs=folder / "runs", report=folder / "report", production=PRODUCTION)
    (folder / "schedule.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADEALGO_HOME", str(folder / "home"))
        patch.delenv("REDIS_URL", raising=False)
        yield folder
        for path in folder.glob("home/sessions/*"):
            supervisor.stop_session(SessionDir(path))


def environment(place: Path, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("KITE_", "TRADEALGO_")) and k != "REDIS_URL"}
    return clean | {"TRADEALGO_HOME": str(place / "home"), "PYTHONUNBUFFERED": "1"} | more


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tradealgo.cli", *words]


def tradealgo(place: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), capture_output=True, text=True, timeout=300, env=environment(place, **more), cwd=place
    )


def schedule_of(folder: Path, *cells: str, rest: str = "", name: str = "job", at: str = '"09:05"') -> Path:
    """A schedule of one notebook with these cells."""
    kernel = {"name": "tradealgo-research", "display_name": "x", "language": "python"}
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": kernel, "language_info": {"name": "python"}},
    )
    nbformat.write(made, folder / f"{name}.ipynb")
    file = folder / "one.toml"
    before = file.read_text() if file.exists() else ""
    file.write_text(f'{before}[jobs.{name}]\nnotebook = "{name}.ipynb"\nat = {at}\ndays = "all"\n{rest}\n')
    return file


def test_morning_launch(place: Path) -> None:
    """papermill runs the shipped notebook: a session is launched, and outlives its notebook."""
    done = tradealgo(place, "scheduler", "--config", str(place / "schedule.toml"), "--once", "morning")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (place / "home" / "sessions").iterdir()
    assert supervisor.is_running(SessionDir(folder))
    assert (folder / "warm_up.npz").exists()


def test_a_close_report_that_fails_has_ended_the_session(place: Path) -> None:
    """The session is ended first: a report that can't be written fails, and leaves nothing running into the next day."""
    done = tradealgo(place, "scheduler", "--config", str(place / "schedule.toml"), "--once", "broken")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "schedule.toml" in done.stdout
    (folder,) = (place / "home" / "sessions").iterdir()
    assert not supervisor.is_running(SessionDir(folder))


def test_close_report(place: Path) -> None:
    """It holds the session, which has ended, against its backtest with the same warm-up, and writes the report."""
    config = str(place / "schedule.toml")
    done = tradealgo(place, "scheduler", "--config", config, "--once", "close")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (place / "home" / "sessions").iterdir()
    summary = json.loads((place / "report" / "summary.json").read_text())
    assert summary["session"] == folder.name
    assert any(line.endswith(" 0 differences") for line in summary["lines"])
    assert (place / "report" / "report.html").stat().st_size > 10_000
    rows = json.loads(tradealgo(place, "scheduler", "--config", config, "--list", "--json").stdout)
    ends = {row["job"]: re.search(r"exit code (\d+)", row["last"]) for row in rows}
    assert {job: end and end[1] for job, end in ends.items()} == {"morning": "0", "close": "0", "broken": "1"}


def test_the_strategy_is_promoted(place: Path) -> None:
    """The session did what its backtest says and ended clean: promote passes, and a live launch asks for just that."""
    done = tradealgo(place, "promote", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["promoted"]
    assert {c["check"] for c in said["checks"]} >= {
        "mode",
        "end",
        "source",
        "backtest",
        "look-ahead",
        "parity",
        "trades",
    }
    texts = {c["check"]: c["text"] for c in said["checks"]}
    told = r"fills; the session made Rs [-+][\d,.]+ after charges, the backtest by then Rs [-+][\d,.]+; \d+ orders? filled Rs [\d,.]+ "
    assert re.search(told + r"(worse|better) than in the backtest.*basis points", texts["trades"])
    (made,) = promotions()
    assert made.parameters == {"fast": 10, "slow": 40}
    assert made.text in tradealgo(place, "promote", "--list").stdout
    live = ("launch", "EmaCross", "NSE:INFY", "--mode", "live")
    keys = {"KITE_USER_ID": "ZZ0000", "KITE_API_KEY": "none"}  # no secret: no login is tried, nothing can start
    other = tradealgo(place, *live, "-p", "fast=11", "-p", "slow=40", **keys)
    assert other.returncode == 2
    assert "was never promoted" in other.stderr
    same = tradealgo(place, *live, "-p", "fast=10", "-p", "slow=40", **keys)
    assert same.returncode == 2
    assert made.text in same.stdout
    assert "KITE_API_SECRET" in same.stderr
    assert "KITE_API_SECRET" in tradealgo(place, *live, "--unpromoted", **keys).stderr


def test_the_systemd_units_check_finds_a_clean_end(place: Path) -> None:
    """What deploy/tradealgo.service runs after a session: nothing is left open, so it doesn't fail."""
    lines = (PRODUCTION.parents[1] / "deploy" / "tradealgo.service").read_text().splitlines()
    (check,) = (shlex.split(line) for line in lines if line.startswith("ExecStopPost="))
    done = subprocess.run(
        [sys.executable, *check[1:]], capture_output=True, text=True, timeout=300, env=environment(place)
    )
    assert done.returncode == 0, done.stderr


class Messenger(HTTPServer):
    """Where alerts go: keeps what was posted."""

    def __init__(self) -> None:
        self.posted: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Take)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server_address[1]}/"


class _Take(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def messenger() -> Iterator[Messenger]:
    with Messenger() as server:
        yield server
        server.shutdown()


def started(place: Path, config: Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("scheduler", "--config", str(config)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment(place, **more), cwd=place,
    )  # fmt: skip


def due_now() -> str:
    """The minute that runs, IST: due within the grace of a scheduler that starts now."""
    from tradealgo.domain.hours import ist_text

    return f'"{ist_text(time.time_ns() - 30 * 10**9, "%H:%M")}"'


def until(holds: object, timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_a_failing_notebook_is_alerted_and_stops_nothing_else(
    place: Path, tmp_path: Path, messenger: Messenger
) -> None:
    """A scheduler that comes up late makes up for both runs; the one that fails is alerted; SIGTERM ends it with 0."""
    at = due_now()
    config = schedule_of(tmp_path, "assert 1 == 2, 'the books disagree'", name="bad", at=at)
    schedule_of(tmp_path, "print('fine')", name="good", at=at)
    process = started(place, config, TRADEALGO_ALERT_URLS=messenger.url)
    runs = tmp_path / "runs"
    until(
        lambda: (
            len(list(runs.glob("*/*.json"))) == 2
            and all('"exit": null' not in p.read_text() for p in runs.glob("*/*.json"))
        )
    )
    until(lambda: messenger.posted)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    ends = {p.stem[5:]: json.loads(p.read_text()) for p in runs.glob("*/*.json")}
    assert (ends["bad"]["exit"], ends["good"]["exit"]) == (1, 0)
    assert "the books disagree" in ends["bad"]["error"]
    assert ["the books disagree" in posted["message"] for posted in messenger.posted] == [True]
    again = started(place, config)
    assert again.stdout is not None
    first = [again.stdout.readline() for _ in range(2)]  # a line a job, behind one of what it makes up for
    assert all("runs next" in line for line in first), first  # what was begun is not run twice
    again.send_signal(signal.SIGTERM)
    assert "told to stop" in again.communicate(timeout=60)[0]


def test_sigterm_ends_a_running_notebook(place: Path, tmp_path: Path) -> None:
    """The scheduler doesn't wait for an hour-long cell: the kernel is gone, the run is marked, and it exits 0."""
    cells = f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))", "import time; time.sleep(3600)"
    config = schedule_of(tmp_path, *cells, at=due_now())
    process = started(place, config)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    busy = tradealgo(place, "scheduler", "--config", str(config), "--once", "job")
    assert busy.returncode == 1
    assert "job job is running already" in busy.stderr
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    (run,) = (json.loads(p.read_text()) for p in tmp_path.glob("runs/*/*.json"))
    assert run["exit"] == 130
    kernel = int((tmp_path / "pid").read_text())
    until(lambda: not psutil.pid_exists(kernel))  # killed, it is there until its parent has heard of it


def test_a_run_that_was_cut_off_is_alerted_by_the_next_scheduler(
    place: Path, tmp_path: Path, messenger: Messenger
) -> None:
    """Scheduler, papermill and kernel die at once, as with the machine: the next one alerts, and doesn't run it again."""
    cells = f"open({str(tmp_path / 'began')!r}, 'a').write('x')", "import time; time.sleep(3600)"
    config = schedule_of(tmp_path, *cells, at=due_now(), rest="grace_min = 600")
    process = started(place, config)
    until(lambda: (tmp_path / "began").exists() and (tmp_path / "began").read_text())
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    for alerts in (1, 0):  # the one after that has nothing new to tell
        process = started(place, config, TRADEALGO_ALERT_URLS=messenger.url)
        assert process.stdout is not None
        while "runs next" not in (line := process.stdout.readline()):
            assert line, "the scheduler ended"
        until(lambda: len(messenger.posted) == 1)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[0].count("ALERT") == alerts
    assert "was cut off" in messenger.posted[0]["message"]
    assert (tmp_path / "began").read_text() == "x"
    (run,) = past_runs_of(tmp_path)
    assert run.exit == 137  # type: ignore[attr-defined]


def test_a_bad_schedule_is_one_sentence_a_line(place: Path, tmp_path: Path) -> None:
    """Exit code 2, no traceback, nothing runs."""
    config = schedule_of(tmp_path, "1", at='"9:05"', rest="parameters = { pace = 2 }")
    said = tradealgo(place, "scheduler", "--config", str(config))
    assert said.returncode == 2
    assert "one.toml line 3: at = '9:05'" in said.stderr
    assert "Traceback" not in said.stderr
    assert not past_runs_of(tmp_path)
    assert (
        "no job 'x': it has morning, close, broken"
        in tradealgo(place, "scheduler", "--config", str(place / "schedule.toml"), "--once", "x").stderr
    )


def past_runs_of(folder: Path) -> list[object]:
    from tradealgo.live.schedule import Schedule

    return list(past_runs(Schedule(path=folder, runs=folder / "runs", jobs=())))
