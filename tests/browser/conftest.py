"""A Chromium page on the demo, with a model server behind it that the test commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.browser import launch
from support.fake_model_server import FakeModelServer
from support.live_demo import LiveDemo, demo_config, photo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a Chromium that ends with its module: while it lives, no other event loop can run in this thread."""
    with launch() as chromium:
        yield chromium


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield page
    context.close()


@pytest.fixture
def model_server() -> Iterator[FakeModelServer]:
    with FakeModelServer() as server:
        yield server


@pytest.fixture
def demo(model_server: FakeModelServer, tmp_path: Path) -> Iterator[LiveDemo]:
    samples = tmp_path / "samples"
    samples.mkdir()
    (samples / "street.png").write_bytes(photo(60, 40))
    with LiveDemo(demo_config(model_server.url, samples=samples, mlflow_url="http://mlflow.example:5000")) as served:
        yield served
