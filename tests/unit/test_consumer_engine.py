"""The Consumer's engine: from closed candles to signals and sized order requests."""

import msgspec
import pytest

from tradealgo.config import Manifest, Mode
from tradealgo.consumer.engine import StrategyEngine
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
    assert alert.code == "strategy_raised"
    assert "NSE:INFY" in alert.text
    assert "09:16" in alert.text
    later = e.on_candles([closed(2, 101.0), closed(2, 100.0, token=2)], ts=6)
    assert ([s.instrument_token for s in later.signals], later.alerts) == ([2], [])


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

    class JustLong(Strategy):
        def on_candle(self, candle):
            return LONG

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
