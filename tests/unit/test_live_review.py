"""What the quickstart plays: a simulated day, or a file's, by the name of what it is of."""

from pathlib import Path

import pytest

from tradealgo.domain.errors import BadCandles
from tradealgo.domain.state import KillState, SessionState, TradingState
from tradealgo.exchange.market import market_from_file
from tradealgo.gatekeeper.journal import Journal, verify
from tradealgo.gatekeeper.messages import Kind, Record
from tradealgo.live.demo import check_data
from tradealgo.live.review import _backtest_figures, _copy_database, choose_market, report_link, run_folder
from tradealgo.research.backtest import backtest
from tradealgo.research.basket import basket_candles
from tradealgo.research.history import known, simulated
from tradealgo.strategies import StraddleManager


def candle_file(folder: Path, name: str, symbols: tuple[str, ...] = ()) -> str:
    """A day's minutes, with a symbol column that says each of `symbols` if there are any."""
    import pandas as pd

    frame = next(iter(simulated("2026-11-20", 1, ["NSE:INFY"]).values()))
    if symbols:
        frame = pd.concat([frame.assign(symbol=s) for s in symbols])
    frame.to_csv(folder / name)
    return str(folder / name)


def chosen(folder: Path, data: str, symbol: str = "") -> list[str]:
    return choose_market(folder, data=data, symbol=symbol, day="", seed=1, speed=60.0)[1]


def test_a_file_is_played_as_what_its_name_or_column_says(tmp_path: Path) -> None:
    """A share as that share, an index as its month's future; the symbol column comes before the file's name."""
    assert chosen(tmp_path, candle_file(tmp_path, "infy_2026.csv")) == ["NSE:INFY"]
    assert chosen(tmp_path, candle_file(tmp_path, "NIFTY 50.csv")) == ["NFO:NIFTY26NOVFUT"]
    assert chosen(tmp_path, candle_file(tmp_path, "candles.csv", ("TCS",))) == ["NSE:TCS"]
    assert chosen(tmp_path, candle_file(tmp_path, "candles.csv", ("TCS", "ITC")), "ITC") == ["NSE:ITC"]


def test_a_share_that_is_not_listed_here_is_played_when_it_is_named(tmp_path: Path) -> None:
    """Any share can be replayed: lot 1, the tick of its price."""
    data = candle_file(tmp_path, "candles.csv")
    assert chosen(tmp_path, data, "nse:eternal") == ["NSE:ETERNAL"]
    (share,) = market_from_file(tmp_path / "market.parquet").instruments
    assert (share.lot_size, share.tick_size) == (1, 0.1)


def test_a_file_that_does_not_say_what_it_is_of(tmp_path: Path) -> None:
    """One sentence with the mend, before the notebook starts; likewise for what can't be traded."""
    data = candle_file(tmp_path, "candles.csv")
    with pytest.raises(BadCandles, match=r"candles.csv doesn't say which share.*SYMBOL=INFY"):
        check_data(data)
    assert check_data(data, "INFY") == {"data": data, "symbol": "INFY"}
    for symbol in ("SENSEX", "NIFTY26NOV25000CE"):
        with pytest.raises(BadCandles, match="expected a share, or one of NIFTY"):
            chosen(tmp_path, data, symbol)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("nifty-1min", "NIFTY"), ("NIFTY BANK", "NIFTY BANK"), ("M&M", "M&M"), ("mydata", None), ("", None)],
)
def test_what_a_files_name_means(name: str, symbol: str | None) -> None:
    """The whole name, or its first word."""
    assert known(name) == symbol


def test_a_baskets_report_shows_what_it_traded() -> None:
    """Not a figure of each option of the chain that it watched: the whole, and the legs."""
    basket = StraddleManager(reach=12)
    result = backtest(basket, basket_candles(basket, "2026-11-20", 1), engine="event")
    first, *others = [heading for heading, _ in _backtest_figures(result)]
    assert first == "Backtest"
    assert sorted(others) == sorted({f"Backtest: {key}" for key in result.orders["instrument"]})
    assert len(others) < len(result.instruments) / 2


def test_the_reports_link_is_seen_from_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As text its path from there, no absolute one; in a notebook a link that JupyterLab opens."""
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    link = report_link(tmp_path / "runs" / "20261123-024209")
    assert repr(link) == "../runs/20261123-024209/report.html"
    assert link._repr_html_() == f'<a href="{link}" target="_blank">{link}</a>'


def test_a_run_is_named_by_the_time_in_india(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its session is, whatever the machine's time zone; from a notebook's folder it is beside that."""
    monkeypatch.setattr("time.time_ns", lambda: 1_795_381_929_000_000_000)  # 21:12:09 UTC
    for folder in ("notebooks", "mine"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        assert run_folder() == tmp_path / "runs" / "20261123-024209"


def test_a_copy_of_a_database_that_is_written_is_whole(tmp_path: Path) -> None:
    """A running session's journal lies in two files; its copy is one."""
    journal = Journal(tmp_path / "journal.db")
    state = SessionState(trading=TradingState.ACTIVE, kill=KillState.ARMED)
    journal.append([Record(Kind.STATE, state)], 1)
    (tmp_path / "copy").mkdir()
    _copy_database(tmp_path / "journal.db", tmp_path / "copy" / "journal.db")
    assert verify(tmp_path / "copy" / "journal.db") == 1
    journal.close()
    (tmp_path / "journal.db").write_bytes(b"not a database" * 100)
    _copy_database(tmp_path / "journal.db", tmp_path / "copy" / "journal.db")
    assert (tmp_path / "copy" / "journal.db").read_bytes() == b"not a database" * 100
