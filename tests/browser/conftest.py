"""Fixtures of the desk's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_desk import TOKEN, Jupyter, WrittenSession
from lab import FLAGS, VIEWPORT, Lab, find_chromium


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


@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Jupyter]:
    jupyter = Jupyter(tmp_path_factory.mktemp("jupyterlab"), home, "lab")
    try:
        yield jupyter.wait()
    finally:
        jupyter.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    """One profile for a module's tabs: JupyterLab's scripts come over once."""
    context = browser.new_context(viewport=VIEWPORT)
    yield context
    context.close()


@pytest.fixture
def lab(context: Any, jupyterlab: Jupyter) -> Iterator[Lab]:
    """A fresh tab; afterwards no request has left loopback, and no script has failed."""
    lab = Lab(context.new_page(), jupyterlab)
    yield lab
    for page in context.pages:
        page.close()
    status, kernels = jupyterlab.http("GET", "/api/kernels", token=TOKEN)
    for kernel in kernels if status == 200 else ():
        jupyterlab.http("DELETE", f"/api/kernels/{kernel['id']}", token=TOKEN)
    assert not lab.strange
    assert not lab.errors


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Keep a picture of what the browser showed when a test failed."""
    report = yield
    if report.when == "call" and report.failed and "lab" in getattr(item, "funcargs", {}):
        item.funcargs["lab"].shoot(f"failed-{item.name}")
    return report
