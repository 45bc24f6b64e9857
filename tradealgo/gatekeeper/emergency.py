"""Finishes a kill when the Gatekeeper hangs or is dead: `python -m tradealgo.gatekeeper.emergency --session-dir DIR`.

It puts the kill's flag file in place and waits a second for the Gatekeeper to take it: the trip in the journal is the
acknowledgement. If none comes, or the Gatekeeper shows no sign of life, it fences: the process that holds the account's lease is
ended for good, the lease passes over, and the kill goes on here, from the journal and the broker's book, with or
without a bus. Whoever starts afterwards finds it LOCKED.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.config import Manifest, SessionDir
from tradealgo.domain.errors import BadConfig, LeaseHeld, TradeAlgoError
from tradealgo.domain.state import KillState
from tradealgo.gatekeeper import shell as shells
from tradealgo.gatekeeper.journal import Journal, open_readonly, read
from tradealgo.gatekeeper.lease import holder
from tradealgo.gatekeeper.messages import Kind

#: A Gatekeeper that is well takes the flag within its poll of 50 ms.
ACKNOWLEDGE_S = 1.0
#: A Gatekeeper that works touches its file five times a second, also while it can only wait.
STALL_S = 10.0
GIVE_UP_S = 600.0
#: A lease that somebody else holds is tried for this often.
TRIES = 60


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def write_flag(folder: SessionDir) -> None:
    """The kill's flag file, if nobody has put it there."""
    with contextlib.suppress(FileExistsError), open(folder.kill_flag, "x") as file:
        json.dump({"source": "emergency", "reason": "the Gatekeeper did not answer"}, file)
        file.flush()
        os.fsync(file.fileno())


def progress(folder: SessionDir) -> tuple[int, KillState]:
    """The journal's last sequence number, and the kill's state as it stands there."""
    if not folder.journal.exists():
        return 0, KillState.ARMED
    with contextlib.closing(open_readonly(folder.journal)) as db:
        states = [row.message.kill for row in read(db, kinds=(Kind.STATE,))]
        (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()
    return last, states[-1] if states else KillState.ARMED


def last_sign(folder: SessionDir) -> int:
    """When the Gatekeeper last touched its file, by the machine's clock; 0 if it never did."""
    try:
        return int(folder.alive.stat().st_mtime_ns)
    except OSError:
        return 0


def watch(folder: SessionDir) -> bool:
    """Whether the kill needs nobody's help; False once the Gatekeeper doesn't answer or shows no sign of life.

    One that lives keeps its kill however long that takes: it has the ticks, which this process hasn't.

    Without the flag file it is over: a person has re-armed, perhaps before this process had started.
    """
    began = moved = time.monotonic()
    seen = progress(folder), last_sign(folder)
    while True:
        now, state = time.monotonic(), progress(folder)
        if state[1] is KillState.LOCKED or not folder.kill_flag.exists():
            return True
        if (signs := (state, last_sign(folder))) != seen:
            seen, moved = signs, now
        if state[1] is KillState.ARMED and now - began > ACKNOWLEDGE_S:
            return False
        if now - moved > STALL_S:
            return False
        time.sleep(0.05)


def fence(manifest: Manifest) -> None:
    """End the process that holds the lease, if it is this session's Gatekeeper: then it can send nothing more."""
    other = holder(manifest.account)
    if other is None or other.session_id != manifest.session_id or other.pid == os.getpid():
        return
    if _command(other.pid).count("tradealgo.gatekeeper"):
        say(f"the Gatekeeper (process {other.pid}) does not answer: ending it")
        with contextlib.suppress(ProcessLookupError):
            os.kill(other.pid, signal.SIGKILL)


def _command(pid: int) -> str:
    """The command line of a process; empty if there is none. Numbers are used again: never end one by its number alone."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    asked = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)
    return asked.stdout


async def finish(folder: SessionDir, manifest: Manifest) -> None:
    """Hold the lease and run the kill to LOCKED. Raises LeaseHeld, TimeoutError."""
    async with shells.leased(manifest, folder):
        journal = Journal(folder.journal)
        instruments = shells.journaled_instruments(journal)
        if not instruments:
            say("the session never placed an order: there is nothing to flatten")
            return
        shell = shells.Shell(folder, manifest, journal, instruments)
        await shell.start()
        bus = Bus(connect(_bus_url(manifest)), manifest.session_id)
        shells.connect(shell, bus)
        assert shell.outbox is not None
        tasks = [asyncio.create_task(shell.run()), asyncio.create_task(shell.outbox.run())]
        try:
            await asyncio.wait_for(_locked(shell), GIVE_UP_S)
            await asyncio.sleep(0.5)  # for the bus to hear of it
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await bus.close()


def _bus_url(manifest: Manifest) -> str:
    """Where to tell of it; nowhere where that is in a REDIS_URL which whoever asked for the kill hasn't."""
    try:
        return manifest.resolved_bus_url()
    except BadConfig as error:
        say(f"{error}; going on without the bus")
        return "unix:///nowhere"


async def _locked(shell: shells.Shell) -> None:
    told = None
    while (state := shell.gate.killer.status.state) is not KillState.LOCKED:
        if state is not told:
            told = state
            say(f"kill: {state}")
        await asyncio.sleep(0.02)
    say("kill: LOCKED, the broker's positions are flat")


def run(folder: SessionDir, flagged: bool = False) -> int:
    """See the kill through; returns the exit code. 0: LOCKED. 1: not within GIVE_UP_S.

    Args:
        flagged: whoever started this has put the flag file in place already.
    """
    manifest = folder.read_manifest()
    if not flagged:
        write_flag(folder)
    for _ in range(TRIES):
        if watch(folder):
            say("the kill is done, and needed no help")
            return 0
        fence(manifest)
        try:
            asyncio.run(finish(folder, manifest))
        except LeaseHeld:
            continue  # a restarted Gatekeeper was quicker: it finds the flag
        except TimeoutError:
            break
        return 0
    say("the kill is not finished: look at the broker's own terminal")
    return 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tradealgo.gatekeeper.emergency", description=__doc__)
    parser.add_argument("--session-dir", required=True, help="the session's folder, which holds its manifest.json")
    parser.add_argument("--flagged", action="store_true", help="the kill's flag file is in place already")
    arguments = parser.parse_args()
    try:
        sys.exit(run(SessionDir(arguments.session_dir), arguments.flagged))
    except TradeAlgoError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
