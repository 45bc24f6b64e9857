"""`python -m tradealgo.bus --session-dir DIR`: become the session's server."""

from __future__ import annotations

import argparse
import os

from tradealgo.bus.server import bus_command
from tradealgo.config import SessionDir


def main() -> None:
    """Replace this process by the server, so that the supervisor's signals reach it."""
    parser = argparse.ArgumentParser(prog="python -m tradealgo.bus", description=__doc__)
    parser.add_argument("--session-dir", required=True, help="the session's folder, which holds its manifest.json")
    command = bus_command(SessionDir(parser.parse_args().session_dir))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
