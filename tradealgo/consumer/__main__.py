"""`python -m tradealgo.consumer --session-dir DIR`."""

from __future__ import annotations

import asyncio

from tradealgo.consumer.shell import consume
from tradealgo.domain.state import Module
from tradealgo.process import run_module

if __name__ == "__main__":
    asyncio.run(run_module(Module.CONSUMER, consume))
