"""What a session watches: the instruments that a person names, or those that a basket chooses of the day's listing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable

from tradealgo.config import Manifest, Market
from tradealgo.domain.errors import BadConfig, InvalidInput
from tradealgo.domain.instruments import Instrument, InstrumentBook
from tradealgo.live import manifest as checks
from tradealgo.strategies import BasketStrategy, Strategy
from tradealgo.strategies.book import Listing

PreviousClose = Callable[[Instrument], float]
#: One connection takes 3,000 instruments; a session keeps far below it.
MOST = 1_000


def watched(
    strategy: Strategy, named: Iterable[str] | None, book: InstrumentBook, day: dt.date, previous_close: PreviousClose
) -> list[Instrument]:
    """The instruments of a session. Raises InvalidInput."""
    if not isinstance(strategy, BasketStrategy):
        if named is None:
            raise InvalidInput("no instruments given: expected at least one, as in instruments=['NSE:INFY']")
        return checks.checked_instruments(named, book)
    if named is not None:
        return checks.named_instruments(named, book)
    return chosen(strategy, Listing(book, day, previous_close))


def chosen(strategy: BasketStrategy, day: Listing) -> list[Instrument]:
    """What a basket watches of a day's listing, each instrument once. Raises BadConfig, UnknownInstrument."""
    found = list(dict.fromkeys(strategy.instruments(day)))
    name = type(strategy).__name__
    if not found or not any(i.tradable for i in found):
        raise BadConfig(f"{name} watches nothing that can be traded on {day.day}: see its instruments()")
    if len(found) > MOST:
        raise BadConfig(
            f"{name} watches {len(found):,} instruments: expected at most {MOST:,}; choose fewer strikes or shares"
        )
    return found


def paper_closes(market: Market) -> PreviousClose:
    """Yesterday's closes of the market that the paper exchange will play."""

    def close(instrument: Instrument) -> float:
        from tradealgo.exchange.market import load_market

        return load_market(market, [instrument.key]).previous_close[instrument.instrument_token]

    return close


def live_closes(manifest: Manifest, access_token: str) -> PreviousClose:
    """Yesterday's closes by the broker's quotes. Asking raises BrokerError."""

    def close(instrument: Instrument) -> float:
        from tradealgo.sentinel.login import call, client

        quotes = call(client(manifest, access_token).ohlc, [instrument.key])
        return float(quotes[instrument.key]["ohlc"]["close"])

    return close
