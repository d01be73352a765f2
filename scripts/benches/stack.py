"""What a whole stack costs: time to a served model, a warm start, idle memory, image sizes; on each engine."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benches.report import Row
from stackctl.errors import StackctlError
from stackctl.process import run

FIRST_SECONDS = 90.0
WARM_SECONDS = 30.0
IDLE_MIB = {"local": 900.0, "docker": 1100.0}
PORTS = ("mlflow", "store", "store_console", "serving", "demo")


def measure(*, quick: bool = False) -> Iterator[Row]:  # noqa: ARG001 - there is nothing to leave out
    """Yield time from a clone to a served model, then a warm start and idle memory per engine, then image sizes."""
    with tempfile.TemporaryDirectory(prefix="bench-stack-") as scratch:
        yield from _clone_to_served(Path(scratch))
        for engine in ("local", "docker"):
            try:
                yield from _engine(Path(scratch) / f"bench-{engine}", engine)
            except StackctlError as error:
                yield Row(
                    f"{engine}: warm up", None, "s", bar=f"≤ {WARM_SECONDS:.0f}", holds=False, reason=error.message
                )
    yield from _images()


def _clone_to_served(scratch: Path) -> Iterator[Row]:
    root = Path(__file__).parents[2]
    clone = scratch / "clone"
    run(["git", "clone", "-q", "--depth", "1", root.as_uri(), clone])
    began = time.monotonic()
    try:
        output = run([clone / "scripts" / "quickstart"], cwd=clone, timeout=600).stdout
        seconds = time.monotonic() - began
        yield Row(
            "clone to served model (local, package cache as found)",
            seconds,
            "s",
            bar=f"≤ {FIRST_SECONDS:.0f}",
            holds=seconds <= FIRST_SECONDS,
        )
        yield from _phases(output)
    except StackctlError as error:
        yield Row(
            "clone to served model (local)", None, "s", bar=f"≤ {FIRST_SECONDS:.0f}", holds=False, reason=error.message
        )
    finally:
        run([clone / ".venv/bin/stackctl", "-C", clone / "my-stack", "destroy", "--yes"], check=False)
        shutil.rmtree(clone, ignore_errors=True)


def _phases(output: str) -> Iterator[Row]:
    lines = output.partition("Where the time went\n")[2].partition("\n\n")[0].splitlines()
    for line in lines:
        words = line.split()
        if len(words) > 2 and words[-1] == "s" and words[0] != "total":
            yield Row(f"  of it: {' '.join(words[:-2])}", float(words[-2]), "s", reason="part of the above")


def _engine(folder: Path, engine: str) -> Iterator[Row]:
    ports = [word for name, port in free_ports().items() for word in ("--data", f"port_{name}={port}")]
    run(["stackctl", "-q", "init", folder, "--defaults", "--data", f"engine={engine}", *ports])
    stackctl = ["stackctl", "-q", "-C", folder]
    try:
        run([*stackctl, "up"], check=False, timeout=1800)
        run([*stackctl, "models", "import", "starter"])
        run([*stackctl, "promote", "super-resolution", "1"])
        run([*stackctl, "down"])
        began = time.monotonic()
        run([*stackctl, "up"])
        seconds = time.monotonic() - began
        yield Row(f"{engine}: up, warm", seconds, "s", bar=f"≤ {WARM_SECONDS:.0f}", holds=seconds <= WARM_SECONDS)
        began = time.monotonic()
        run([*stackctl, "up"])
        yield Row(f"{engine}: up when all runs", time.monotonic() - began, "s")
        yield from _memory(json.loads(run([*stackctl, "status", "--json"]).stdout), engine)
    finally:
        run([*stackctl, "destroy", "--yes"], check=False)


def _memory(status: dict[str, Any], engine: str) -> Iterator[Row]:
    total = 0.0
    for service in status["services"]:
        used = (service["memory"] or 0) / 1024**2
        total += used
        yield Row(f"{engine}: idle memory of {service['name']}", used, "MiB")
    bar = IDLE_MIB[engine]
    yield Row(f"{engine}: idle memory of all services", total, "MiB", bar=f"≤ {bar:.0f}", holds=total <= bar)


def _images() -> Iterator[Row]:
    listed = json.loads(run(["stackctl", "images", "list", "--json"], check=False).stdout or "{}")
    for row in listed.get("images", []):
        if row["bytes"]:
            yield Row(f"image {row['name']} (with its base)", row["bytes"] / 1024**2, "MiB")


def free_ports() -> dict[str, int]:
    """Return ports of this machine that are free now, by the name of the service that is to get them."""
    sockets = [socket.socket() for _ in PORTS]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(PORTS, sockets, strict=True)}
    finally:
        for each in sockets:
            each.close()
