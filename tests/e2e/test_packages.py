"""``serving.packages``: what served models need, added to a running stack, and what happens when it cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
from support.cli import Cli
from support.stacks import Stacks
from support.tiny_wheel import MODULE, PACKAGE, make_wheelhouse

from stackctl import process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def model_server(cli: Cli) -> psutil.Process:
    """Return the local stack's model server."""
    (found,) = (
        each
        for each in psutil.process_iter(["cmdline", "environ"])
        if (each.info["cmdline"] or [])[-1:] == ["stackctl.serving"]
        and (each.info["environ"] or {}).get("STACKCTL_SUPERVISED") == str(cli.folder)
    )
    return found


def ask_for(cli: Cli, *packages: str) -> None:
    """Write ``serving.packages`` as a person would."""
    assert cli.folder is not None
    lines = (cli.folder / "stack.yaml").read_text().splitlines()
    row = next(number for number, line in enumerate(lines) if line.startswith("  packages:"))
    lines[row] = f"  packages: [{', '.join(packages)}]"
    (cli.folder / "stack.yaml").write_text("\n".join(lines) + "\n")


def test_a_wrong_package_stops_nothing_and_a_right_one_is_there_after_up(
    stacks: Stacks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKCTL_WHEELHOUSE", str(make_wheelhouse(tmp_path / "wheelhouse")))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))
    cli = stacks.make("packages", "local")
    cli.run("up")
    before = model_server(cli)

    ask_for(cli, "stackctl-test-nothing")
    said = cli.fails(1, "up")
    assert "serving.packages" in said
    assert "stackctl-test-nothing" in said
    assert model_server(cli) == before
    assert cli.json("status")["state"] == "healthy"

    ask_for(cli, PACKAGE)
    assert cli.json("up")["state"] == "healthy"
    python = model_server(cli).cmdline()[0]
    code = f"import {MODULE} as extra, numpy; print(extra.VALUE, numpy.__file__)"
    assert process.run([python, "-c", code]).stdout.split() == ["42", np.__file__]  # the services' own stays
