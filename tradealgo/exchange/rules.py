"""What the broker checks before an order reaches the exchange. Pure; refusals are `KiteError`. Prices in paise."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping

import msgspec

from tradealgo.domain.instruments import FREEZE_QUANTITIES, MAX_SLICES, Instrument, Kind
from tradealgo.exchange.orders import OrderForm
from tradealgo.exchange.protocol import ORDER_TYPES, PRODUCTS, SIDES, VALIDITIES, VARIETIES, bad_input, rupees

TAG = re.compile(r"[A-Za-z0-9]{1,20}\Z")
NUMBER = re.compile(r"-?\d{1,12}(\.\d{1,6})?\Z")
PROTECTION_FROM = dt.date(2026, 4, 1)
LARGEST_QUANTITY = 10_000_000
TTL_MINUTES = range(1, 1_440)
ICEBERG_LEGS = range(2, 51)

#: Automatic protection: (price in rupees below which it holds, percent). Zerodha, 2026.
EQUITY_BANDS = ((100.0, 2.0), (500.0, 1.0), (math.inf, 0.5))
OPTION_BANDS = ((10.0, 5.0), (100.0, 3.0), (500.0, 2.0), (math.inf, 1.0))


class Circuit(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's price band as fractions: of the previous close (?); for options of the reference price of the moment,
    in rupees when cheap (NSE's limit price protection)."""

    share: float = 0.20
    future: float = 0.10
    option: float = 0.40
    option_cheap_below: float = 50.0
    option_cheap_width: float = 20.0

    def limits(self, instrument: Instrument, reference: int) -> tuple[int, int]:
        """Lowest and highest price in paise that an order may carry."""
        tick = tick_paise(instrument)
        if instrument.is_option:
            cheap = reference < self.option_cheap_below * 100
            width = self.option_cheap_width * 100 if cheap else reference * self.option
        else:
            width = reference * (self.future if instrument.kind is Kind.FUTURE else self.share)
        low = math.ceil(max(tick, reference - width) / tick) * tick
        return low, max(low, math.floor((reference + width) / tick) * tick)


def tick_paise(instrument: Instrument) -> int:
    """Tick size in paise, at least 1."""
    return max(1, round(instrument.tick_size * 100))


def freeze_quantity(instrument: Instrument) -> int:
    """Largest quantity of one order."""
    if not instrument.is_derivative:
        return LARGEST_QUANTITY
    return FREEZE_QUANTITIES.get(instrument.name, LARGEST_QUANTITY) // instrument.lot_size * instrument.lot_size


# ---------------------------------------------------------------------------------------------- reading the form


def _number(form: Mapping[str, str], name: str) -> float:
    text = form.get(name) or "0"
    if not NUMBER.match(text):
        raise bad_input(f"Invalid `{name}`.")
    return float(text)


def _units(form: Mapping[str, str], name: str) -> int:
    value = _number(form, name)
    if value != int(value) or value < 0:
        raise bad_input(f"Invalid `{name}`.")
    return int(value)


def _paise(form: Mapping[str, str], name: str) -> int:
    value = _number(form, name) * 100
    if value < 0:
        raise bad_input(f"Invalid `{name}`.")
    if abs(value - round(value)) > 1e-6:
        raise bad_input(f"Invalid `{name}`: more than two decimals.")
    return round(value)


def _choice(form: Mapping[str, str], name: str, choices: tuple[str, ...], default: str | None = None) -> str:
    value = form.get(name) or default
    if value is None:
        raise bad_input(f"Missing `{name}`.")
    if value not in choices:
        raise bad_input(f"Invalid `{name}`.")
    return value


def read_form(variety: str, form: Mapping[str, str]) -> OrderForm:
    """The order that a POST to `/orders/{variety}` describes. Raises KiteError."""
    if variety not in VARIETIES:
        raise bad_input("Invalid `variety`.")
    for name in ("exchange", "tradingsymbol", "quantity"):
        if not form.get(name):
            raise bad_input(f"Missing `{name}`.")
    tag = form.get("tag") or None
    if tag is not None and not TAG.match(tag):
        raise bad_input("Invalid `tag`: only alphanumeric, at most 20 characters.")
    return OrderForm(
        variety=variety,
        exchange=form["exchange"],
        tradingsymbol=form["tradingsymbol"],
        side=_choice(form, "transaction_type", SIDES),
        quantity=_units(form, "quantity"),
        product=_choice(form, "product", PRODUCTS),
        order_type=_choice(form, "order_type", ORDER_TYPES),
        price=_paise(form, "price"),
        trigger=_paise(form, "trigger_price"),
        validity=_choice(form, "validity", VALIDITIES, "DAY"),
        ttl=_units(form, "validity_ttl"),
        disclosed=_units(form, "disclosed_quantity"),
        protection=_number(form, "market_protection"),
        tag=tag,
        legs=_units(form, "iceberg_legs"),
        autoslice=form.get("autoslice") == "true",
    )


# ---------------------------------------------------------------------------------------------- checks


def check(form: OrderForm, instrument: Instrument, day: dt.date, band: tuple[int, int], last: int) -> None:
    """All that can be said of an order from itself, its instrument and the last price in paise. Raises KiteError."""
    if not instrument.tradable:
        raise bad_input(f"The instrument you are placing an order for is not tradable: {instrument.key}.")
    check_product(form, instrument)
    check_validity(form, instrument)
    check_quantity(form, instrument)
    check_prices(form.order_type, form.price, form.trigger, instrument, band)
    check_protection(form, instrument, day)
    if form.order_type in ("SL", "SL-M"):
        check_trigger(form, last)


def check_product(form: OrderForm, instrument: Instrument) -> None:
    """CNC and MTF are for shares, NRML for derivatives."""
    allowed = ("MIS", "NRML") if instrument.is_derivative else ("MIS", "CNC", "MTF")
    if form.product not in allowed:
        raise bad_input(f"Invalid `product`: {form.product} is not allowed for {instrument.exchange} instruments.")
    if form.variety in ("co", "auction"):
        raise bad_input(f"Orders of variety {form.variety} are blocked.")


def check_validity(form: OrderForm, instrument: Instrument) -> None:
    """TTL needs its minutes; an iceberg its legs; neither of them nor IOC goes with the other."""
    if form.validity == "TTL" and form.ttl not in TTL_MINUTES:
        raise bad_input("Invalid `validity_ttl`: expected 1 to 1439 minutes.")
    if form.validity == "IOC" and instrument.exchange == "MCX":
        raise bad_input("IOC orders are not allowed on MCX.")
    if form.variety == "iceberg":
        if form.legs not in ICEBERG_LEGS:
            raise bad_input("Invalid `iceberg_legs`: expected 2 to 50.")
        if form.order_type not in ("LIMIT", "MARKET") or form.validity == "IOC":
            raise bad_input("Iceberg orders need order type LIMIT or MARKET and validity DAY or TTL.")


def check_quantity(form: OrderForm, instrument: Instrument) -> None:
    """Positive, whole lots, not beyond the freeze quantity (or, sliced, ten times it)."""
    quantity, lot, freeze = form.quantity, instrument.lot_size, freeze_quantity(instrument)
    if quantity <= 0 or quantity > LARGEST_QUANTITY:
        raise bad_input("Invalid `quantity`.")
    if quantity % lot:
        raise bad_input(f"Quantity should be a multiple of {lot}.")
    if form.disclosed > quantity or (form.disclosed and form.disclosed * 10 < quantity):
        raise bad_input("Disclosed quantity should be between 10% and 100% of the quantity.")
    pieces = MAX_SLICES if form.autoslice else max(1, form.legs)
    if quantity > freeze * pieces:
        raise bad_input(
            f"The order quantity {quantity} ({quantity // lot} lots) is higher than the maximum quantity of "
            f"{freeze * pieces} ({freeze * pieces // lot} lots) allowed by the exchanges. Please reduce the order "
            f"quantity or use iceberg orders."
        )


def check_prices(order_type: str, price: int, trigger: int, instrument: Instrument, band: tuple[int, int]) -> None:
    """A limit price where one is due, on the tick, within the day's band; likewise the trigger."""
    wanted = {"LIMIT": (price,), "SL": (price, trigger), "SL-M": (trigger,), "MARKET": ()}[order_type]
    names = {"LIMIT": ("price",), "SL": ("price", "trigger_price"), "SL-M": ("trigger_price",), "MARKET": ()}
    tick, (low, high) = tick_paise(instrument), band
    for name, value in zip(names[order_type], wanted, strict=True):
        if value <= 0:
            raise bad_input(f"Missing or invalid `{name}`.")
        if value % tick:
            raise bad_input(
                f"Tick size for this script is {rupees(tick):.2f}. Kindly enter price in the multiple of tick size "
                f"for this script."
            )
        if not low <= value <= high:
            raise bad_input(
                f"Your {name.replace('_', ' ')} {rupees(value):.2f} is outside the day's circuit limits of "
                f"{rupees(low):.2f} to {rupees(high):.2f}."
            )


def check_protection(form: OrderForm, instrument: Instrument, day: dt.date) -> None:
    """MARKET and SL-M need protection from 2026-04-01; SL-M does not exist for options."""
    if form.order_type == "SL-M" and instrument.is_option:
        raise bad_input("SL-M orders are blocked for options. Use SL orders instead.")
    if form.order_type not in ("MARKET", "SL-M"):
        return
    protection = form.protection
    if protection != -1 and not 0 <= protection <= 100:
        raise bad_input("Invalid `market_protection`: expected -1, or a percentage above 0 and up to 100.")
    if protection == 0 and day >= PROTECTION_FROM:
        raise bad_input("Market orders without market protection are not allowed via API. Set `market_protection`.")


def check_trigger(form: OrderForm, last: int) -> None:
    """A stop must be on the far side of the last price, and its limit not on the near side of its trigger."""
    sign = 1 if form.side == "BUY" else -1
    word = "higher" if sign > 0 else "lower"
    if sign * (form.trigger - last) <= 0:
        raise bad_input(
            f"Trigger price for stoploss {form.side.lower()} orders should be {word} than the last traded price "
            f"({rupees(last):.2f})."
        )
    if form.order_type == "SL" and sign * (form.price - form.trigger) < 0:
        raise bad_input(
            f"Limit price for stoploss {form.side.lower()} orders cannot be on the near side of the trigger."
        )


def protected_limit(
    side: str, protection: float, last: int, instrument: Instrument, band: tuple[int, int]
) -> int:  # fmt: skip
    """The limit price that a market order gets, rounded outward to a tick and kept inside the day's band.

    `protection` in percent; -1 is the broker's own table, 0 (before the rule) the band itself.
    """
    low, high = band
    if not protection:
        return high if side == "BUY" else low
    table = OPTION_BANDS if instrument.is_option else EQUITY_BANDS
    percent = protection if protection > 0 else next(p for below, p in table if last < below * 100)
    tick = tick_paise(instrument)
    if side == "BUY":
        return min(high, math.ceil(last * (1 + percent / 100) / tick - 1e-9) * tick)
    return max(low, math.floor(last * (1 - percent / 100) / tick + 1e-9) * tick)
