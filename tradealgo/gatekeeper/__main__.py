"""`python -m tradealgo.gatekeeper --session-dir DIR`."""

from __future__ import annotations

import asyncio
import sys

from tradealgo.domain.errors import LeaseHeld
from tradealgo.domain.state import Module
from tradealgo.gatekeeper.shell import gatekeeper
from tradealgo.process import run_module

#: The account is traded by somebody else: starting again at once won't help.
LEASE_HELD = 3


def main() -> None:
    """Run the module; one sentence and exit code 3 if another process holds the account."""
    try:
        asyncio.run(run_module(Module.GATEKEEPER, gatekeeper, needs_bus=False))
    except LeaseHeld as error:
        print(error, file=sys.stderr)
        sys.exit(LEASE_HELD)


if __name__ == "__main__":
    main()
