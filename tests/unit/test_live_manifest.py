"""What a person gives at launch: checked before anything starts, refused in one sentence with the mend."""

from __future__ import annotations

import datetime as dt
import math
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tradealgo.config import Market, Mode
from tradealgo.domain.errors import BadConfig, InvalidInput, UnknownInstrument
from tradealgo.domain.hours import IST, is_trading_day, last_trading_day, session_day
from tradealgo.domain.limits import Limits
from tradealgo.domain.sizing import Sizing
from tradealgo.live import manifest as checks
from tradealgo.live.arguments import market_of, sizing_of, strategy_of
from tradealgo.strategies import EmaCross, Hybrid

DAY = Market(day="2026-11-20", speed=60)
BOOK = checks.market_instruments(DAY)


def built(**changes: object) -> object:
    arguments = {
        "mode": Mode.PAPER, "account": "PAPER1", "capital": 1e6, "sizing": None, "interval": 60, "limits": None,
        "market": DAY, "port": None,
    }  # fmt: skip
    instruments = checks.checked_instruments(["NSE:INFY"], BOOK)
    return checks.build(EmaCross(fast=3), instruments, **(arguments | changes))[0]  # type: ignore[arg-type]


def test_an_unknown_instrument_suggests_near_names() -> None:
    """A typo gets the name that was meant."""
    with pytest.raises(UnknownInstrument, match=r"unknown instrument 'NSE:INFI': did you mean .*NSE:INFY"):
        checks.checked_instruments(["NSE:INFI"], BOOK)


def test_a_bare_symbol_and_a_single_text_are_taken() -> None:
    """INFY is NSE:INFY, and a forgotten list bracket doesn't spell the text out."""
    assert [i.key for i in checks.checked_instruments("INFY", BOOK)] == ["NSE:INFY"]


@pytest.mark.parametrize(
    ("instruments", "words"),
    [
        ([], "no instruments given: expected at least one"),
        (["INFY", "NSE:INFY"], "NSE:INFY is given twice"),
        (["NSE:NIFTY 50"], r"is an index, .* trade its future, NFO:NIFTY26NOVFUT"),
        (["NSE:NIFTY BANK"], r"trade its future, NFO:BANKNIFTY26NOVFUT"),
    ],
)
def test_instruments_that_make_no_sense_are_refused(instruments: list[str], words: str) -> None:
    """None, twice the same, one that can't be bought."""
    with pytest.raises(InvalidInput, match=words):
        checks.checked_instruments(instruments, BOOK)


@pytest.mark.parametrize("capital", [0, -5, math.nan, math.inf, "1e6", None])
def test_capital_must_be_a_sum(capital: object) -> None:
    """Not zero, negative, nan, infinite or a text."""
    with pytest.raises(InvalidInput, match="expected rupees"):
        checks.checked_capital(capital)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_loss_fraction": 2.0}, "max_loss_fraction is 2.0: expected a part of the capital, as 0.02 for 2 %"),
        ({"max_loss_fraction": 0.0}, "expected a part of the capital"),
        ({"max_loss_fraction": -0.02}, "a plain number, 0 or more"),
        ({"max_loss_fraction": math.nan}, "a plain number, 0 or more"),
        ({"max_loss_fraction": "0.02"}, "a plain number, 0 or more"),
        ({"slippage_fraction": 5}, r"slippage_fraction is 5: expected a part of 1, as 0.005 for 0.5%"),
        ({"protect_fraction": 3.0}, "expected a part of 1, as 0.03 for 3.0%"),
        ({"max_open_orders": 5.5}, "a plain whole number"),
        ({"brackets": 1}, "True or False"),
        ({"orders_per_second": 11}, "at most 10, which is all that the broker takes"),
    ],
)
def test_limits_of_the_wrong_unit_are_refused(given: dict[str, Any], words: str) -> None:
    """A kill switch at 200 % of the capital never trips."""
    with pytest.raises(InvalidInput, match=words):
        built(limits=Limits(**given))


def test_limits_that_make_sense_are_taken() -> None:
    """Guards may be wide on paper, where a day goes by at hundreds of times its speed; live they may not."""
    loose = Limits(fat_finger_fraction=10.0)
    assert built(limits=loose).limits == loose  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match=r"fat_finger_fraction is 10.0: expected a part of 1, as 0.03 for 3.0%"):
        checks.checked_limits(loose, Mode.LIVE)
    assert checks.checked_limits(None, Mode.LIVE) == Limits()
    with pytest.raises(InvalidInput, match=r"expected Limits, as in limits=Limits\(max_loss_fraction=0.02\)"):
        built(limits={"max_loss_fraction": 0.01})


def test_a_size_of_many_times_the_capital_is_refused() -> None:
    """20 for 20 %."""
    with pytest.raises(InvalidInput, match=r"fraction is 20 times the capital: expected a part of it, as 0.2 for 20 %"):
        checks.check_sizing(EmaCross(), Sizing(fraction=20))
    checks.check_sizing(EmaCross(), Sizing(fraction=5))


def test_what_no_process_could_read_is_refused() -> None:
    """numpy's numbers can't be written down: nothing is made, nothing starts."""
    with pytest.raises(InvalidInput, match=r"can't be written down \(.*numpy.int64.*\): give plain numbers"):
        built(sizing=Sizing(units=np.int64(10)))  # type: ignore[arg-type]


@pytest.mark.parametrize("interval", [0, 30, 61, 7200, 60.0])
def test_interval_must_be_whole_minutes(interval: object) -> None:
    """Seconds, a multiple of 60, up to an hour."""
    with pytest.raises(InvalidInput, match="whole minutes"):
        checks.checked_interval(interval)  # type: ignore[arg-type]


@pytest.mark.parametrize("account", ["", "../x", "A B", "A" * 21, "é"])
def test_an_account_cant_be_a_path(account: str) -> None:
    """It names files of the home."""
    with pytest.raises(InvalidInput, match="letters and digits only"):
        checks.check_account(account)


def test_a_strategy_that_is_none_is_refused() -> None:
    """A class is made an instance; anything else gets a sentence."""
    assert checks.checked_strategy(EmaCross).parameters == EmaCross().parameters
    with pytest.raises(InvalidInput, match="expected an instance of a Strategy class"):
        checks.checked_strategy("EmaCross")  # type: ignore[arg-type]


class Short(EmaCross):
    def setup(self) -> None:
        self.first = ()[self.fast]


def test_a_setup_that_raises_is_refused_at_the_launch() -> None:
    """Not at the session's first candle; a parameter that it refuses in its own sentence."""
    with pytest.raises(InvalidInput, match=r"Short\(fast=20, slow=50\) can't begin: its setup\(\) raised IndexError"):
        checks.checked_strategy(Short)
    with pytest.raises(BadConfig, match=r"Hybrid\.hedge is 0: expected at least 1"):
        checks.checked_strategy(Hybrid(hedge=0))


def test_a_full_disk_is_told_with_figures(tmp_path: Path) -> None:
    """What is free, what is needed, and the mend."""
    checks.check_space(tmp_path)
    with pytest.raises(BadConfig, match=r"only [\d,]+ MB are free at .*, and a session needs [\d,]+ MB"):
        checks.check_space(tmp_path, needed=10**18)


def test_a_home_that_cant_be_made_is_told(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfig, match="set TRADEALGO_HOME"):
        checks.check_space(tmp_path / "file" / "home")


def test_a_home_that_everybody_writes_is_told(tmp_path: Path) -> None:
    """Of a live session; a folder that is made for it is this user's alone."""
    checks.check_space(tmp_path / "home")
    assert (tmp_path / "home").stat().st_mode & 0o077 == 0
    checks.check_private(tmp_path / "home")
    (tmp_path / "home").chmod(0o777)
    with pytest.raises(BadConfig, match=r"every user of this machine can write into .*: say `chmod go-w"):
        checks.check_private(tmp_path / "home")


def test_a_port_in_use_is_told() -> None:
    """The wanted port is taken by another program."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadConfig, match=rf"port {port} can't be had \(.*in use.*\): leave port out"):
            checks.free_port(port)
    assert checks.free_port(port) == port


@pytest.mark.parametrize("speed", [0, -1, math.nan, 1e9])
def test_a_speed_out_of_range_is_refused(speed: float) -> None:
    """Real time is 1."""
    with pytest.raises(InvalidInput, match="market speed"):
        checks.checked_market(Market(day="2026-11-20", speed=speed))


def test_a_day_that_is_no_date_and_a_file_that_isnt_there_are_refused() -> None:
    """Each with how to write it."""
    with pytest.raises(BadConfig, match="write it as 2026-11-23"):
        checks.market_instruments(Market(day="20 Nov"))
    with pytest.raises(InvalidInput, match=r"no market file at nowhere\.parquet"):
        checks.checked_market(Market(day="2026-11-20", file="nowhere.parquet"))


@pytest.mark.parametrize(
    ("day", "sentence"),
    [
        ("2026-11-22", "Sunday 2026-11-22 is not a trading day of NSE: the nearest is 2026-11-23"),
        ("2026-11-21", "Saturday 2026-11-21 is not a trading day of NSE: the nearest is 2026-11-20"),
        ("2026-10-02", "Friday 2026-10-02 is not a trading day of NSE: the nearest is 2026-10-01"),
    ],
)
def test_a_simulated_day_must_be_one_of_trading(day: str, sentence: str) -> None:
    """Weekends and holidays name the nearest day; a special session on a Sunday is one, and a file has its own days."""
    with pytest.raises(InvalidInput, match=sentence):
        checks.checked_market(Market(day=day))
    assert checks.checked_market(Market(day="2026-02-01")).day == "2026-02-01"
    assert checks.checked_market(Market(day=day, file=__file__)).file == str(Path(__file__).resolve())


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-11-23 02:54", "2026-11-20"),
        ("2026-11-23 09:14", "2026-11-20"),
        ("2026-11-23 09:15", "2026-11-23"),
        ("2026-11-23 23:59", "2026-11-23"),
        ("2026-11-22 12:00", "2026-11-20"),
        ("2026-11-08 17:59", "2026-11-06"),  # the evening session of Diwali
        ("2026-11-08 18:00", "2026-11-08"),
    ],
)
def test_the_last_trading_day_has_begun(now: str, day: str) -> None:
    """Before its open a day has no session to play; any time zone will do."""
    instant = dt.datetime.fromisoformat(now).replace(tzinfo=IST).astimezone(dt.UTC)
    assert last_trading_day(instant).isoformat() == day


def test_the_default_day_is_one_that_can_be_played() -> None:
    """At whatever hour, on whatever day."""
    assert is_trading_day(dt.date.fromisoformat(checks.checked_market(None).day))


def test_a_manifest_says_what_it_was_launched_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strategy by name, parameters, keys, commit, a loopback exchange and a private bus."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    manifest = built()
    assert manifest.strategy == "tradealgo.strategies.ema_cross:EmaCross"  # type: ignore[attr-defined]
    assert manifest.parameters["fast"] == 3  # type: ignore[attr-defined]
    assert manifest.sizing == Sizing(fraction=1.0)  # type: ignore[attr-defined]
    assert manifest.rest_url.startswith("http://127.0.0.1:")  # type: ignore[attr-defined]
    assert manifest.bus_url.startswith("unix:///")  # type: ignore[attr-defined]
    assert "-emacross-" in manifest.session_id  # type: ignore[attr-defined]


def test_a_shared_redis_is_never_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """REDIS_URL may hold a password: the manifest has no bus URL then."""
    monkeypatch.setenv("REDIS_URL", "redis://:secret@127.0.0.1:1/0")
    assert built().bus_url == ""  # type: ignore[attr-defined]


def test_only_what_a_person_chose_makes_two_launches_differ() -> None:
    """Session id, port, time and build don't; capital and parameters do."""
    one, same = built(), built()
    assert checks.differences(one, same) == []  # type: ignore[arg-type]
    assert checks.differences(one, built(capital=2e6, interval=120)) == ["capital", "interval"]  # type: ignore[arg-type]


def test_lots_are_the_default_size_where_something_comes_in_lots() -> None:
    """A future by the lot; shares by an equal part of the capital."""
    mixed = checks.checked_instruments(["INFY", "NFO:NIFTY26NOVFUT"], BOOK)
    assert checks.default_sizing(mixed) == Sizing(lots=1)
    assert checks.default_sizing(checks.checked_instruments(["INFY", "TCS"], BOOK)) == Sizing(fraction=0.5)


def test_words_of_a_command_line_become_a_strategy(tmp_path: Path) -> None:
    """A shipped name, module:Class or file.py:Class, parameters in their own types."""
    assert strategy_of("EmaCross", ["fast=7"]).parameters["fast"] == 7
    assert strategy_of("tradealgo.strategies:EmaCross", []).parameters == EmaCross().parameters
    file = tmp_path / "mine.py"
    file.write_text(
        "from tradealgo.strategies import FLAT, Candle, Signal, Strategy\n\n"
        "class Mine(Strategy):\n    on: bool = False\n\n"
        "    def on_candle(self, candle: Candle) -> Signal:\n        return FLAT\n"
    )
    assert strategy_of(f"{file}:Mine", ["on=yes"]).parameters["on"] is True


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("Nope", [], "no strategy 'Nope' ships with TradeAlgo: expected EmaCross"),
        ("EmaCross", ["fast"], "expected NAME=VALUE"),
        ("EmaCross", ["fast=x"], "EmaCross.fast takes a whole number"),
        ("EmaCross", ["quick=3"], "EmaCross has no parameter 'quick'"),
        ("nowhere.py:Mine", [], "can't be loaded"),
    ],
)
def test_words_that_make_no_strategy_are_refused(name: str, parameters: list[str], words: str) -> None:
    """Each says what was expected."""
    with pytest.raises(InvalidInput, match=words):
        strategy_of(name, parameters)


@pytest.mark.parametrize("given", [("2026-11-20", None, None, None), (None, 7, None, None), (None, None, None, 60.0)])
def test_a_live_session_plays_no_market(given: tuple[Any, ...]) -> None:
    """--speed 60 beside --mode live is a mistake about one of the two."""
    assert market_of(None, None, None, None, live=True) is None
    with pytest.raises(InvalidInput, match="are of a paper session: leave them out, or launch with --mode paper"):
        market_of(*given, live=True)


def test_words_for_sizing_and_market() -> None:
    """One of three sizes; a day, or the last trading day."""
    assert sizing_of(None, 2, None) == Sizing(lots=2)
    assert sizing_of(None, None, None) is None
    with pytest.raises(InvalidInput, match="needs one positive value"):
        sizing_of(1, 2, None)
    assert market_of("2026-11-20", 3, None, None) == Market(day="2026-11-20", seed=3, speed=60.0)


def test_a_commit_is_named_where_there_is_one(tmp_path: Path) -> None:
    """Empty outside of a repository."""
    assert checks.git_sha(tmp_path) == ""
    assert len(checks.git_sha(Path(__file__).parent).rstrip("+")) in (0, 40)


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-11-20 08:50", "2026-11-20"),
        ("2026-11-20 15:39", "2026-11-20"),
        ("2026-11-20 15:40", "2026-11-23"),
        ("2026-11-21 11:00", "2026-11-23"),
        ("2026-11-08 17:00", "2026-11-08"),
        ("2026-11-08 19:00", "2026-11-09"),
    ],
)
def test_a_session_is_of_the_day_that_is_not_over(now: str, day: str) -> None:
    """After the close it is the next trading day's, over a weekend too; Muhurat's Sunday evening is a day like any."""
    instant = dt.datetime.fromisoformat(now).replace(tzinfo=IST)
    assert session_day(int(instant.timestamp()) * 10**9).isoformat() == day


def test_days_of_warm_up_are_the_same_whenever_they_were_read() -> None:
    """The history of 10:07 isn't that of 10:00; another number of days, or candles that were given, are another session."""
    one, later, more = (built(warm_up=h, warm_up_days=n) for h, n in (("a", 3), ("b", 3), ("b", 4)))
    assert checks.differences(one, later) == []  # type: ignore[arg-type]
    assert "warm_up_days" in checks.differences(one, more)  # type: ignore[arg-type]
    assert checks.differences(built(warm_up="a"), built(warm_up="b")) == ["warm_up"]  # type: ignore[arg-type]
