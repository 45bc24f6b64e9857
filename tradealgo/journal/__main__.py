"""`python -m tradealgo.journal --session-dir DIR`: the Recorder (Module.RECORDER), named here for what it keeps."""

import asyncio

from tradealgo.domain.state import Module
from tradealgo.journal.recorder import record
from tradealgo.process import run_module

if __name__ == "__main__":
    asyncio.run(run_module(Module.RECORDER, record))
