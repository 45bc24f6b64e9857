"""One engine an account: a file lock held for the process's life, which the kernel lets go of however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from typing import IO

import msgspec

from tradealgo.config import lease_file
from tradealgo.domain.errors import LeaseHeld


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lease: written into the file, for people and for the emergency process."""

    pid: int
    session_id: str
    folder: str


class Lease:
    """An account's lease. Keep the object for as long as orders may be placed."""

    def __init__(self, account: str, session_id: str, folder: str) -> None:
        self._account = account
        self._holder = Holder(os.getpid(), session_id, folder)
        self._file: IO[bytes] | None = None

    def acquire(self, wait_s: float = 3.0) -> None:
        """Take it, waiting for a predecessor to end. Raises LeaseHeld."""
        path = lease_file(self._account)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = open(path, "a+b")  # noqa: SIM115 (held until the process ends)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    file.close()
                    raise LeaseHeld(self._refusal()) from None
                time.sleep(0.05)
        file.truncate(0)
        file.write(msgspec.json.encode(self._holder))
        file.flush()
        self._file = file

    def _refusal(self) -> str:
        other = holder(self._account)
        who = f"session {other.session_id} (process {other.pid})" if other else "another process"
        return f"account {self._account} is traded by {who}: attach to it, or stop it before launching another"

    @property
    def held(self) -> bool:
        return self._file is not None

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def holder(account: str) -> Holder | None:
    """Who wrote the lease last; it may be gone."""
    try:
        return msgspec.json.decode(lease_file(account).read_bytes(), type=Holder)
    except (FileNotFoundError, ValueError):
        return None
