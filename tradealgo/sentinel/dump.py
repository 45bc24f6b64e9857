"""The broker's instruments dump: Kite's rows as our instruments. The one place where Kite's column names are read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from tradealgo.config import Manifest
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.sentinel.login import call, client


def from_row(row: Mapping[str, Any]) -> Instrument | None:
    """One row as the official client gives it; None for a kind that isn't traded here."""
    segment = row["segment"]
    try:
        kind = Kind.INDEX if segment == "INDICES" else Kind(row["instrument_type"])
    except ValueError:
        return None
    expiry = row["expiry"]
    return Instrument(
        instrument_token=int(row["instrument_token"]),
        exchange=row["exchange"],
        tradingsymbol=row["tradingsymbol"],
        kind=kind,
        name=row["name"],
        expiry=expiry if isinstance(expiry, dt.date) else None,
        strike=float(row["strike"] or 0.0),
        tick_size=float(row["tick_size"] or 0.0) or 0.05,
        lot_size=int(row["lot_size"] or 0) or 1,
        segment=segment,
    )


def from_dump(rows: Iterable[Mapping[str, Any]]) -> InstrumentBook:
    """The instruments of a dump, or of a part of one."""
    return InstrumentBook(i for row in rows if (i := from_row(row)) is not None)


def download(manifest: Manifest, access_token: str) -> InstrumentBook:
    """The dump of the exchanges that the manifest's instruments are on. Blocking. Raises BrokerError."""
    kite = client(manifest, access_token)
    exchanges = sorted({key.partition(":")[0] for key in manifest.instruments})
    return from_dump(row for exchange in exchanges for row in call(kite.instruments, exchange))
