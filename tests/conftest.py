"""Isolation for every test: no settings, caches or git configuration of the person who runs them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.schedule import LongestFirst, longest_first

# A shell that starts something in the background has it ignore interrupts, and so would every process under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

KEPT = {"STACKCTL_CACHE", "STACKCTL_WHEELHOUSE", "STACKCTL_CA_BUNDLE", "STACKCTL_TEST_SHARED", "STACKCTL_TORCH_INDEX"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst:
    """Hand out whole files to several processes."""
    return LongestFirst(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is alone with it in the end."""
    if hasattr(config, "workerinput"):
        longest_first(items)


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Remove this project's variables and point home-like folders into a temporary one."""
    for name in list(os.environ):
        if name.startswith(("STACKCTL_", "MLFLOW_", "COMPOSE_", "AWS_ACCESS", "AWS_SECRET")) and name not in KEPT:
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="session")
def shared_folder() -> Path | None:
    """Return the folder with sample weights and wheels, where there is one."""
    folder = Path(os.environ.get("STACKCTL_TEST_SHARED") or Path(__file__).parents[2] / "shared")
    return folder if folder.is_dir() else None
