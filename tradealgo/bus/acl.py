"""Users of a Redis that isn't the session's own, each with the least rights: `python -m tradealgo.bus.acl --out FOLDER`.

Writes `users.acl` for the server (passwords as hashes), `session.env` with the REDIS_URL of each module for who launches
sessions, `people.env` with the one of notebooks and the desk, and `admin.txt`. Needs key permissions by reading and
writing: Redis 7 or newer, or Valkey.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tradealgo.bus.keys import Stream, instruments_key, snapshot_key, stream_key
from tradealgo.domain.state import Module

#: Notebooks, the desk, the panel and the command line: they read everything, and write only to `control`.
PEOPLE = "people"
#: Makes users and looks after the server.
ADMIN = "admin"

READING = "+xread +xrange +xrevrange +xlen +xinfo|stream +get +mget"
WRITING = "+xadd +set +evalsha +eval +script|load"
GROUP = "+xgroup|create +xreadgroup +xack"


class Rights(NamedTuple):
    """Keys (`*` for any session) that a user reads, and that it writes; what it writes it may read too."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    commands: str = f"{READING} {WRITING}"


def _keys(*streams: Stream) -> tuple[str, ...]:
    return tuple(stream_key("*", stream) for stream in streams)


_ALL = ("tradealgo:{*}:*",)
_INSTRUMENTS = (instruments_key("*"),)
_SAID = _keys(Stream.HEALTH, Stream.ALERTS)  # by every module

RIGHTS: dict[str, Rights] = {
    Module.SENTINEL.value: Rights((), _INSTRUMENTS + _SAID),
    Module.PRODUCER.value: Rights(_INSTRUMENTS, _keys(Stream.TICKS, Stream.UPDATES) + _SAID),
    Module.CONSUMER.value: Rights(
        _INSTRUMENTS + _keys(Stream.TICKS),
        _keys(Stream.CANDLES, Stream.SIGNALS, Stream.REQUESTS) + _SAID + (snapshot_key("*", "consumer*"),),
    ),
    Module.GATEKEEPER.value: Rights(
        _INSTRUMENTS + _keys(Stream.TICKS, Stream.UPDATES, Stream.CONTROL),
        _keys(Stream.REQUESTS, Stream.VERDICTS, Stream.ORDERS, Stream.FILLS, Stream.MTM, Stream.STATE)
        + _SAID
        + (snapshot_key("*", "gatekeeper"),),
        f"{READING} {WRITING} {GROUP}",
    ),
    Module.RECORDER.value: Rights(_ALL, _SAID),
    Module.MONITOR.value: Rights(_ALL, _SAID + _keys(Stream.CONTROL)),  # what a person asks by Telegram
    Module.EXCHANGE.value: Rights((), _SAID),
    PEOPLE: Rights(_ALL, _keys(Stream.CONTROL), f"{READING} +xadd"),
}


def acl_line(user: str, password: str) -> str:
    """The server's line for one of RIGHTS."""
    rights = RIGHTS[user]
    keys = [f"%R~{key}" for key in rights.reads] + [f"~{key}" for key in rights.writes]
    digest = hashlib.sha256(password.encode()).hexdigest()
    allowed = f"+@connection -@dangerous {rights.commands}"
    return f"user {user} on #{digest} resetchannels {' '.join(keys)} -@all {allowed}"


def acl_file(passwords: Mapping[str, str]) -> str:
    """All users: those of RIGHTS and the administrator; nobody comes in without a name."""
    admin = hashlib.sha256(passwords[ADMIN].encode()).hexdigest()
    lines = ["user default off", f"user {ADMIN} on #{admin} ~* &* +@all"]
    return "\n".join([*lines, *(acl_line(user, passwords[user]) for user in RIGHTS)]) + "\n"


def url(user: str, password: str, server: str, ca: str = "") -> str:
    """A user's REDIS_URL. `server` is "redis://HOST:PORT" or "rediss://HOST:PORT"."""
    scheme, _, place = server.partition("://")
    return f"{scheme}://{user}:{password}@{place}/0" + (f"?ssl_ca_certs={ca}" if ca else "")


def files(passwords: Mapping[str, str], server: str, ca: str = "") -> dict[str, str]:
    """Contents by file name."""
    people = f"REDIS_URL={url(PEOPLE, passwords[PEOPLE], server, ca)}\n"
    modules = [
        f"REDIS_URL_{user.upper()}={url(user, passwords[user], server, ca)}\n" for user in RIGHTS if user != PEOPLE
    ]
    return {
        "users.acl": acl_file(passwords),
        "session.env": people + "".join(modules),
        "people.env": people,
        "admin.txt": passwords[ADMIN] + "\n",
    }


def write(folder: Path, server: str, ca: str = "") -> None:
    """New passwords, and the files, readable by this user alone."""
    passwords = {user: secrets.token_hex(24) for user in (*RIGHTS, ADMIN)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files(passwords, server, ca).items():
        (folder / name).unlink(missing_ok=True)  # an old file would keep its mode, and who has it open would read on
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tradealgo.bus.acl", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--server", default="rediss://127.0.0.1:6379", help="redis:// or rediss://HOST:PORT")
    parser.add_argument(
        "--ca", default="", help="the certificate that signed the server's, where the system has it not"
    )
    arguments = parser.parse_args()
    write(arguments.out, arguments.server, arguments.ca)
    print(f"{arguments.out}: users.acl for the server, session.env for who launches, people.env for notebooks")


if __name__ == "__main__":
    main()
