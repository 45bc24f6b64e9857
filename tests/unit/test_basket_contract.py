"""The basket contract: targets, sizes, stops, square-off, order of legs, and what a basket may see."""

import datetime as dt
import math

import pytest

from tradealgo.domain.candles import MINUTE_NS, Candle
from tradealgo.domain.errors import BadConfig, StrategyError, UnknownInstrument
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import INDEX_SYMBOLS, Instrument, Kind
from tradealgo.domain.sizing import Sizing
from tradealgo.exchange.listing import UNDERLYINGS, listing
from tradealgo.research.backtest import backtest
from tradealgo.research.sweep import sweep
from tradealgo.strategies import BasketStrategy, Strategy, Target, describe, load
from tradealgo.strategies.basket_runner import BasketRunner
from tradealgo.strategies.book import Chain, Listing

DAY = dt.date(2026, 11, 20)
OPEN = at(DAY, dt.time(9, 15))
BOOK = {i.key: i for i in listing(DAY)}
SHARE, OTHER, INDEX = BOOK["NSE:INFY"], BOOK["NSE:TCS"], BOOK["NSE:NIFTY 50"]
CALL, PUT = BOOK["NFO:NIFTY26NOV25000CE"], BOOK["NFO:NIFTY26NOV24000PE"]
WATCHED = [SHARE, OTHER, INDEX, CALL, PUT]


class Told(BasketStrategy):
    """Says what the test wrote into `script`, by minute; the last word holds."""

    stop_after: int = 0

    def setup(self):
        self.minute = -1
        self.said = {}

    def on_candles(self, candles, book):
        self.minute += 1
        self.said = SCRIPT.get(self.minute, self.said)
        if isinstance(self.said, Exception):
            raise self.said
        return self.said(book) if callable(self.said) else self.said


SCRIPT = {}


def runner(script, strategy=None, capital=1_000_000.0, **options):
    """A runner of Told with a script."""
    SCRIPT.clear()
    SCRIPT.update(script)
    return BasketRunner(strategy or Told(), WATCHED, 60, capital, **options)


def minute(n, **prices):
    """(start, candles by token) of the n-th minute; prices by lower-case name, or (high, low, close)."""
    named = {"share": SHARE, "other": OTHER, "index": INDEX, "call": CALL, "put": PUT}
    start, candles = OPEN + n * MINUTE_NS, {}
    for name, price in prices.items():
        high, low, close = price if isinstance(price, tuple) else (price, price, price)
        candles[named[name].instrument_token] = Candle(start, close, high, low, close, 10.0)
    return start, candles


def said(decisions):
    """What matters of decisions."""
    return [(d.instrument.key, d.units, d.signal.reason) for d in decisions]


def test_a_target_heard_twice_changes_nothing():
    """Units are sized once, by weight, and stay while the price moves."""
    r = runner({0: {SHARE: Target(weight=0.5, reason="up")}})
    first = r.on_candles(*minute(0, share=1_000.0))
    again = r.on_candles(*minute(1, share=1_500.0))
    assert said(first) == said(again) == [(SHARE.key, 500, "up")]
    assert first[0].before == 0
    assert again[0].before == 500


def test_what_is_not_in_the_answer_is_left():
    """One decision says so, then none."""
    r = runner({0: {SHARE: Target(lots=10)}, 1: {}})
    r.on_candles(*minute(0, share=100.0))
    assert said(r.on_candles(*minute(1, share=100.0))) == [(SHARE.key, 0, "")]
    assert r.on_candles(*minute(2, share=100.0)) == []


@pytest.mark.parametrize(
    ("hedge", "n"),
    [((PUT, Target(lots=1, group="spread")), 0), ((SHARE, Target(weight=1e-4, group="spread")), 0),
     ((SHARE, Target(weight=0.5, group="spread")), 356)],
    ids=["that has not traded today", "of which capital buys no lot", "that is squared off already"],
)  # fmt: skip
def test_a_group_is_not_entered_without_one(hedge, n):
    """The sold leg alone would be naked. What is held of the group stays."""
    sold = {CALL: Target(lots=-1, group="spread")}
    r = runner({0: {**sold, hedge[0]: hedge[1]}})
    assert r.on_candles(*minute(n, call=100.0, share=1_500.0)) == []
    held = runner({0: sold, 1: {**sold, hedge[0]: hedge[1]}})
    held.on_candles(*minute(0, call=100.0))
    assert said(held.on_candles(*minute(n or 1, call=100.0, share=1_500.0))) == [(CALL.key, -65, "")]


def test_a_group_is_entered_once_all_of_it_has_traded():
    """In one minute."""
    r = runner({0: {PUT: Target(lots=1, group="spread"), CALL: Target(lots=-1, group="spread")}})
    assert r.on_candles(*minute(0, call=100.0)) == []
    entered = r.on_candles(*minute(1, call=100.0, put=50.0))
    assert [(d.instrument.key, d.units, d.group) for d in entered] == [
        (PUT.key, 65, "spread"),
        (CALL.key, -65, "spread"),
    ]


def test_a_hedge_is_given_up_after_what_it_covers_in_part_as_in_whole():
    """Fewer lots of a spread: the sold leg is bought back first, though the basket names its hedge first."""
    r = runner({n: {PUT: Target(lots=3 - n), CALL: Target(lots=n - 3)} for n in range(4)})
    decided = [r.on_candles(*minute(n, call=100.0, put=50.0)) for n in range(4)]
    units = [[(d.instrument.key, d.units) for d in minute] for minute in decided]
    assert units[0] == [(PUT.key, 195), (CALL.key, -195)]
    assert units[1:] == [[(CALL.key, -65 * lots), (PUT.key, 65 * lots)] for lots in (2, 1, 0)]


def test_changed_lots_are_sized_anew():
    """More, fewer and the other side."""
    r = runner({0: {CALL: Target(lots=-1)}, 1: {CALL: Target(lots=-3)}, 2: {CALL: Target(lots=2)}})
    units = [r.on_candles(*minute(n, call=100.0))[0].units for n in range(3)]
    assert units == [-65, -195, 130]


def test_a_stop_closes_its_leg_alone_until_another_word():
    """The other leg stays; the stopped one comes back only after the basket has said something else of it."""
    legs = {CALL: Target(lots=-1, stop=130.0), PUT: Target(lots=-1, stop=150.0)}
    r = runner({0: legs, 3: {PUT: legs[PUT]}, 4: legs})
    r.on_candles(*minute(0, call=100.0, put=100.0))
    stopped = r.on_candles(*minute(1, call=(131.0, 100.0, 120.0), put=100.0))
    assert said(stopped) == [(CALL.key, 0, "stop"), (PUT.key, -65, "")]
    assert said(r.on_candles(*minute(2, call=90.0, put=100.0))) == [(PUT.key, -65, "")]
    r.on_candles(*minute(3, call=90.0, put=100.0))
    back = r.on_candles(*minute(4, call=90.0, put=100.0))
    assert {d.instrument.key: d.units for d in back} == {CALL.key: -65, PUT.key: -65}


def test_exits_of_the_contract_are_judged_on_each_instrument():
    """stop_loss, take_profit and the like are parameters of every basket."""
    r = runner({0: {SHARE: Target(lots=1), OTHER: Target(lots=1)}}, Told(stop_loss=0.01))
    r.on_candles(*minute(0, share=100.0, other=100.0))
    assert said(r.on_candles(*minute(1, share=98.0, other=100.0))) == [(SHARE.key, 0, "stop"), (OTHER.key, 1, "")]


def test_each_instrument_is_squared_off_by_its_own_hours():
    """A share at 15:10, before its auction; an option at 15:30, also if it is silent then."""
    r = runner({0: {SHARE: Target(lots=1), CALL: Target(lots=-1)}})
    r.on_candles(*minute(0, share=100.0, call=50.0))
    at_1509 = r.on_candles(*minute(354, index=1.0))
    assert said(at_1509) == [(SHARE.key, 0, "square-off"), (CALL.key, -65, "")]
    assert said(r.on_candles(*minute(374, index=1.0))) == [(CALL.key, 0, "square-off")]
    assert r.on_candles(*minute(375, index=1.0)) == []


def test_overnight_positions_wait_for_a_price_of_the_day():
    """Yesterday's prices count no more; a held instrument that hasn't traded yet is left as it is."""
    r = runner({0: {SHARE: Target(lots=7)}, 1: {}}, intraday=False)
    r.on_candles(*minute(0, share=100.0))
    days = 3 * 24 * 60  # over the weekend
    assert r.on_candles(*minute(days, other=50.0)) == []
    assert r.book.price(SHARE) == 0.0
    assert r.book.is_first
    assert said(r.on_candles(*minute(days + 1, share=101.0))) == [(SHARE.key, 0, "")]


def test_nothing_is_taken_without_a_price():
    """An option that hasn't traded today is taken in the first minute in which it has."""
    r = runner({0: {CALL: Target(lots=1)}})
    assert r.on_candles(*minute(0, index=25_000.0)) == []
    assert said(r.on_candles(*minute(1, call=10.0))) == [(CALL.key, 65, "")]


def test_legs_leave_and_enter_in_a_safe_order():
    """Exits first, what was sold bought back before its hedge goes; then entries as the basket named them."""
    first = {CALL: Target(lots=1), PUT: Target(lots=-1)}
    r = runner({0: first, 1: {OTHER: Target(lots=1), SHARE: Target(lots=-1)}})
    everything = {"call": 10.0, "put": 20.0, "share": 100.0, "other": 100.0}
    assert [d.instrument for d in r.on_candles(*minute(0, **everything))] == [CALL, PUT]
    assert [d.instrument for d in r.on_candles(*minute(1, **everything))] == [PUT, CALL, OTHER, SHARE]


def test_the_book_tells_what_was_asked_for():
    """Units, entry prices, the clock; and what a stop closed is no longer held."""
    seen = []

    def look(book):
        seen.append((book.clock, book.units(CALL), book.entry(CALL), book.held, book.price(CALL)))
        return {CALL: Target(lots=-2, stop=60.0)}

    r = runner({0: look})
    for n, price in enumerate((50.0, 55.0, 61.0, 40.0)):
        r.on_candles(*minute(n, call=price))
    assert seen == [
        ("09:16", 0, 0.0, [], 50.0), ("09:17", -130, 50.0, [CALL], 55.0), ("09:18", -130, 50.0, [CALL], 61.0),
        ("09:19", 0, 0.0, [], 40.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "expected targets by instrument"),
        ({"NSE:INFY": Target(lots=1)}, "expected an instrument that it watches"),
        ({BOOK["NSE:ITC"]: Target(lots=1)}, "expected an instrument that it watches"),
        ({SHARE: 1}, "expected a Target"),
        ({INDEX: Target(lots=1)}, "an index, which can't be traded"),
        ({SHARE: Target(lots=0.5)}, "expected whole lots"),
        ({SHARE: Target(lots=1, weight=0.1)}, "not both"),
        ({SHARE: Target(weight=math.inf)}, "expected whole lots"),
        ({SHARE: Target(weight=-1e200)}, "or 1,000 times the capital"),
        ({SHARE: Target(lots=10**20)}, "expected at most 1,000,000 lots"),
        ({SHARE: Target(lots=1, stop=0.0)}, "expected rupees above 0"),
        (ZeroDivisionError("division by zero"), "division by zero"),
    ],
)
def test_wrong_answers_are_named(answer, sentence):
    """One sentence with the minute and what was expected."""
    r = runner({0: answer if isinstance(answer, Exception) else lambda book: answer})
    with pytest.raises(StrategyError, match=rf"Told raised on the candles of 2026-11-20 09:15:00 IST.*{sentence}"):
        r.on_candles(*minute(0, share=100.0))


def test_a_chain_knows_its_money():
    """Nearest strike, strikes away from it, and none beyond the end."""
    chain = Chain(DAY, [o for o in BOOK.values() if o.name == "NIFTY" and o.is_option and 24_900 <= o.strike <= 25_100])
    assert chain.at_the_money(25_024.0) == 25_000
    assert chain.at_the_money(25_025.0) == 25_000
    assert chain.at_the_money(99_999.0) == 25_100
    assert chain.away(Kind.PUT, 25_000.0, 2).strike == 24_900
    assert chain.away(Kind.CALL, 25_000.0, 2).strike == 25_100
    assert chain.away(Kind.CALL, 25_000.0, 3) is None
    assert {o.strike for o in chain.within(25_000.0, 1)} == {24_950, 25_000, 25_050}


def test_a_listing_offers_the_nearest_expiry():
    """Today's or later; the holiday Tuesday's expiry is Monday's."""
    day = Listing(BOOK.values(), DAY, lambda instrument: 25_010.0)
    near = day.near_the_money("NIFTY", 3)
    assert near[0] == INDEX
    assert {o.expiry for o in near[1:]} == {dt.date(2026, 11, 23)}
    assert sorted({o.strike for o in near[1:]}) == [24_850, 24_900, 24_950, 25_000, 25_050, 25_100, 25_150]
    assert day.chain("NIFTY", day.expiries("NIFTY")[1]).expiry > dt.date(2026, 11, 23)
    with pytest.raises(UnknownInstrument, match="no options on 'SENSEX'"):
        day.chain("SENSEX")


def test_a_brokers_shares_are_those_that_have_futures():
    """Its dump has thousands of small shares, funds and bonds, which no session could watch; where no share has a future, all."""
    future = Instrument(
        instrument_token=2, exchange="NFO", tradingsymbol="INFY26NOVFUT", name="INFY", kind=Kind.FUTURE, lot_size=400
    )
    bond = Instrument(instrument_token=257, exchange="NSE", tradingsymbol="754KA35-SG", kind=Kind.EQUITY)
    indexed = [i for i in BOOK.values() if i.kind is Kind.FUTURE]
    assert Listing([SHARE, OTHER, bond, future, *indexed], DAY, lambda instrument: 0.0).shares == [SHARE]
    assert Listing([SHARE, OTHER, *indexed], DAY, lambda instrument: 0.0).shares == [SHARE, OTHER]


def test_indices_have_one_name():
    """The paper exchange lists them under the symbols that baskets look for."""
    assert {u.name: u.tradingsymbol for u in UNDERLYINGS} == INDEX_SYMBOLS


def test_a_notebook_basket_travels_as_source(tmp_path):
    """A class that is of no package is written out and loaded again, with its parameters."""
    SCRIPT.clear()
    path, source = describe(Told)
    assert path == "strategy.py:Told"
    (tmp_path / "strategy.py").write_text(source)
    found = load(path, tmp_path)
    assert issubclass(found, BasketStrategy)
    assert found(stop_after=3).parameters == {"stop_after": 3}


def test_a_basket_runs_in_the_event_engine_alone():
    """The compiled engine says which one does; so does a basket that is used as a strategy of one instrument."""
    with pytest.raises(BadConfig, match=r"Told is a basket.*engine='event'"):
        backtest(Told(), {SHARE: []})
    with pytest.raises(BadConfig, match=r"Told is a basket.*engine='event'"):
        sweep(Told, {"stop_after": [1, 2]}, {SHARE: []})
    with pytest.raises(BadConfig, match="leave sizing out"):
        backtest(Told(), {SHARE: []}, engine="event", sizing=Sizing(lots=1))
    with pytest.raises(NotImplementedError, match="Told is a basket"):
        Told().fresh().on_candle(Candle(OPEN, 1.0, 1.0, 1.0, 1.0))
    assert issubclass(Told, Strategy)
    assert isinstance(SHARE, Instrument)
