"""Each fault, as it happens to the official clients."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from kiteconnect import KiteConnect
from kiteconnect.exceptions import (
    DataException,
    GeneralException,
    InputException,
    NetworkException,
    OrderException,
    PermissionException,
    TokenException,
)
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tradealgo import cli
from tradealgo.domain.hours import IST
from tradealgo.exchange.accounts import API_SECRET
from tradealgo.exchange.testing import RunningExchange

INFY = 408065


def buy(kite: KiteConnect, **changes: Any) -> str:
    order = {
        "variety": "regular", "exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "quantity": 5,
        "product": "MIS", "order_type": "MARKET", "market_protection": -1, "tag": "Fault1",
    } | changes  # fmt: skip
    return kite.place_order(**order)


def socket_of(paper: RunningExchange, token: str | None = None) -> ClientConnection:
    return connect(
        f"{paper.ws_url}?api_key=paper&access_token={token or paper.login()}", ping_interval=None, close_timeout=0.2
    )


def test_429_strikes_once_and_changes_nothing(paper: RunningExchange, kite: KiteConnect) -> None:
    """A count of one: the first order is refused with code 429, the second goes through."""
    paper.fault("http_429", path="/orders", method="POST")
    with pytest.raises(NetworkException) as caught:
        buy(kite)
    assert caught.value.code == 429
    buy(kite)
    assert len(kite.orders()) == 1


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_html_page_hides_the_status(paper: RunningExchange, kite: KiteConnect, code: int) -> None:
    """A proxy's page: the client says DataException 502 whatever the status was."""
    paper.fault(f"http_{code}_html")
    with pytest.raises(DataException) as caught:
        kite.orders()
    assert caught.value.code == 502


@pytest.mark.parametrize(
    ("code", "error_type", "text", "raised"),
    [
        (400, "InputException", "no", InputException),
        (400, "OrderException", "no", OrderException),
        (403, "TokenException", "no", TokenException),
        (403, "PermissionException", "no", PermissionException),
        (429, "NetworkException", "no", NetworkException),
        (502, "DataException", "no", DataException),
        (503, "NetworkException", "no", NetworkException),
        (400, "MarginException", "no", GeneralException),
        (400, "HoldingException", "no", GeneralException),
        (403, "UserException", "no", GeneralException),
        (500, "GeneralException", "no", GeneralException),
        (500, "", "no", TypeError),  # the client can't name an error without a type
        (500, "GeneralException", "", KeyError),  # nor one without a message
    ],
)
def test_each_error_as_the_client_maps_it(
    paper: RunningExchange, kite: KiteConnect, code: int, error_type: str, text: str, raised: type[Exception]
) -> None:
    """Every error type that the broker sends becomes the client's exception, with the HTTP code."""
    paper.fault("error", code=code, error_type=error_type, text=text, path="/user/margins")
    with pytest.raises(raised) as caught:
        kite.margins()
    assert getattr(caught.value, "code", code) == code
    assert kite.margins()


@contextlib.contextmanager
def impatient(kite: KiteConnect) -> Iterator[None]:
    """The client waits for half a second only, on a connection that is open; afterwards it has time again."""
    kite.profile()
    kite.timeout = 0.5
    try:
        yield
    finally:
        kite.timeout = 7


def test_timeout_after_accept_leaves_an_order(paper: RunningExchange, kite: KiteConnect) -> None:
    """The client times out, but the order is in the book under its tag."""
    paper.fault("timeout_after_accept")
    with pytest.raises(requests.ReadTimeout), impatient(kite):
        buy(kite)
    assert [o["tag"] for o in kite.orders()] == ["Fault1"]


def test_timeout_before_leaves_nothing(paper: RunningExchange, kite: KiteConnect) -> None:
    """The client times out, and there is no order."""
    paper.fault("timeout_before", path="/orders")
    with pytest.raises(requests.ReadTimeout), impatient(kite):
        buy(kite)
    assert kite.orders() == []


def test_timed_out_in_words(paper: RunningExchange, kite: KiteConnect) -> None:
    """400 'Order request timed out': and yet the order was placed."""
    paper.fault("timeout_400")
    with pytest.raises(OrderException, match="timed out") as caught:
        buy(kite)
    assert caught.value.code == 400
    assert len(kite.orders()) == 1


@pytest.mark.parametrize(("fault", "orders"), [("drop_request", 0), ("drop_after_accept", 1)])
def test_dropped_connection(paper: RunningExchange, kite: KiteConnect, fault: str, orders: int) -> None:
    """The connection dies before or after the order was accepted: the client can't tell which."""
    paper.fault(fault)
    with pytest.raises(requests.ConnectionError):
        buy(kite)
    assert len(kite.orders()) == orders


def test_slow_answer(paper: RunningExchange, kite: KiteConnect) -> None:
    """The answer is right, but late."""
    paper.fault("slow", seconds=0.4)
    began = time.monotonic()
    assert kite.orders() == []
    assert time.monotonic() - began >= 0.4


def test_accepted_then_rejected(paper: RunningExchange, kite: KiteConnect) -> None:
    """An order id, and then REJECTED by the exchange in the book."""
    paper.fault("reject")
    history = kite.order_history(buy(kite))
    assert [o["status"] for o in history][-2:] == ["OPEN PENDING", "REJECTED"]
    assert "17070" in history[-1]["status_message"]


def test_fill_after_cancel(paper: RunningExchange, kite: KiteConnect) -> None:
    """The cancel is acknowledged, and the order fills all the same."""
    price = round(kite.ltp("NSE:INFY")["NSE:INFY"]["last_price"] * 0.97, 0)
    order_id = buy(kite, order_type="LIMIT", price=price, market_protection=None)
    paper.fault("fill_after_cancel")
    assert kite.cancel_order("regular", order_id) == order_id
    order = kite.order_history(order_id)[-1]
    assert (order["status"], order["filled_quantity"], order["average_price"]) == ("COMPLETE", 5, price)
    assert kite.positions()["net"][0]["quantity"] == 5


def test_token_death(paper: RunningExchange, kite: KiteConnect) -> None:
    """Mid-day the token is dead for REST and for a new handshake."""
    paper.fault("token_death")
    with pytest.raises(TokenException):
        kite.orders()
    assert paper.kite().orders() == []


def test_probability_is_drawn_from_the_seed(paper: RunningExchange, kite: KiteConnect) -> None:
    """The same seed strikes the same requests."""

    def struck() -> list[bool]:
        paper.control("DELETE", "faults")
        paper.fault("http_500_html", count=0, probability=0.5, seed=7, path="/trades")
        out = []
        for _ in range(12):
            try:
                kite.trades()
                out.append(False)
            except DataException:
                out.append(True)
        return out

    first = struck()
    assert first == struck()
    assert 0 < sum(first) < 12


def test_clock_skew_shows_in_a_login(paper: RunningExchange) -> None:
    """The exchange's wall clock is two hours ahead: the client's next login says so."""
    paper.fault("clock_skew", seconds=7200)
    token = paper.exchange.accounts.request_token(paper.exchange.wall())
    said = KiteConnect("paper", root=paper.url).generate_session(token, API_SECRET)["login_time"]
    indian = dt.datetime.now(IST).replace(tzinfo=None)
    assert abs((said - indian).total_seconds() - 7200) < 100


def test_clock_skew_past_six_kills_the_token(paper: RunningExchange, kite: KiteConnect) -> None:
    """By the exchange's clock it is two days later, after 06:00 of the day after the login at whatever hour that was."""
    paper.fault("clock_skew", seconds=2 * 86_400)
    with pytest.raises(TokenException):
        kite.orders()


def test_clock_skew_shows_in_the_date_header(paper: RunningExchange, kite: KiteConnect) -> None:
    """Every answer that the client gets carries the skewed date, which it hides from its caller."""
    from email.utils import parsedate_to_datetime

    dates: list[str] = []
    kite.reqsession.hooks["response"].append(lambda answer, **_: dates.append(answer.headers["Date"]))
    paper.fault("clock_skew", seconds=7200)
    kite.orders()
    assert 7100 < parsedate_to_datetime(dates[0]).timestamp() - time.time() < 7300


def test_circuit_halt_rejects_and_fills_nothing(paper: RunningExchange, kite: KiteConnect) -> None:
    """While the instrument is halted orders are rejected and resting ones don't fill; afterwards they do."""
    price = round(kite.ltp("NSE:INFY")["NSE:INFY"]["last_price"] * 1.02, 0)
    resting = buy(kite, order_type="SL", price=price, trigger_price=price - 1, market_protection=None)
    paper.fault("circuit_halt", instrument="NSE:INFY", seconds=120)
    assert kite.order_history(buy(kite))[-1]["status"] == "REJECTED"
    paper.advance(60)
    assert kite.order_history(resting)[-1]["status"] == "TRIGGER PENDING"
    paper.advance(120)
    assert kite.order_history(buy(kite))[-1]["status"] == "COMPLETE"


def test_unknown_fault_is_refused(paper: RunningExchange) -> None:
    """A misspelt name is answered with those that exist."""
    answer = requests.post(f"{paper.url}/_paper/faults", json={"name": "http_418"}, timeout=5)
    assert answer.status_code == 400
    assert "http_429" in answer.json()["message"]


# ---------------------------------------------------------------------------------------------- sockets


@pytest.mark.parametrize("fault", ["duplicate_update", "missing_update", "reorder_updates"])
def test_order_updates_misbehave(paper: RunningExchange, listen: Callable, fault: str) -> None:
    """Twice, never, or in the wrong order."""
    kite = paper.kite()
    heard = listen(paper, kite.access_token)
    paper.fault(fault)
    buy(kite)  # OPEN, then COMPLETE
    buy(kite, tag="Fault2")
    got = [heard.next("order") for _ in range(5 if fault == "duplicate_update" else 3)]
    said = [(d["tag"], d["status"]) for d in got]
    first, second = ("Fault1", "OPEN"), ("Fault1", "COMPLETE")
    expected = {
        "duplicate_update": [first, first, second],
        "missing_update": [second],
        "reorder_updates": [second, first],
    }[fault]
    assert said[: len(expected)] == expected


def test_slow_client_is_cut_off(paper: RunningExchange) -> None:
    """A client that doesn't read is disconnected once its queue is full; memory stays bounded."""
    from tradealgo.exchange import ws

    def read_all(socket: ClientConnection) -> None:
        while True:
            socket.recv(timeout=5)

    with socket_of(paper) as socket:
        socket.send('{"a":"mode","v":["full",[408065,738561,256265]]}')
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ws, "MAX_QUEUED_BYTES", 200_000)
            patch.setattr(ws.Connection, "behind", property(lambda self: 0))  # the clock doesn't wait for it
            paper.advance(6 * 3600)
        with pytest.raises(ConnectionClosed):
            read_all(socket)


def test_the_command_line_arms_a_fault(paper: RunningExchange, kite: KiteConnect) -> None:
    """`tradealgo exchange --fault`: the official client meets it; a wrong name, detail or address gets a sentence."""

    def tradealgo(*words: str) -> Any:
        return CliRunner().invoke(cli.main, ["exchange", *words], standalone_mode=True)

    done = tradealgo("--fault", "http_429", "--with", "path=/orders", "--with", "count=1", "--at", paper.url)
    assert done.exit_code == 0, done.output
    with pytest.raises(NetworkException):
        buy(kite)
    assert buy(kite)
    for words, sentence in (
        (("--fault", "http_999", "--at", paper.url), "unknown fault 'http_999'"),
        (("--fault", "slow", "--with", "cont=1x", "--with", "count=x", "--at", paper.url), "its details are count"),
        (("--fault", "slow", "--at", "http://127.0.0.1:9"), "no paper exchange answers"),
    ):
        refused = tradealgo(*words)
        assert refused.exit_code != 0
        assert sentence in refused.output
