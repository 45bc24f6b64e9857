"""The systemd units of deploy/: their commands are run as systemd would, without systemd."""

from __future__ import annotations

import configparser
import datetime as dt
import http.server
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tradealgo.domain.hours import IST, ist_text, market_hours
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.live import session, supervisor
from tradealgo.live.manifest import free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FUTURE = Instrument(instrument_token=2, exchange="NFO", tradingsymbol="NIFTY26NOVFUT", kind=Kind.FUTURE)


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(DEPLOY / name)
    return parser


def words(name: str, key: str) -> list[str]:
    """A command of a unit, as its process gets it."""
    return shlex.split(unit(name)["Service"][key].replace("%%", "%").replace("$$", "$"))


def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRADEALGO_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=110, env=clean | more)


@pytest.mark.parametrize(
    ("now", "launches"),
    [
        ("10850", True),
        ("50929", True),
        ("10930", False),  # Monday
        ("31100", False),
        ("60850", False),  # Saturday
        ("70900", False),
    ],
)
def test_a_missed_morning_is_made_up_for_until_half_past_nine(tmp_path: Path, now: str, launches: bool) -> None:
    """The timer is persistent: whenever the machine comes back, the unit is started, and fails where it is too late."""
    date = tmp_path / "date"
    date.write_text(f'#!/bin/sh\n[ "$TZ $1" = "IST-5:30 +%u%H%M" ] && echo {now}\n')
    date.chmod(0o755)
    done = run(*words("tradealgo.service", "ExecStartPre"), PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode == 0) == launches
    assert ("too late" in done.stdout) != launches


def test_the_session_ends_between_the_close_and_the_next_morning() -> None:
    """The time-out of a session that the timer starts."""
    program, preserve, lasts, *_ = words("tradealgo.service", "ExecStart")
    assert (program, preserve) == ("/usr/bin/timeout", "--preserve-status")
    hours, minutes = map(int, lasts.removesuffix("m").split("h"))
    days, starts, zone = unit("tradealgo.timer")["Timer"]["OnCalendar"].split()
    assert (days, zone) == ("Mon..Fri", "Asia/Kolkata")
    day = dt.date(2026, 11, 23)
    ends = dt.datetime.combine(day, dt.time.fromisoformat(starts), IST) + dt.timedelta(hours=hours, minutes=minutes)
    assert ist_text(market_hours(FUTURE, day).close, "%H:%M") < f"{ends:%H:%M}" < "18:00"


def test_nobody_ends_a_session_in_the_middle_of_its_stop() -> None:
    """A stop may wait for a kill and for each module; and one module without memory is no reason to end the rest."""
    service = unit("tradealgo.service")["Service"]
    compose = (DEPLOY / "compose.yaml").read_text()
    (grace,) = re.findall(r"stop_grace_period: (\d+)s", compose)
    needed = session.KILL_DONE_S + session.STOP_SAID_S + supervisor.STOP_TIMEOUT_S
    assert min(int(grace), int(service["TimeoutStopSec"])) > needed + 10
    assert service["OOMPolicy"] == "continue"


def test_the_end_is_checked_and_a_failure_is_told(tmp_path: Path) -> None:
    """What runs after the session fails where there is none to look at; OnFailure's unit sends an alert."""
    assert unit("tradealgo.service")["Unit"]["OnFailure"] == "tradealgo-failed.service"
    check = words("tradealgo.service", "ExecStopPost")
    assert check[0].endswith("/python")
    done = run(sys.executable, *check[1:], TRADEALGO_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "none was ever launched in " in done.stderr
    posted: list[dict[str, str]] = []

    class Take(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    telling = words("tradealgo-failed.service", "ExecStart")[1:]
    with http.server.HTTPServer(("127.0.0.1", free_port()), Take) as server:  # nobody else is handed it afterwards
        address = f"json://127.0.0.1:{server.server_address[1]}/"
        process = subprocess.Popen([sys.executable, *telling], env=os.environ | {"TRADEALGO_ALERT_URLS": address})
        server.timeout = 60
        server.handle_request()
        assert process.wait(60) == 0
    assert "left something open" in posted[0]["message"]
    assert run(sys.executable, *telling, TRADEALGO_ALERT_URLS=address).returncode == 1  # nobody hears it any more
