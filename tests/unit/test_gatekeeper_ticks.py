"""Ticks aren't taken on trust: neither an exchange time of another day, nor a cached price for a fresh one."""

from __future__ import annotations

from typing import Any

import pytest
from gate_world import CALL, DAY_START, INFY, MS, RELIANCE, SECOND, TOKEN, World

from tradealgo.bus.codec import TickFrame, encode_ticks
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, Side
from tradealgo.domain.ticks import FLAG_CACHED, empty_ticks, marks
from tradealgo.gatekeeper.inbox import AHEAD_NS, CACHED_AGE_NS, Inbox
from tradealgo.gatekeeper.messages import Faulted, Kind, PricesSeen

DAY = 24 * 3_600 * SECOND
OTHER = RELIANCE.instrument_token


class Feed:
    """An inbox that is given frames as the bus has them; it reads from no bus."""

    def __init__(self, live: bool = True, world: World | None = None) -> None:
        self.taken: list[Any] = []
        self.world = world
        self.inbox = Inbox(None, self._take, control_after=b"", live=live)  # type: ignore[arg-type]

    def _take(self, event: Any, entry_id: bytes | None) -> None:
        self.taken.append(event)
        if self.world:
            self.world.give(event)

    def frame(self, *ticks: tuple[int, float, int] | tuple[int, float, int, int], at: int = DAY_START) -> list[Any]:
        """Events that a frame leads to: of token, last price, exchange time and flags, received `at`."""
        rows = empty_ticks(len(ticks))
        for row, (token, last, ts_event, *flags) in zip(rows, ticks, strict=True):
            row["instrument_token"], row["last_price"], row["ts_event"], row["flags"] = (
                token,
                last,
                ts_event,
                sum(flags),
            )
        self.taken.clear()
        self.inbox._take_ticks([encode_ticks(TickFrame(rows, at))])
        return list(self.taken)


def test_one_tick_a_day_ahead_ends_no_session() -> None:
    """Its price counts, its time doesn't; a person is told once, and an exit asked for afterwards comes off."""
    world = World(limits=Limits(stale_price_s=600.0, breaker_failures=50))
    feed = Feed(world=world)
    world.advance(SECOND)
    feed.frame((TOKEN, 1_500.0, world.now), (OTHER, 2_900.0, world.now), at=world.now)
    world.ask(INFY, 10)
    world.advance(SECOND)
    world.fill_some(1.0)
    for _ in range(2):
        feed.frame((OTHER, 2_901.0, world.now + DAY), at=world.now)
    assert world.gate.book.last_price(OTHER) == 2_901.0
    assert world.gate.book.ts_event < world.now
    world.advance(SECOND)
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND)
    world.fill_some(1.0)
    assert world.position[TOKEN] == 0
    told = [r.text for k, r in world.journal if k is Kind.NOTE and r.code == "FAULT"]
    assert told == ["a tick of instrument 513 says 21 Nov 10:00, at 20 Nov 10:00 IST: such times are ignored"]


@pytest.mark.parametrize(
    ("last", "bid", "ask", "mark"),
    [
        (100.0, 99.95, 100.05, 100.0),
        (800.0, 99.95, 100.05, 100.05),  # a freak trade, after which the book stands where it stood
        (0.05, 99.95, 100.05, 99.95),
        (100.0, 150.0, 152.0, 150.0),  # hasn't traded for minutes; its book has moved
        (100.0, 100.0, 100.0, 100.0),
        (800.0, 0.0, 100.05, 800.0),  # one side alone: at a circuit limit
        (0.05, 99.95, 0.0, 0.05),
        (24_000.0, 0.0, 0.0, 24_000.0),  # an index
        (100.0, 101.0, 99.0, 100.0),  # crossed, as before the open
    ],
)
def test_worth_lies_between_bid_and_ask(last: float, bid: float, ask: float, mark: float) -> None:
    """Where a tick has both."""
    ticks = empty_ticks(2)
    ticks["last_price"], ticks["bid_price"], ticks["ask_price"] = last, bid, ask
    assert marks(ticks).tolist() == [mark, mark]


@pytest.mark.parametrize("has_book", [True, False])
def test_a_freak_trade_trips_no_kill_while_the_book_stands(has_book: bool) -> None:
    """A long position, one trade at a twentieth of the price. Without a book there is nothing to tell it by."""
    world = World(limits=Limits(stale_price_s=600.0))
    feed = Feed(world=world)
    world.advance(SECOND)
    feed.frame((TOKEN, 1_500.0, world.now), at=world.now)
    world.ask(INFY, 100)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)
    freak = empty_ticks(1)
    freak["instrument_token"], freak["last_price"], freak["ts_event"] = TOKEN, 75.0, world.now
    if has_book:
        freak["bid_price"], freak["ask_price"] = 1_499.9, 1_500.1
    feed.inbox._take_ticks([encode_ticks(TickFrame(freak, world.now))])
    world.advance(SECOND)
    assert world.position[TOKEN] == 100
    assert world.gate.killer.is_armed is has_book


@pytest.mark.parametrize(("ahead", "believed"), [(AHEAD_NS, True), (AHEAD_NS + 1, False)])
def test_how_far_ahead_a_time_may_be(ahead: int, believed: bool) -> None:
    """An hour: no two clocks are so far apart."""
    feed = Feed()
    feed.frame((TOKEN, 1_500.0, DAY_START))
    events = feed.frame((TOKEN, 1_501.0, DAY_START + ahead), (OTHER, 2_900.0, DAY_START))
    assert events[-1].prices == [(TOKEN, 1_501.0, DAY_START + ahead if believed else 0), (OTHER, 2_900.0, DAY_START)]
    assert any(isinstance(e, Faulted) for e in events) is not believed


@pytest.mark.parametrize("live", [True, False])
def test_a_clock_of_its_own_is_believed(live: bool) -> None:
    """A paper exchange plays another day; and live, where no tick was ever timely, it is this machine that is wrong."""
    feed = Feed(live=live)
    if not live:
        feed.frame((TOKEN, 1_500.0, DAY_START))
    for n in range(3):
        tick = (TOKEN, 1_500.0, DAY_START + DAY + n * SECOND)
        assert feed.frame(tick) == [PricesSeen([tick], DAY_START)]


def test_a_first_tick_that_is_cached_is_a_price_but_no_fresh_one() -> None:
    """It values; an entry waits for a real one."""
    feed = Feed()
    events = feed.frame((TOKEN, 1_500.0, DAY_START, FLAG_CACHED), (OTHER, 2_900.0, DAY_START))
    assert events == [
        PricesSeen([(TOKEN, 1_500.0, DAY_START)], DAY_START - CACHED_AGE_NS),
        PricesSeen([(OTHER, 2_900.0, DAY_START)], DAY_START),
    ]
    assert feed.frame((TOKEN, 1_501.0, DAY_START)) == [PricesSeen([(TOKEN, 1_501.0, DAY_START)], DAY_START)]
    assert feed.frame((TOKEN, 1_500.0, DAY_START, FLAG_CACHED)) == []


def test_a_cached_tick_with_what_was_missed_counts() -> None:
    """The feed was away for ten seconds, in which the instrument traded: by the exchange's time the cached price is the newer one."""
    feed = Feed()
    feed.frame((TOKEN, 1_500.0, DAY_START))
    later = DAY_START + 9 * SECOND
    assert feed.frame((TOKEN, 1_380.0, later, FLAG_CACHED), at=later) == [
        PricesSeen([(TOKEN, 1_380.0, later)], later - CACHED_AGE_NS)
    ]


def test_after_a_gap_the_brokers_price_stands_and_an_entry_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed was lost for two minutes, the price fell by 3 %; the socket comes back with the old price."""
    world = World(limits=Limits(breaker_failures=50))
    feed = Feed(world=world)
    monkeypatch.setattr(World, "tick_all", lambda self: None)
    world.advance(SECOND)
    before = world.now
    for token, last in world.prices.items():
        feed.frame((token, last, before), at=before)
    world.ask(INFY, 100)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.prices[TOKEN] = 1_455.0
    world.advance(120 * SECOND, step=200 * MS)
    feed.frame((TOKEN, 1_500.0, before, FLAG_CACHED), (CALL.instrument_token, 120.0, world.now), at=world.now)
    assert world.gate.book.last_price(TOKEN) == 1_455.0
    world.ask(INFY, 150)
    assert [r.code for k, r in world.journal if k is Kind.VERDICT][-1] == "STALE_PRICE"
    assert not [o for o in world.orders.values() if o.side is Side.BUY and o.alive]
