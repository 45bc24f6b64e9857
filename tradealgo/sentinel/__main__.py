"""`python -m tradealgo.sentinel --session-dir DIR`"""

import asyncio

from tradealgo.domain.state import Module
from tradealgo.process import run_module
from tradealgo.sentinel.shell import keep_logged_in

if __name__ == "__main__":
    asyncio.run(run_module(Module.SENTINEL, keep_logged_in))
