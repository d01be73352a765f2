"""What a benchmark reports: rows of figures with their bars, and the machine they were taken on."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

WORTH_NAMING = {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "amx_tile"}
PACKAGES = ("stackctl", "typer", "mlflow", "openvino", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        rival: the figure it is compared with, in the same unit, or None.
        bar: what must hold, in words, or None when this machine cannot be held to it (``reason`` says why).
        holds: whether it holds; False also when it could not be measured.
    """

    name: str
    value: float | None
    unit: str
    rival: float | None = None
    bar: str | None = None
    holds: bool = True
    reason: str | None = None


def at_least(name: str, value: float, unit: str, bar: float, *, rival: float | None = None) -> Row:
    """Return a figure that must not be below its bar."""
    return Row(name, value, unit, rival=rival, bar=f"≥ {bar:g}", holds=value >= bar)


def at_most(name: str, value: float, unit: str, bar: float, *, rival: float | None = None) -> Row:
    """Return a figure that must not be above its bar."""
    return Row(name, value, unit, rival=rival, bar=f"≤ {bar:.4g}", holds=value <= bar)


def machine() -> dict[str, Any]:
    """Return CPU, flags that matter, cores and versions."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in fields.items()}
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": facts.get("model name", platform.processor()),
        "flags": sorted(WORTH_NAMING & set(facts.get("flags", "").split())),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions,
    }


def print_table(title: str, rows: list[Row]) -> None:
    """Print rows as a table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for heading in ("What", "Value", "Unit", "Rival", "Bar", "Holds"):
        table.add_column(heading, justify="right" if heading in {"Value", "Rival"} else "left")
    for row in rows:
        holds = "–" if row.bar is None else "yes" if row.holds else "NO"
        table.add_row(row.name, _number(row.value), row.unit, _number(row.rival), row.bar or row.reason or "–", holds)
    Console(width=140).print(table)


def write_json(file: Path, facts: dict[str, Any], rows: list[Row]) -> None:
    """Write machine and rows as one JSON document."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"machine": facts, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
