"""Fixtures of the desk's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_desk import Jupyter, WrittenSession


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TRADEALGO_HOME of the module's own."""
    return tmp_path_factory.mktemp("desk-home")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Jupyter]:
    """A Jupyter server without JupyterLab."""
    jupyter = Jupyter(tmp_path_factory.mktemp("jupyter"), home)
    try:
        yield jupyter.wait()
    finally:
        jupyter.stop()


@pytest.fixture
def written(home: Path, bus_url: str) -> Iterator[WrittenSession]:
    """A session written by the stand-in."""
    session = WrittenSession(home, bus_url)
    yield session
    session.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Keep a picture of what the browser showed when a test failed."""
    report = yield
    if report.when == "call" and report.failed and "lab" in getattr(item, "funcargs", {}):
        item.funcargs["lab"].shoot(f"failed-{item.name}")
    return report
