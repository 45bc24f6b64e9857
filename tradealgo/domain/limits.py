"""The Gatekeeper's limits, with safe defaults. Fixed at launch, in the manifest; shown on the desk."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Fractions of 1, rupees, units and seconds as each name says."""

    max_loss_fraction: float = 0.02  # of capital: the kill switch's MTM line
    slippage_fraction: float = 0.005  # a market order becomes a limit this far beyond the last price
    max_order_value: float = 5_000_000.0  # rupees
    max_gross_exposure: float = 10_000_000.0  # rupees, worst case of what is pending included
    max_open_orders: int = 50
    stale_price_s: float = 5.0  # of wall-clock time since the instrument last ticked, at data speed 1
    fat_finger_fraction: float = 0.03  # request's reference price against the last price
    option_fat_finger_fraction: float = 0.20  # the same of options, whose premiums move many times as much
    entry_max_age_s: float = 5.0  # an entry that waited longer is denied, not sent late
    orders_per_second: int = 10  # broker's rule, by calendar second of its clock (Kite, 2026)
    orders_per_minute: int = 400
    orders_per_day: int = 5_000
    exit_reserve_per_second: int = 3  # of orders_per_second, kept for exits and the kill
    exit_reserve_per_minute: int = 60
    kill_reserve_per_minute: int = 60  # of the rest, kept for the kill alone
    exit_reserve_per_day: int = 500
    modifications_per_order: int = 25
    breaker_failures: int = 5  # failed orders within breaker_window_s pause trading
    breaker_window_s: float = 60.0
    breaker_cooldown_s: float = 60.0
    chase_after_s: float = 1.0  # an unfilled exit is moved to the current price this often
    chase_limit: int = 10
    call_timeout_s: float = 3.0
    absence_s: float = 11.0  # since the call left: its time-out, and the 8 s after which one showed up (Kite, 2026)
    superseded_after_s: float = 0.5  # a request waits this long for the opposite order to fill before that is cancelled
    protect_fraction: float = 0.0  # a stop rests at the broker this far beyond each entry price; 0: none
    brackets: bool = False  # the strategy's own stop and target rest at the broker, one at a time
    reconcile_s: float = 60.0
    reconcile_failures: int = 5  # mismatches in a row that trip the kill
    dead_man_s: float = 0.0  # no word from a person for this long trips the kill; 0: off
