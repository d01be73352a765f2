"""How test files are handed out to several processes: whole, the longest first, those that share a stack together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

SHARE_A_STACK = ("test_bad_input.py", "test_demo_follows.py", "test_odd_moments.py", "test_settings.py")
"""Files below ``tests/e2e`` that use the fixture ``promoted``."""


class LongestFirst(LoadFileScheduling):  # type: ignore[misc]
    """Hands out files in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False  # else those with the most tests come first, which take no time
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        return "promoted" if file.parent.name == "e2e" and file.name in SHARE_A_STACK else str(file)


def longest_first(items: list[pytest.Item]) -> None:
    """Sort files: first those that run whole stacks, then those with slow tests."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: ("e2e" not in item.path.parts, item.path not in slow))
