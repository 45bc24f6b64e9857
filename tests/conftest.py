"""Fixtures of all tests: a home of their own, and a real bus."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings

from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.bus.server import EmbeddedServer

# No deadline an example: the first call of a compiled function takes seconds, and other work shares the machine
settings.register_profile("tradealgo", deadline=None)
settings.load_profile("tradealgo")


@pytest.fixture(scope="session", autouse=True)
def tradealgo_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A TRADEALGO_HOME of this run, so that no test sees or touches the user's own sessions and tokens."""
    folder = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADEALGO_HOME", folder)
        yield folder


@pytest.fixture(scope="session")
def bus_url() -> Iterator[str]:
    """URL of a real embedded server, one for all tests."""
    with EmbeddedServer() as server:
        yield server.url


@pytest.fixture
async def bus(bus_url: str) -> AsyncIterator[Bus]:
    """A Bus with a session id of its own on the shared server."""
    bus = Bus(connect(bus_url), f"test-{uuid.uuid4().hex[:12]}")
    yield bus
    await bus.close()
