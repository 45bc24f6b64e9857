"""`python -m tradealgo.monitor --session-dir DIR`"""

import asyncio

from tradealgo.domain.state import Module
from tradealgo.monitor.shell import watch
from tradealgo.process import run_module

if __name__ == "__main__":
    asyncio.run(run_module(Module.MONITOR, watch, needs_bus=False))
