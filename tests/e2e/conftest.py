"""Running stacks for the scenarios: made and run by the real command line, torn down by the fixtures that made them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import Cli
from support.served import served_model
from support.stacks import Stacks

from stackctl.process import run


def docker_answers() -> bool:
    """Return whether a Docker engine with Compose can be used."""
    if shutil.which("docker") is None:
        return False
    return all(run(["docker", *words], check=False).returncode == 0 for words in (("info",), ("compose", "version")))


@pytest.fixture(scope="session")
def docker() -> None:
    """Require a Docker engine: without one a container test is skipped; it fails where Docker is required."""
    if not docker_answers():
        text = "no Docker engine with Compose answers; scripts/docker-bootstrap makes one"
        if os.environ.get("STACKCTL_TEST_DOCKER") == "required":
            pytest.fail(text)
        pytest.skip(text)


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[Stacks]:
    """Return a maker of stacks for one scenario."""
    maker = Stacks(tmp_path)
    yield maker
    maker.destroy()


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def engine(request: pytest.FixtureRequest) -> str:
    """Run a scenario on each engine."""
    name: str = request.param
    if name == "docker":
        request.getfixturevalue("docker")
    return name


@pytest.fixture(scope="session")
def promoted_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """Run the stack of ``promoted``."""
    maker = Stacks(tmp_path_factory.mktemp("promoted"))
    try:
        cli = maker.make("promoted", "local")
        cli.run("up")
        cli.run("models", "import", "starter")
        yield cli
    finally:
        maker.destroy()


@pytest.fixture(scope="module")
def promoted(promoted_once: Cli) -> Cli:
    """Return a running local stack with both starter versions registered and version 1 in Production.

    All modules of a process have the same one: each leaves it with these services, healthy.
    """
    if served_model(promoted_once)["version"] != "1":
        promoted_once.run("promote", "super-resolution", "1")
    return promoted_once
