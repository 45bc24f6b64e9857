"""Kite Connect v3's own words: statuses, choices, errors and time texts. The one home of each in the exchange."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum

from tradealgo.domain.hours import IST


class Status(StrEnum):
    """An order's status in the book. UPDATE is said on sockets and postbacks only: a partial fill or a modification."""

    RECEIVED = "PUT ORDER REQ RECEIVED"
    VALIDATION_PENDING = "VALIDATION PENDING"
    OPEN_PENDING = "OPEN PENDING"
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER PENDING"
    MODIFY_VALIDATION_PENDING = "MODIFY VALIDATION PENDING"
    MODIFY_PENDING = "MODIFY PENDING"
    MODIFIED = "MODIFIED"
    CANCEL_PENDING = "CANCEL PENDING"
    AMO_RECEIVED = "AMO REQ RECEIVED"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


UPDATE = "UPDATE"
DONE = frozenset({Status.COMPLETE, Status.CANCELLED, Status.REJECTED})
#: At the exchange: a tick may fill or trigger it, a person may change it.
WORKING = frozenset({Status.OPEN, Status.TRIGGER_PENDING})

VARIETIES = ("regular", "amo", "iceberg", "co", "auction")
PRODUCTS = ("CNC", "MIS", "NRML", "MTF")
ORDER_TYPES = ("MARKET", "LIMIT", "SL", "SL-M")
VALIDITIES = ("DAY", "IOC", "TTL")
SIDES = ("BUY", "SELL")


class KiteError(Exception):
    """An error as the broker answers it: `{"status": "error", "message", "error_type", "data": null}`."""

    def __init__(self, code: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.code, self.error_type, self.message = code, error_type, message

    def body(self) -> dict[str, object]:
        return {"status": "error", "message": self.message, "data": None, "error_type": self.error_type}


def bad_input(message: str) -> KiteError:
    """400 InputException: a missing or bad parameter."""
    return KiteError(400, "InputException", message)


def bad_order(message: str, code: int = 400) -> KiteError:
    """An order that can't be found or changed."""
    return KiteError(code, "OrderException", message)


def dead_token(message: str = "Incorrect `api_key` or `access_token`.") -> KiteError:
    """403 TokenException: log in again."""
    return KiteError(403, "TokenException", message)


def too_many() -> KiteError:
    """429 in the form that the official client keeps the code of."""
    return KiteError(429, "NetworkException", "Too many requests")


def time_text(ts: int) -> str | None:
    """`2026-11-20 09:15:00` in IST, as Kite writes times; None for 0 (no time)."""
    return dt.datetime.fromtimestamp(ts // 1_000_000_000, IST).strftime("%Y-%m-%d %H:%M:%S") if ts else None


def rupees(paise: float) -> float:
    """Paise to rupees, free of binary dust."""
    return round(paise / 100, 4)
