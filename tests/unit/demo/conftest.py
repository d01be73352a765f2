"""A model server to talk to and a client of the demo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_model_server import FakeModelServer
from support.live_demo import Visitor, demo_config, photo

from flask_demo import create_app


@pytest.fixture
def model_server() -> Iterator[FakeModelServer]:
    with FakeModelServer() as server:
        yield server


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "city_street.png").write_bytes(photo())
    (folder / "LICENSES.md").write_text("not a photo")
    return folder


@pytest.fixture
def visitor(model_server: FakeModelServer, samples: Path) -> Visitor:
    config = demo_config(model_server.url, samples=samples, mlflow_url="http://mlflow.example:5000")
    return Visitor(create_app(config).test_client())
