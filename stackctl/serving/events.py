"""The model server's log: one line per event on standard error, readable for people and for ``key=value`` parsers."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

LONGEST_VALUE = 2000


def now() -> str:
    """Return this moment in UTC, ISO 8601 with seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def event(name: str, **values: object) -> None:
    """Write one event; values that are None are left out, those with spaces are quoted as JSON."""
    words = [f"{key}={_value(value)}" for key, value in values.items() if value is not None]
    sys.stderr.write(" ".join([now(), "serving", name, *words]) + "\n")
    sys.stderr.flush()


def _value(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if len(text) > LONGEST_VALUE:
        text = f"{text[:LONGEST_VALUE]}…"
    return text if text and not set(text) & set(' "=\n\\') else json.dumps(text, ensure_ascii=False)
