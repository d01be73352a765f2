"""A Chromium page on the demo, with model servers behind it that the test commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.browser import Complaints, launch, listen
from support.demo_page import Open
from support.fake_model_server import FakeModelServer
from support.live_demo import LiveDemo, demo_config, photo
from support.waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a Chromium that ends with its module: while it lives, no other event loop can run in this thread."""
    with launch() as chromium:
        yield chromium


@pytest.fixture
def complaints() -> Complaints:
    """Return what went wrong on the pages so far; lines a test expects are taken out of it."""
    return Complaints()


@pytest.fixture
def open_page(browser: Browser, complaints: Complaints, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Return a function that opens an address in a context of its own; no page may complain of anything."""
    for served in {"demo", "demo_of_two"} & set(request.fixturenames):
        request.getfixturevalue(served)  # a demo outlives its pages, or they would complain
    contexts = []

    def opened(url: str, **options: object) -> Page:
        wishes = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        context = browser.new_context(**wishes)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        listen(page, complaints)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    # Chromium's own line for every answer above 399, on the address that photos are sent to, is no fault of the page.
    assert [line for line in complaints.all() if not line.endswith("/upscale")] == []


@pytest.fixture
def model_server() -> Iterator[FakeModelServer]:
    with FakeModelServer() as server:
        yield server


@pytest.fixture
def staging_server() -> Iterator[FakeModelServer]:
    with FakeModelServer("2") as server:
        yield server


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "street.png").write_bytes(photo(60, 40))
    return folder


@pytest.fixture
def demo(model_server: FakeModelServer, samples: Path) -> Iterator[LiveDemo]:
    with LiveDemo(demo_config(model_server.url, samples=samples, mlflow_url="http://mlflow.example:5000")) as served:
        yield served


@pytest.fixture
def demo_of_two(model_server: FakeModelServer, staging_server: FakeModelServer, samples: Path) -> Iterator[LiveDemo]:
    """Return a demo with a staging server beside production."""
    config = demo_config(model_server.url, samples=samples, staging_server=staging_server.url)
    with LiveDemo(config) as served:
        yield served


@pytest.fixture
def page(open_page: Open, demo: LiveDemo) -> Page:
    return open_page(demo.url)
