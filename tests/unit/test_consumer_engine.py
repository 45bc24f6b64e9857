"""The Consumer's engine: from closed candles to signals and sized order requests."""

import msgspec
import numpy as np
import pytest

from tradealgo.config import Manifest, Mode
from tradealgo.consumer.engine import EngineOutput, StrategyEngine
from tradealgo.domain.candles import MINUTE_NS, ClosedCandle
from tradealgo.domain.errors import UnknownInstrument
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.orders import Intent, Side
from tradealgo.domain.sizing import Sizing
from tradealgo.strategies import FLAT, LONG, SHORT, Signal, Strategy

OPEN = 1_795_146_300_000_000_000  # 2026-11-20 09:15 IST
INFY = Instrument(instrument_token=1, exchange="NSE", tradingsymbol="INFY", kind=Kind.EQUITY)
TCS = Instrument(instrument_token=2, exchange="NSE", tradingsymbol="TCS", kind=Kind.EQUITY)


class BySign(Strategy):
    """The last digit of the price says it: 1 long, 2 short, 3 raises, 4 nan, else flat."""

    def on_candle(self, candle):
        digit = round(candle.close) % 10
        if digit == 3:
            raise RuntimeError("three")
        if digit == 4:
            return Signal(float("nan"))
        return {1: Signal(1, candle.close - 1, "up"), 2: SHORT}.get(digit, FLAT)


def manifest(**changes):
    base = Manifest(
        session_id="s1", mode=Mode.PAPER, account="PAPER1", strategy="x:BySign", parameters={},
        instruments=("NSE:INFY", "NSE:TCS"), capital=100_000.0, sizing=Sizing(fraction=0.5),
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def engine(**changes):
    return StrategyEngine(manifest(**changes), BySign, [INFY, TCS])


def closed(i, close, token=1):
    start = OPEN + i * MINUTE_NS
    return ClosedCandle(token, 60, start, close, close, close, close, 1.0, 0.0, 5, start + MINUTE_NS, 7, 8)


def test_an_entry_is_sized_on_the_close_and_stamped():
    """Half of 100,000 at 101: 495 shares, with the chain's stamps."""
    out = engine().on_candles([closed(0, 101.0)], ts=9)
    (request,) = out.requests
    assert (request.side, request.quantity, request.position_after, request.intent) == (
        Side.BUY,
        495,
        495,
        Intent.ENTRY,
    )
    assert (request.request_id, request.stop, request.reason) == (f"s1:1:{OPEN}:e", 100.0, "up")
    assert (request.ts_event, request.ts_init, request.ts_closed, request.ts_signalled) == (OPEN + MINUTE_NS, 7, 8, 9)
    assert [s.target for s in out.signals] == [1]


def test_a_target_heard_twice_changes_nothing():
    """Each candle has a signal; only a change has a request, whatever the close says of the size."""
    e = engine()
    outs = [e.on_candles([closed(i, c)], ts=0) for i, c in enumerate([101.0, 111.0, 121.0, 100.0, 100.0])]
    assert [len(o.signals) for o in outs] == [1] * 5
    assert [len(o.requests) for o in outs] == [1, 0, 0, 1, 0]
    assert outs[3].requests[0].side is Side.SELL
    assert outs[3].requests[0].quantity == 495


def test_a_turn_is_an_exit_and_an_entry():
    """The exit goes first; each has its own id."""
    e = engine()
    e.on_candles([closed(0, 101.0)], ts=0)
    away, into = e.on_candles([closed(1, 102.0)], ts=0).requests
    assert (away.intent, away.quantity, away.position_after) == (Intent.EXIT, 495, 0)
    assert (into.intent, into.side, into.quantity, into.position_after) == (Intent.ENTRY, Side.SELL, 490, -490)
    assert away.request_id != into.request_id


@pytest.mark.parametrize("bad", [103.0, 104.0])
def test_a_strategy_that_raises_stops_its_instrument_alone(bad):
    """It was long: an exit goes out; the other instrument trades on; one alert says why."""
    e = engine()
    e.on_candles([closed(0, 101.0), closed(0, 101.0, token=2)], ts=0)
    out = e.on_candles([closed(1, bad), closed(1, 102.0, token=2)], ts=5)
    assert [(r.instrument, r.intent) for r in out.requests] == [
        ("NSE:INFY", Intent.EXIT), ("NSE:TCS", Intent.EXIT), ("NSE:TCS", Intent.ENTRY),
    ]  # fmt: skip
    (alert,) = out.alerts
    assert alert.code == "strategy_raised:NSE:INFY"
    assert "NSE:INFY is stopped" in alert.text
    assert alert.text.endswith("1 other instrument trades on")
    assert "09:16" in alert.text
    later = e.on_candles([closed(2, 101.0), closed(2, 100.0, token=2)], ts=6)
    assert ([s.instrument_token for s in later.signals], later.alerts) == ([2], [])
    (last,) = e.on_candles([closed(3, bad, token=2)], ts=7).alerts
    assert last.code == "strategy_raised:NSE:TCS"
    assert last.text.endswith("nothing is traded any more")


def test_replay_gives_the_state_of_an_engine_that_never_stopped():
    """After a restart the next candle's output is the same."""
    history = [closed(i, c) for i, c in enumerate([101.0, 111.0, 102.0, 103.0])]
    for cut in range(len(history)):
        whole, restarted = engine(), engine()
        for candle in history[:cut]:
            whole.on_candles([candle], ts=candle.ts_closed)
        restarted.replay(history[:cut])
        assert whole.on_candles([history[cut]], ts=1) == restarted.on_candles([history[cut]], ts=1)


def test_capital_that_does_not_reach_makes_no_request():
    """A lot costs more than the fraction allows: the target is heard, nothing is asked."""
    e = engine(sizing=Sizing(fraction=0.0001))
    assert e.on_candles([closed(0, 101.0)], ts=0).requests == []
    assert e.on_candles([closed(1, 100.0)], ts=0).requests == []


def test_unknown_instruments_are_refused_at_once():
    """Not at the first candle."""
    with pytest.raises(UnknownInstrument, match="did you mean NSE:INFY"):
        engine(instruments=("NSE:INFI",))


def test_long_is_one_signal():
    """LONG from a strategy has no stop: the request carries none."""
    (request,) = StrategyEngine(manifest(), JustLong, [INFY, TCS]).on_candles([closed(0, 101.0)], ts=0).requests
    assert request.stop is None


def test_a_live_session_hears_no_candle_that_had_begun_before_its_feed():
    """Launched at 09:17:40: the candle of 09:18 may lack its first ticks too, that of 09:19 has all."""
    made = engine(mode=Mode.LIVE, created=OPEN + 2 * MINUTE_NS + 40 * 10**9)
    for minute in (2, 3):
        assert made.on_candles([closed(minute, 101.0)], 1).signals == []
    out = made.on_candles([closed(4, 101.0)], 1)
    assert [s.start for s in out.signals] == [OPEN + 4 * MINUTE_NS]
    assert len(out.requests) == 1


class JustLong(Strategy):
    """Long from its first candle on."""

    def on_candle(self, candle):
        return LONG


CALL = Instrument(instrument_token=514, exchange="NFO", tradingsymbol="NIFTY26NOV25000CE", kind=Kind.CALL)
MINUTE_15_29 = 374  # after the open; options trade to 15:40
MINUTE_15_35 = 380


def test_a_position_whose_square_off_candle_never_comes_is_left_by_time():
    """The call's last trade is of 15:27: half-way from 15:30 to the close of 15:40 its exit is asked for, and people are told."""
    e = StrategyEngine(manifest(instruments=(CALL.key,), sizing=Sizing(lots=1)), JustLong, [CALL])
    (entry,) = e.on_candles([closed(372, 5.0, token=514)], ts=1, watermark=OPEN + 373 * MINUTE_NS).requests
    due = OPEN + MINUTE_15_35 * MINUTE_NS
    assert not e.is_due(due - 1)
    assert e.on_candles([], ts=2, watermark=due - 1).requests == []
    assert e.is_due(due)
    out = e.on_candles([], ts=3, watermark=due)
    (request,) = out.requests
    assert (request.side, request.quantity, request.intent) == (Side.SELL, entry.quantity, Intent.EXIT)
    assert (request.reason, request.reference_price) == ("square-off", 5.0)
    assert request.start == OPEN + MINUTE_15_29 * MINUTE_NS  # of the candle that never came: no request of another's id
    assert "NIFTY26NOV25000CE had no candle at 15:29 IST" in out.alerts[0].text
    assert not e.is_due(due + 1)
    late = e.on_candles([closed(382, 5.0, token=514)], ts=4, watermark=OPEN + 383 * MINUTE_NS)
    assert (late.signals[0].target, late.requests, late.alerts) == (0, [], [])


def test_what_its_candle_has_squared_off_is_not_left_again():
    """The candle that ends at 15:30 comes, late by the clock but in time: one exit, and time asks for nothing."""
    e = StrategyEngine(manifest(instruments=(CALL.key,), sizing=Sizing(lots=1)), JustLong, [CALL])
    e.on_candles([closed(372, 5.0, token=514)], ts=1)
    (exit_,) = e.on_candles([closed(MINUTE_15_29, 5.0, token=514)], ts=2, watermark=OPEN + 379 * MINUTE_NS).requests
    assert exit_.reason == "square-off"
    assert not e.is_due(OPEN + 385 * MINUTE_NS)


def test_the_candle_of_a_long_interval_is_waited_for():
    """Hours end at 15:15, the last one that can still be traded on; time leaves half-way from there to the close."""
    made = manifest(instruments=(CALL.key,), sizing=Sizing(lots=1), interval=3600)
    e = StrategyEngine(made, JustLong, [CALL])
    e.on_candles([msgspec.structs.replace(closed(0, 5.0, token=514), interval=3600)], ts=1)
    due = OPEN + 372 * MINUTE_NS + MINUTE_NS // 2  # 15:27:30
    assert (e.is_due(due - 1), e.is_due(due)) == (False, True)
    assert e.on_candles([], ts=2, watermark=due).requests[0].start == OPEN + 300 * MINUTE_NS


def test_a_restart_after_it_was_left_by_time_asks_for_nothing_again():
    """What the restored watermark made due was published before the restart."""
    made, due = manifest(instruments=(CALL.key,), sizing=Sizing(lots=1)), OPEN + MINUTE_15_35 * MINUTE_NS
    before, after = (StrategyEngine(made, JustLong, [CALL]) for _ in range(2))
    before.replay([closed(372, 5.0, token=514)], due - 1)
    after.replay([closed(372, 5.0, token=514)], due)
    assert (before.is_due(due), after.is_due(due)) == (True, False)
    assert after.on_candles([], ts=1, watermark=due) == EngineOutput([], [], [])


def test_a_reason_of_numpys_is_a_plain_one():
    """A reason taken from an array is a str of numpy's, which can't be published."""

    class FromArray(Strategy):
        def on_candle(self, candle):
            return Signal(1, reason=np.array(["up", "down"])[0])

    out = StrategyEngine(manifest(), FromArray, [INFY, TCS]).on_candles([closed(0, 101.0)], ts=0)
    assert (type(out.signals[0].reason), type(out.requests[0].reason)) == (str, str)
    msgspec.msgpack.encode(out)


def test_a_live_strategy_hears_no_partial_candle():
    """One alert says which; on paper it hears all, so that what the exchange loses is rehearsed."""
    gone = [msgspec.structs.replace(closed(0, 101.0, token), partial=True) for token in (1, 2)]
    live = engine(mode=Mode.LIVE)
    out = live.on_candles(gone, ts=9)
    assert (out.signals, out.requests) == ([], [])
    assert [(a.code, a.text.endswith("NSE:INFY 09:15, NSE:TCS 09:15")) for a in out.alerts] == [
        ("CANDLE_PARTIAL", True)
    ]
    assert len(live.on_candles([closed(1, 101.0)], ts=9).requests) == 1
    assert len(engine().on_candles(gone, ts=9).requests) == 2


def test_a_sizing_that_buys_nothing_is_told_once():
    """Rs 50,000 buy no share at 60,001: a session that trades nothing must not look like one that waits."""
    e = engine()
    outs = [e.on_candles([closed(i, 60_001.0), closed(i, 101.0, token=2)], ts=i) for i in range(3)]
    assert {r.instrument for out in outs for r in out.requests} == {"NSE:TCS"}
    (alert,) = [a for out in outs for a in out.alerts]
    assert alert.code == "TOO_SMALL:NSE:INFY"
    assert "NSE:INFY" in alert.text
    assert "60,001.00" in alert.text
