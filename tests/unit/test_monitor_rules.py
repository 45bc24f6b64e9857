"""The Monitor's rules: what raises an alert, what resolves it, and that each is said once."""

from __future__ import annotations

import datetime as dt

from tradealgo.domain.hours import DAY_NS
from tradealgo.domain.hours import at as instant
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.state import (
    Action,
    Alert,
    Beat,
    Control,
    KillCause,
    KillState,
    Level,
    Module,
    SessionState,
    TradingState,
)
from tradealgo.monitor.messenger import notifiers
from tradealgo.monitor.rules import HEARTBEAT_NS, LATE_NS, MINUTE_NS, NO_TICKS_NS, WATCHED, Hours, Outgoing, Rules
from tradealgo.monitor.shell import live_hours, trading_hours

S = 1_000_000_000


def beat(module: Module, ts: int, state: str = "READY", ts_event: int = 0, pid: int = 1) -> Beat:
    return Beat(module=module, pid=pid, ts=ts, state=state, ts_event=ts_event)


def codes(alerts: list[Alert]) -> list[tuple[str, bool]]:
    return [(a.code, a.resolved) for a in alerts]


def test_a_module_that_stops_beating_is_told_once_and_its_return_once() -> None:
    """Three seconds of silence: one alert, however often it is looked at; then one recovery."""
    rules = Rules(speed=1.0)
    rules.apply_beat(beat(Module.CONSUMER, 100 * S))
    assert rules.check(100 * S + HEARTBEAT_NS) == []
    late = rules.check(100 * S + HEARTBEAT_NS + 1)
    assert codes(late) == [("SILENT", False)]
    assert late[0].module is Module.CONSUMER
    assert late[0].level is Level.CRITICAL
    assert rules.check(200 * S) == []
    assert codes(rules.apply_beat(beat(Module.CONSUMER, 201 * S))) == [("SILENT", True)]
    assert codes(rules.check(300 * S)) == [("SILENT", False)]


def test_a_module_that_never_beats_is_told_after_half_a_minute() -> None:
    """Processes that are still starting are no alarm, nor is anybody before the Monitor hears; a module that hangs while
    the Monitor starts anew is one."""
    rules = Rules(speed=1.0)
    assert rules.check(10**18) == []
    rules.hears(100 * S)
    for module in WATCHED[1:]:
        rules.apply_beat(beat(module, 100 * S + LATE_NS))
    assert rules.check(100 * S + LATE_NS) == []
    found = rules.check(100 * S + LATE_NS + 1)
    assert [(a.module, a.code, a.level) for a in found] == [(WATCHED[0], "SILENT", Level.CRITICAL)]
    assert rules.check(100 * S + LATE_NS + 2) == []
    assert codes(rules.apply_beat(beat(WATCHED[0], 200 * S))) == [("SILENT", True)]


def test_what_was_beaten_before_a_silence_doesnt_end_it() -> None:
    """A restarted Monitor reads the last beats of a module that hangs: its silence goes on, told once."""
    rules = Rules(speed=1.0)
    told = Alert(level=Level.CRITICAL, module=Module.CONSUMER, code="SILENT", text="x", ts=104 * S)
    rules.adopt([told])
    assert rules.apply_beat(beat(Module.CONSUMER, 100 * S)) == []
    rules.hears(110 * S)
    assert rules.check(120 * S) == []
    assert codes(rules.apply_beat(beat(Module.CONSUMER, 121 * S))) == [("SILENT", True)]


def test_after_a_pause_of_the_watch_silence_is_counted_anew() -> None:
    """While the bus was away nobody could be heard: a module has three seconds from its return."""
    rules = Rules(speed=1.0)
    rules.apply_beat(beat(Module.CONSUMER, 100 * S))
    rules.hears(140 * S)
    assert rules.check(140 * S + HEARTBEAT_NS) == []
    assert codes(rules.check(140 * S + HEARTBEAT_NS + 1)) == [("SILENT", False)]


def test_a_module_that_crashes_at_every_start_is_told() -> None:
    """It beats from each of its processes and is never silent: the third new process in a minute is an alert, a minute
    without another its end. A restart now and then is none."""
    rules = Rules(speed=1.0)
    for n in range(3):
        assert rules.apply_beat(beat(Module.CONSUMER, n * MINUTE_NS + S, pid=n)) == []
    rules = Rules(speed=1.0)
    said = [rules.apply_beat(beat(Module.CONSUMER, (100 + 2 * n) * S, "STARTING", pid=n)) for n in range(6)]
    assert [codes(a) for a in said] == [[], [], [], [("RESTARTS", False)], [], []]
    rules.apply_beat(beat(Module.CONSUMER, 110 * S + MINUTE_NS, pid=5))
    assert rules.check(110 * S + MINUTE_NS) == []
    assert codes(rules.check(110 * S + MINUTE_NS + 1)) == [("RESTARTS", True)]


def test_a_module_that_never_gets_ready_is_told() -> None:
    """Half a minute after the login; before it (a person may take his time) there is nothing to be ready for."""
    rules = Rules(speed=1.0)
    said = []
    for second in range(100, 200):
        login = "LOGGED_IN" if second >= 140 else "AWAITING_PERSON"
        rules.apply_beat(beat(Module.SENTINEL, second * S, login))
        rules.apply_beat(beat(Module.CONSUMER, second * S, "STARTING"))
        said += [(second, *c) for c in codes(rules.check(second * S))]
    assert said == [(171, "NOT_READY", False)]
    (end,) = rules.apply_beat(beat(Module.CONSUMER, 170 * S))  # beaten before the alert, read after it
    assert (end.code, end.resolved, end.ts > 171 * S) == ("NOT_READY", True, True)


def ticking(speed: float, ts_event: int, hours: Hours) -> Rules:
    rules = Rules(speed=speed, hours=hours)
    rules.apply_beat(beat(Module.PRODUCER, 1_000 * S, "LIVE", ts_event))
    return rules


def beats_on(rules: Rules, now: int, ts_event: int) -> None:
    """The Producer beats, but its ticks stand still."""
    rules.apply_beat(beat(Module.PRODUCER, now, "QUIET", ts_event))


def test_no_ticks_in_market_hours_is_told_after_five_seconds_of_wall_time() -> None:
    """Beats go on, ticks don't: an alert after 5 s, resolved by the next tick."""
    hours = Hours(open=10 * S, close=10_000 * S)
    rules = ticking(1.0, 100 * S, hours)
    now = 1_000 * S + NO_TICKS_NS
    beats_on(rules, now, 100 * S)
    assert rules.check(now) == []
    assert codes(rules.check(now + 1)) == [("NO_TICKS", False)]
    assert rules.check(now + S) == []
    rules.apply_beat(beat(Module.PRODUCER, now + 2 * S, "LIVE", 101 * S))
    assert codes(rules.check(now + 2 * S)) == [("NO_TICKS", True)]


def test_after_the_close_by_the_datas_clock_no_ticks_are_expected() -> None:
    """At 600 times real time the market closes a second after the last tick: no alarm then."""
    hours = Hours(open=10 * S, close=700 * S)
    rules = ticking(600.0, 650 * S, hours)
    now = 1_000 * S + 2 * NO_TICKS_NS
    beats_on(rules, now, 650 * S)
    assert rules.check(now) == []


def test_before_the_open_no_ticks_are_expected() -> None:
    """The pre-open's quiet is no alarm, nor is a session whose hours nobody knows yet."""
    rules = ticking(1.0, 5 * S, Hours(open=1_000 * S, close=10_000 * S))
    beats_on(rules, 1_020 * S, 5 * S)
    assert rules.check(1_020 * S) == []
    rules = Rules(speed=1.0)
    rules.apply_beat(beat(Module.PRODUCER, 1_000 * S, "LIVE", 5 * S))
    beats_on(rules, 1_020 * S, 5 * S)
    assert rules.check(1_020 * S) == []


FUTURE = Instrument(instrument_token=2, exchange="NFO", tradingsymbol="NIFTY26NOVFUT", kind=Kind.FUTURE)
DAY = dt.date(2026, 11, 20)


def clock(text: str, day: dt.date = DAY) -> int:
    return instant(day, dt.time.fromisoformat(text))


def morning(rules: Rules, began: str, until: str, last_tick: int, state: str = "QUIET") -> list[tuple[str, bool, str]]:
    """A live day in steps of a second in which no tick comes after `last_tick`: each alert, and when it came."""
    rules.hours = live_hours([FUTURE], DAY, clock(began) + 30 * S)
    said = []
    for now in range(clock(began), clock(until), S):
        rules.apply_beat(beat(Module.PRODUCER, now, state, min(now, last_tick)))
        found = [*rules.check(now), *rules.check(now + 1)]
        said += [(a.code, a.resolved, f"{dt.timedelta(seconds=(now - clock('00:00')) // S)}") for a in found]
    return said


def test_a_live_feed_that_never_starts_is_told_at_the_open() -> None:
    """After Kite's cached tick of yesterday, without any tick, or after the pre-open's: 5 s after the bell, once; and by
    the close it is over."""
    for last_tick in (clock("15:40") - DAY_NS, 0, clock("09:08")):
        said = morning(Rules(speed=1.0, live=True), "09:05", "15:45", last_tick)
        assert said == [("NO_TICKS", False, "9:15:05"), ("NO_TICKS", True, "15:40:00")]


def test_a_live_feed_that_starts_with_the_bell_is_no_alarm() -> None:
    """Quiet between the pre-open and the bell, ticks until the close, and quiet again."""
    rules = Rules(speed=1.0, live=True)
    assert morning(rules, "08:50", "09:15", clock("09:08")) == []
    assert morning(rules, "09:15", "15:50", clock("15:39:59")) == []


def test_a_live_launch_in_market_hours_waits_for_its_feed() -> None:
    """A feed that needs 20 s to its first tick is no alarm, one that never gets there is."""
    rules = Rules(speed=1.0, live=True)
    assert morning(rules, "11:00", "11:00:20", 0, "CONNECTING") == []
    assert morning(rules, "11:00", "11:10", clock("11:09:59")) == []
    assert morning(Rules(speed=1.0, live=True), "11:00", "11:10", 0) == [("NO_TICKS", False, "11:00:35")]


def test_a_live_monitor_that_restarts_beside_a_dead_feed_says_nothing_new() -> None:
    """It has told of the feed before: neither once more, nor that ticks came."""
    rules = Rules(speed=1.0, live=True)
    told = Alert(level=Level.CRITICAL, module=Module.PRODUCER, code="NO_TICKS", text="no ticks", ts=1)
    rules.adopt([told])
    assert rules.check(clock("11:00")) == []  # the instruments aren't known yet
    assert morning(rules, "11:00", "11:10", clock("10:00")) == []


def test_no_live_ticks_are_expected_on_a_day_without_trading() -> None:
    """A session that runs over a weekend is no alarm on Saturday."""
    assert live_hours([FUTURE], dt.date(2026, 11, 21), 0) is None


def state(kill: KillState, trading: TradingState = TradingState.ACTIVE, **more: object) -> SessionState:
    return SessionState(trading=trading, kill=kill, ts=5, **more)  # type: ignore[arg-type]


def test_a_kills_flat_is_told_once_and_a_rearm_resolves_it() -> None:
    """The Gatekeeper tells of the trip; that the broker says flat is told here, with how long it took."""
    rules = Rules(speed=1.0)
    assert rules.apply_state(state(KillState.TRIPPED, TradingState.HALTED, cause=KillCause.MTM, ts_tripped=S)) == []
    assert rules.apply_state(state(KillState.FLATTENING, TradingState.HALTED, ts_tripped=S)) == []
    flat = rules.apply_state(state(KillState.VERIFIED_FLAT, TradingState.HALTED, ts_tripped=S, ts_flat=3 * S))
    assert codes(flat) == [("FLAT", False)]
    assert "2.0 s" in flat[0].text
    assert rules.apply_state(state(KillState.LOCKED, TradingState.HALTED, ts_tripped=S, ts_flat=3 * S)) == []
    assert codes(rules.apply_state(state(KillState.ARMED))) == [("FLAT", True)]


def test_reducing_and_halted_are_told_until_active_again() -> None:
    """A halt without a kill is a warning."""
    rules = Rules(speed=1.0)
    assert rules.apply_state(state(KillState.ARMED)) == []
    assert codes(rules.apply_state(state(KillState.ARMED, TradingState.HALTED))) == [("NOT_ACTIVE", False)]
    assert codes(rules.apply_state(state(KillState.ARMED))) == [("NOT_ACTIVE", True)]


def test_another_state_or_reason_is_told_as_well() -> None:
    """REDUCING that becomes HALTED is worse, another reason other news; the same again is neither."""
    rules = Rules(speed=1.0)
    steps = [(TradingState.REDUCING, "slow"), (TradingState.REDUCING, "slow"), (TradingState.HALTED, "by a person")]
    steps += [(TradingState.REDUCING, "positions")]
    said = [rules.apply_state(state(KillState.ARMED, trading, reason=reason)) for trading, reason in steps]
    assert [[a.text.removeprefix("trading is ") for a in alerts] for alerts in said] == [
        ["REDUCING: slow"], [], ["HALTED: by a person"], ["REDUCING: positions"],
    ]  # fmt: skip
    assert codes(rules.apply_state(state(KillState.ARMED))) == [("NOT_ACTIVE", True)]


def test_a_session_that_is_being_stopped_raises_nothing_new() -> None:
    """A person's STOP halts trading and silences modules: no alarm for that."""
    rules = Rules(speed=1.0)
    rules.apply_beat(beat(Module.CONSUMER, S))
    rules.apply_control(Control(action=Action.HALT, source="cli"))
    assert codes(rules.check(10 * S)) == [("SILENT", False)]
    rules.apply_beat(beat(Module.CONSUMER, 11 * S))
    rules.apply_control(Control(action=Action.STOP, source="cli"))
    assert rules.apply_state(state(KillState.ARMED, TradingState.HALTED)) == []
    assert rules.check(20 * S) == []


def test_a_restarted_monitor_doesnt_repeat_what_was_said() -> None:
    """What it adopts counts as said; what was resolved doesn't."""
    old = Rules(speed=1.0)
    said = old.apply_state(state(KillState.ARMED, TradingState.HALTED))
    new = Rules(speed=1.0)
    new.adopt(said)
    assert new.apply_state(state(KillState.ARMED, TradingState.HALTED)) == []
    assert codes(new.apply_state(state(KillState.ARMED))) == [("NOT_ACTIVE", True)]


def alert(text: str, *, resolved: bool = False) -> Alert:
    return Alert(
        level=Level.CRITICAL, module=Module.CONSUMER, code="strategy_raised", text=text, ts=1, resolved=resolved
    )


def test_people_hear_of_each_thing_once_until_it_is_resolved() -> None:
    """The same alert again is not sent; another text is; a resolution that nobody waits for isn't."""
    out = Outgoing()
    assert out.chosen([alert("x", resolved=True)]) == []
    assert out.chosen([alert("x"), alert("x"), alert("y")]) == [alert("x"), alert("y")]
    assert out.chosen([alert("x", resolved=True), alert("x", resolved=True)]) == [alert("x", resolved=True)]
    assert out.chosen([alert("x")]) == [alert("x")]


def test_the_bell_waits_for_all_five() -> None:
    """Sentinel logged in, Producer live or quiet, Consumer, Gatekeeper and Recorder ready."""
    rules = Rules(speed=1.0)
    words = {Module.SENTINEL: "LOGGED_IN", Module.PRODUCER: "QUIET"}
    for module in (Module.SENTINEL, Module.PRODUCER, Module.CONSUMER, Module.GATEKEEPER, Module.RECORDER):
        assert module in rules.waiting_for
        rules.apply_beat(beat(module, 1, "STARTING"))
        assert module in rules.waiting_for
        rules.apply_beat(beat(module, 1, words.get(module, "READY")))
    assert rules.waiting_for == []


def test_hours_span_all_instruments() -> None:
    """A share's continuous hours end at 15:15, a future's at 15:40: ticks are expected until the later."""
    share = Instrument(instrument_token=1, exchange="NSE", tradingsymbol="INFY", kind=Kind.EQUITY)
    future = Instrument(instrument_token=2, exchange="NFO", tradingsymbol="NIFTY26NOVFUT", kind=Kind.FUTURE)
    day = dt.date(2026, 11, 20)
    both, one = trading_hours([share, future], day), trading_hours([share], day)
    assert both.open == one.open
    assert (both.close - one.close) / 1e9 == 25 * 60


def test_alert_addresses_that_cant_be_used_are_named_without_their_secrets() -> None:
    """One bad address doesn't silence the others, and no token is repeated."""
    found, bad = notifiers("json://127.0.0.1:9/x, nonsense://secret-token")
    assert len(found) == 1
    assert bad == ["nonsense"]
    assert notifiers("  ") == ([], [])
