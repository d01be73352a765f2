"""What one of ``doctor``'s checks found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    name: str
    outcome: Literal["ok", "warning", "failed"]
    detail: str
    fix: str | None = None
