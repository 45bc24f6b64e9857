"""`python -m tradealgo.exchange --session-dir DIR`: the paper exchange of a session, at its manifest's `rest_url`."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

from tradealgo.config import Mode
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.state import Module
from tradealgo.exchange.app import listen, open_exchange, stepping
from tradealgo.process import Process, run_module

REPORT_S = 0.25


async def exchange(process: Process) -> None:
    """The session's exchange, until told to stop. Raises BadConfig for a live session."""
    manifest = process.manifest
    if manifest.mode is not Mode.PAPER or manifest.market is None:
        raise BadConfig(f"session {manifest.session_id} is {manifest.mode}: only a paper session has an exchange")
    where = urlsplit(manifest.rest_url)
    paper = open_exchange(
        manifest.market, manifest.instruments, account=manifest.account, capital=manifest.capital,
        state_dir=process.folder.exchange_state,
    )  # fmt: skip
    runner, _ = await listen(paper, where.hostname or "127.0.0.1", where.port or 80)
    try:
        while True:
            process.ts_event = paper.position
            process.figures = {
                "connections": len(paper.hub.connections),
                "ticks_sent": paper.hub.ticks_sent,
                "orders": len(paper.engine.book.history),
            }
            open_now = "CLOSED" if paper.position >= paper.market.close else "OPEN"
            await process.say(open_now if paper.clock.running else "WAITING")
            done, _ = await asyncio.wait({stepping(runner)}, timeout=REPORT_S)
            for market in done:
                market.result()
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await runner.cleanup()


def main() -> None:
    try:
        asyncio.run(run_module(Module.EXCHANGE, exchange))
    except BadConfig as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
