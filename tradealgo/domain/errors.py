"""Every error that TradeAlgo raises on purpose.

TradeAlgoError
├── InvalidInput          what a person or a file gave is wrong; the text names the mend
│   ├── UnknownInstrument
│   ├── BadCandles        a candle file or frame that can't be repaired (carries the line)
│   └── BadConfig         an environment variable, a manifest, a parameter
├── LeaseHeld             another session already trades this account
├── SessionNotFound       nothing to attach to
├── BusUnavailable        no Redis or Valkey can be reached or started
├── BadFrame              a bus entry of an unknown schema version
├── IllegalTransition     a state machine was given an event that its table doesn't hold
├── StrategyError         a strategy raised; carries the instrument and the candle
├── NotCompilable         numba can't compile a strategy; carries the file and the line
├── ParityBroken          two engines disagree about signals or order requests
└── BrokerError           see `Outcome` in `domain.orders`: only a definitive answer is a rejection
    ├── Rejected          the broker said no
    ├── OutcomeUnknown    no definitive answer: the call may or may not have taken effect
    ├── RateLimited       429: the call took no effect
    └── TokenDead         403: log in again
"""

from __future__ import annotations


class TradeAlgoError(Exception):
    """Base of everything that this package raises on purpose."""


class InvalidInput(TradeAlgoError, ValueError):
    """Input is wrong: the message says what was received, what was expected and the mend."""


class UnknownInstrument(InvalidInput):
    """No such instrument in the broker's dump; the message suggests near names."""


class BadCandles(InvalidInput):
    """Candle data that no named repair covers; the message names the file and line."""


class BadConfig(InvalidInput):
    """A setting, manifest or parameter is missing or malformed."""


class LeaseHeld(TradeAlgoError):
    """A session already holds this account's lease."""


class SessionNotFound(TradeAlgoError):
    """There is no session to attach to."""


class BusUnavailable(TradeAlgoError):
    """The Redis-compatible server can't be reached or started."""


class BadFrame(TradeAlgoError):
    """A bus entry has a schema version or length that this code doesn't know."""


class IllegalTransition(TradeAlgoError):
    """A (state, event) pair that the machine's table doesn't hold. Nothing was changed."""


class StrategyError(TradeAlgoError):
    """A strategy raised while it handled a candle."""


class NotCompilable(TradeAlgoError):
    """numba can't compile the strategy; the interpreted class still runs."""


class ParityBroken(TradeAlgoError):
    """Two engines gave different signals or order requests for the same candles."""


class BrokerError(TradeAlgoError):
    """A broker call did not succeed."""


class Rejected(BrokerError):
    """The broker's definitive no."""


class OutcomeUnknown(BrokerError):
    """A time-out, dropped connection or 5xx: the call may have taken effect."""


class RateLimited(BrokerError):
    """429: the call took no effect; cool off (about 10 s at Zerodha)."""


class TokenDead(BrokerError):
    """403 TokenException: the access token has expired or was replaced by a newer login."""
