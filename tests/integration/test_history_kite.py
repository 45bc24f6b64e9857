"""History from Kite's historical endpoint, served by the paper exchange to the official client."""

import datetime as dt
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from kiteconnect import KiteConnect
from kiteconnect.exceptions import GeneralException

from tradealgo.domain.errors import BadConfig, InvalidInput, OutcomeUnknown, TokenDead, UnknownInstrument
from tradealgo.exchange.testing import DAY, RunningExchange, running_exchange
from tradealgo.live.warm_up import asked_for, live_days
from tradealgo.research import kite_history
from tradealgo.research.history import history, repairs_of, to_array
from tradealgo.research.kite_history import Downloader, windows

PLAYED = dt.date.fromisoformat(DAY)
AFTER = PLAYED + dt.timedelta(days=400)


@pytest.fixture(scope="module")
def paper() -> Iterator[RunningExchange]:
    """An exchange whose day is over."""
    with running_exchange() as running:
        running.advance(8 * 3600)
        yield running


@pytest.fixture
def kite(paper: RunningExchange) -> KiteConnect:
    return paper.kite()


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)

    def monotonic(self) -> float:
        return self.now


def calls_of(kite: KiteConnect, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Counts what goes over the wire for candles."""
    made, real = [], kite.historical_data

    def counted(token: int, begin: dt.datetime, end: dt.datetime, interval: str, **options: bool) -> list:
        made.append((token, begin, end, interval))
        return real(token, begin, end, interval, **options)

    monkeypatch.setattr(kite, "historical_data", counted)
    return made


def test_windows_lie_on_a_fixed_grid() -> None:
    """Windows cover the span, touch each other, and are the same for another span."""
    some, others = windows(dt.date(2026, 1, 1), dt.date(2026, 6, 30), 60), windows(dt.date(2026, 3, 1), PLAYED, 60)
    assert some[0][0] <= dt.date(2026, 1, 1) <= dt.date(2026, 6, 30) <= some[-1][1]
    assert all(b[0] - a[1] == dt.timedelta(days=1) for a, b in itertools.pairwise(some))
    assert all(b - a == dt.timedelta(days=59) for a, b in some)
    assert set(some) & set(others)


def test_minutes_are_the_markets(paper: RunningExchange, kite: KiteConnect, tmp_path: Path) -> None:
    """Downloaded minutes are those that the exchange played, oi and volume included."""
    found = history(["NSE:INFY", "NSE:NIFTY 50"], PLAYED, PLAYED, kite=kite, cache=tmp_path)
    market = paper.exchange.market
    for key, frame in found.items():
        assert to_array(frame).tolist() == market.candles[market.instruments.find(key).instrument_token].tolist()
    assert not repairs_of(found["NSE:INFY"])


@pytest.mark.parametrize(("interval", "count"), [("5minute", 75), ("15minute", 25), ("60minute", 7), ("day", 1)])
def test_other_intervals(kite: KiteConnect, tmp_path: Path, interval: str, count: int) -> None:
    """The index's day in longer candles."""
    frame = history("NSE:NIFTY 50", DAY, DAY, interval, kite=kite, cache=tmp_path)["NSE:NIFTY 50"]
    assert len(frame) == count


def test_complete_windows_come_from_the_cache(
    kite: KiteConnect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second read asks Kite for nothing; without a client the cache alone answers."""
    made, clock = calls_of(kite, monkeypatch), Clock()
    span = windows(PLAYED - dt.timedelta(days=150), PLAYED, 60)
    first = Downloader(kite, tmp_path, AFTER, sleep=clock.sleep, monotonic=clock.monotonic)
    read = [first.read("NSE:INFY", "minute", w) for w in span]
    assert len(made) == len(span) >= 3
    again = Downloader(None, tmp_path, AFTER)
    assert [len(again.read("NSE:INFY", "minute", w)) for w in span] == [len(f) for f in read]
    assert sum(map(len, read)) == 360
    with pytest.raises(BadConfig, match="pass kite="):
        again.read("NSE:RELIANCE", "minute", span[0])


def test_a_window_that_reaches_today_is_asked_for_again(
    kite: KiteConnect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What still changes is never kept, and days to come are not asked for."""
    made, clock = calls_of(kite, monkeypatch), Clock()
    downloader = Downloader(kite, tmp_path, PLAYED, sleep=clock.sleep, monotonic=clock.monotonic)
    window = windows(PLAYED, PLAYED, 60)[0]
    for _ in range(2):
        downloader.read("NSE:INFY", "minute", window)
    assert len(made) == 2
    assert made[0][2].date() == PLAYED
    assert not list(tmp_path.rglob("*.parquet"))


def test_requests_keep_to_three_a_second(kite: KiteConnect, tmp_path: Path) -> None:
    """Twelve windows take at least 11 thirds of a second of the downloader's clock."""
    clock = Clock()
    downloader = Downloader(kite, tmp_path, AFTER, sleep=clock.sleep, monotonic=clock.monotonic)
    for window in windows(PLAYED - dt.timedelta(days=660), PLAYED, 60)[:12]:
        downloader.read("NSE:INFY", "minute", window)
    assert clock.now >= 11 / 3


def test_a_download_goes_on_after_faults(paper: RunningExchange, kite: KiteConnect, tmp_path: Path) -> None:
    """A 429 is waited out for 10 s, a 502 for less; then the candles come."""
    clock = Clock()
    downloader = Downloader(kite, tmp_path, AFTER, sleep=clock.sleep, monotonic=clock.monotonic)
    window = windows(PLAYED, PLAYED, 60)[0]
    paper.fault("http_429", path="/instruments/historical")
    assert len(downloader.read("NSE:INFY", "minute", window)) == 360
    assert max(clock.slept) == kite_history.COOL_OFF_S


def test_an_endless_fault_ends(paper: RunningExchange, kite: KiteConnect, tmp_path: Path) -> None:
    """After four attempts the caller hears of it; windows before are kept."""
    clock = Clock()
    downloader = Downloader(kite, tmp_path, AFTER, sleep=clock.sleep, monotonic=clock.monotonic)
    early, late = windows(PLAYED - dt.timedelta(days=60), PLAYED, 60)[:2]
    downloader.read("NSE:INFY", "minute", early)
    paper.fault("http_429", path="/instruments/historical", count=kite_history.ATTEMPTS)
    with pytest.raises(OutcomeUnknown, match="4 attempts"):
        downloader.read("NSE:INFY", "minute", late)
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_a_dead_token_says_log_in(paper: RunningExchange, kite: KiteConnect, tmp_path: Path) -> None:
    """A login elsewhere replaces the token."""
    paper.login()
    with pytest.raises(TokenDead, match="log in again"):
        history("NSE:INFY", DAY, DAY, kite=kite, cache=tmp_path)


def test_requests_that_make_no_sense(kite: KiteConnect, tmp_path: Path) -> None:
    """Unknown interval, days the wrong way round, an instrument that isn't listed."""
    with pytest.raises(InvalidInput, match="unknown interval '2minute'"):
        history("NSE:INFY", DAY, DAY, "2minute", kite=kite, cache=tmp_path)
    with pytest.raises(InvalidInput, match="swap them"):
        history("NSE:INFY", DAY, "2026-01-01", kite=kite, cache=tmp_path)
    with pytest.raises(UnknownInstrument, match="'NSE:NOPE' is not in today's dump"):
        history("NSE:NOPE", DAY, DAY, kite=kite, cache=tmp_path)


def test_a_warm_up_is_read_up_to_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 10:02:30 of the day: all minutes that have ended, and not the one that goes on; nothing comes from the cache."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path))
    with running_exchange() as running:
        running.advance(47 * 60 + 30)
        market = running.exchange.market
        infy, index = market.instruments.find("NSE:INFY"), market.instruments.find("NSE:NIFTY 50")
        now = market.hours(infy.instrument_token).open + (47 * 60 + 30) * 10**9
        found = asked_for(2, [infy, index], 60, live_days(running.kite(), lambda: now)).read()
    for instrument in (infy, index):
        assert found[instrument.key].tolist() == market.candles[instrument.instrument_token][:47].tolist()
    assert list(tmp_path.iterdir()) == []


def test_answers_that_are_not_kites_are_asked_again(kite: KiteConnect, tmp_path: Path) -> None:
    """The official client raises a bare TypeError or KeyError over them; a 500 of Kite's own is a GeneralException."""
    clock, answers = Clock(), [TypeError("'NoneType'"), KeyError("data"), GeneralException("busy", code=500)]
    downloader = Downloader(kite, tmp_path, AFTER, sleep=clock.sleep, monotonic=clock.monotonic)

    def asked() -> str:
        if answers:
            raise answers.pop(0)
        return "candles"

    assert downloader._asked(asked) == "candles"
    answers[:] = [GeneralException("no", code=400)]
    with pytest.raises(InvalidInput, match="Kite refuses the request for candles: no"):
        downloader._asked(asked)
