"""How an answer to an order call is read: yes and no only where the broker said so."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tradealgo.gatekeeper.broker import Rows, _encoded, classify, read_answer
from tradealgo.gatekeeper.kite import KNOWN, BrokerOrder, order_row, time_ns
from tradealgo.gatekeeper.messages import Outcome


def error(kind: str, message: str = "no") -> bytes:
    return json.dumps({"status": "error", "message": message, "error_type": kind, "data": None}).encode()


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b'{"status": "success", "data": {"order_id": "1"}}', Outcome.ACCEPTED),
        (200, b'{"status": "success", "data": {}}', Outcome.UNKNOWN),
        (200, b'{"status": "success", "data": null}', Outcome.UNKNOWN),
        (200, b'{"status": "success", "data": [{"order_id": "1"}]}', Outcome.UNKNOWN),
        (200, b'["order_id"]', Outcome.UNKNOWN),
        (200, b'{"data": {"order_id": "\xff"}}', Outcome.UNKNOWN),
        (200, b'{"data": {"order_id": 1e999}}', Outcome.UNKNOWN),
        (400, b'{"message": "\xff"}', Outcome.UNKNOWN),
        (200, b"<html>maintenance</html>", Outcome.UNKNOWN),
        (200, b"", Outcome.UNKNOWN),
        (400, error("InputException"), Outcome.REJECTED),
        (400, error("OrderException", "insufficient stock"), Outcome.REJECTED),
        (400, error("MarginException"), Outcome.REJECTED),
        (400, error("OrderException", "Order request timed out. Please check the order book."), Outcome.UNKNOWN),
        (400, error("NetworkException"), Outcome.UNKNOWN),
        (400, b"bad gateway page", Outcome.UNKNOWN),
        (403, error("TokenException"), Outcome.TOKEN_DEAD),
        (403, error("PermissionException"), Outcome.REJECTED),
        (403, b"<html>", Outcome.UNKNOWN),
        (429, error("NetworkException", "Too many requests"), Outcome.RATE_LIMITED),
        (429, b"<html>", Outcome.RATE_LIMITED),
        (500, error("GeneralException"), Outcome.UNKNOWN),
        (502, b"<html>", Outcome.UNKNOWN),
        (503, error("NetworkException"), Outcome.UNKNOWN),
        (504, b"", Outcome.UNKNOWN),
    ],
)
def test_outcomes(status: int, body: bytes, outcome: Outcome) -> None:
    """One row an answer that Kite or a proxy before it is known to give."""
    assert classify(read_answer(status, body, None))[0] is outcome


def test_the_date_header_is_read_and_a_bad_one_forgiven() -> None:
    """Epoch seconds, or None."""
    assert read_answer(200, b"{}", "Fri, 20 Nov 2026 04:30:00 GMT").second == 1_795_149_000
    assert read_answer(200, b"{}", "yesterday").second is None
    assert read_answer(200, b"{}", None).second is None


def row(status: str, filled: int = 0) -> BrokerOrder:
    return order_row(
        {
            "order_id": 17, "status": status, "exchange": "NSE", "tradingsymbol": "INFY", "instrument_token": 257,
            "transaction_type": "BUY", "quantity": 10, "filled_quantity": filled, "average_price": 1.5, "price": 2,
            "tag": None, "exchange_order_id": None, "status_message": None, "product": "MIS",
        }
    )  # fmt: skip


@pytest.mark.parametrize("status", [*sorted(KNOWN), "SOMETHING NEW IN 2027"])
def test_only_three_statuses_are_final(status: str) -> None:
    """Any other one, known or not, leaves the order alive."""
    assert row(status).is_done == (status in ("COMPLETE", "CANCELLED", "REJECTED"))
    if not row(status).is_done:
        assert (row(status).event, row(status, 4).event) == ("SEEN", "PARTIAL")


def test_rows_forgive_what_the_broker_leaves_out() -> None:
    """Ids become strings; null means none."""
    found = row("OPEN")
    assert (found.order_id, found.tag, found.text, found.exchange_order_id) == ("17", "", "", None)
    assert time_ns("2026-11-20 10:00:00") == 1_795_149_000 * 10**9
    assert time_ns("") == 0


def test_a_row_that_changed_is_read_again_and_only_that_one() -> None:
    """The book's rows in its order, repeated ones too; one that can't be read fails the whole book, and spoils no later one."""
    read: list[int] = []

    def reader(row: dict[str, int]) -> int:
        read.append(row["id"])
        return row["id"] * 100 + row["filled"]

    rows = Rows(reader)
    assert rows.of(msgspec.Raw(b'[{"id":1,"filled":0},{"id":2,"filled":0}]')) == [100, 200]
    assert rows.of(msgspec.Raw(b'[{"id":1,"filled":5},{"id":2,"filled":0}, {"id":2,"filled":0}]')) == [105, 200, 200]
    assert read == [1, 2, 1]
    for bad in (b'[{"id":1}]', b"null", b'{"id":1,"filled":0}'):
        with pytest.raises((KeyError, ValueError)):
            rows.of(msgspec.Raw(bad))
    assert rows.of(msgspec.Raw(b"[]")) == []


def test_a_gateways_page_is_told_in_one_line_of_words() -> None:
    """It ends up in alerts that people read on a phone."""
    page = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<h1>nginx</h1></body></html>"
    assert classify(read_answer(502, page, None)) == (Outcome.UNKNOWN, "HTTP 502 502 Bad Gateway nginx")


@given(st.dictionaries(st.sampled_from(["tag", "tradingsymbol", "price"]), st.text()))
@example({"tradingsymbol": "M&M", "price": "120.05", "tag": "a b\r\nc~-_é"})
def test_a_form_is_encoded_as_the_library_does(form: dict[str, str]) -> None:
    """Plain values by a short cut, and nothing in them can end a line or a field."""
    assert _encoded(form) == urlencode(form).encode()
