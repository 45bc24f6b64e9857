"""Make a running paper exchange misbehave, from the command line: its own session's, or one that runs alone."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any

import msgspec

from tradealgo.config import Mode
from tradealgo.domain.errors import InvalidInput, TradeAlgoError
from tradealgo.exchange.faults import Fault

TIMEOUT_S = 5.0


def fault_of(name: str, details: Iterable[str]) -> Fault:
    """A fault from its name and words such as `count=3`. Raises InvalidInput."""
    given = dict(text.partition("=")[::2] for text in details)
    try:
        return msgspec.convert({"name": name, **given}, Fault, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(f for f in Fault.__struct_fields__ if f != "name")
        raise InvalidInput(f"fault {' '.join([name, *details])}: {error}; its details are {known}") from error


def session_exchange(session_id: str | None) -> str:
    """Address of a running paper session's exchange; without an id, the newest one's. Raises InvalidInput for a live one."""
    from tradealgo.live.session import attach

    manifest = attach(session_id).manifest
    if manifest.mode is not Mode.PAPER:
        raise InvalidInput(f"session {manifest.session_id} is live: only a paper exchange can be told to misbehave")
    return manifest.rest_url


def arm(url: str, fault: Fault) -> dict[str, Any]:
    """Arm a fault, or do it now. Returns what the exchange says is armed and has struck."""
    body = msgspec.json.encode(fault)
    request = urllib.request.Request(url.rstrip("/") + "/_paper/faults", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise InvalidInput(json.load(error).get("message", str(error))) from error
    except OSError as error:
        raise TradeAlgoError(
            f"no paper exchange answers at {url} ({error}): start one with `tradealgo exchange`"
        ) from error
