"""`python -m tradealgo.producer --session-dir DIR`."""

from __future__ import annotations

import asyncio

from tradealgo.domain.state import Module
from tradealgo.process import run_module
from tradealgo.producer.shell import produce

if __name__ == "__main__":
    asyncio.run(run_module(Module.PRODUCER, produce))
