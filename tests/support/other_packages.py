"""A Dask worker whose environment is another one: loaded by ``DASK_DISTRIBUTED__WORKER__PRELOAD``."""

from __future__ import annotations

import importlib
from typing import Any


def dask_setup(worker: object) -> None:
    """Let the worker say another environment than it has."""
    distribution: Any = importlib.import_module("stackctl.distribution")
    distribution.environment_hash = lambda: "another"
