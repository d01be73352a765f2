"""Continuous deployment: staging and the deployer switched on, and versions that promote themselves."""

from __future__ import annotations

import pytest
from support.cli import Cli
from support.golden import starter_pair
from support.served import served_model, shown_url, upscale, url_of
from support.stacks import Stacks
from support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def edit(cli: Cli, *changes: tuple[str, str]) -> None:
    """Change ``stack.yaml`` as a person would: text."""
    assert cli.folder is not None
    file = cli.folder / "stack.yaml"
    text = file.read_text()
    for before, after in changes:
        assert text.count(before) == 1
        text = text.replace(before, after)
    file.write_text(text)


def test_registered_versions_reach_production_by_themselves_by_way_of_staging(engine: str, stacks: Stacks) -> None:
    cli = stacks.make(f"auto-{engine}", engine)
    edit(cli, ("\n  staging: false", "\n  staging: true"), ("\n  policy: manual", "\n  policy: auto"))
    names = [service["name"] for service in cli.json("up")["services"]]
    assert {"serving", "serving-staging", "deployer"} <= set(names)
    cli.run("models", "import", "starter")
    words = ("logs", "deployer", "serving-staging", "serving", "-n", "30")

    def logs() -> str:
        return cli.run(*words, check=False).stdout

    eventually(lambda: served_model(cli)["version"] == "2", "version 2 in Production", log=logs, pause=0.5)
    assert upscale(cli, starter_pair(2).input).version == "2"
    eventually(lambda: bool(cli.json("status", codes=(0, 3))["state"] == "healthy"), "health", log=logs, pause=0.5)
    assert cli.json("status")["model"]["served"] == "2"
    events = cli.json("history", "super-resolution")["events"]
    arrivals = [(event["target"], event["version"]) for event in events if event["action"] == "promote"]
    assert arrivals == [("production", "2"), ("staging", "2"), ("production", "1"), ("staging", "1")]
    assert all(f"deployer of auto-{engine}" in event["by"] for event in events)

    edit(cli, ("\n  staging: true", "\n  staging: false"), ("\n  policy: auto", "\n  policy: manual"))
    report = cli.json("up")
    assert report["state"] == "healthy"
    assert not {"serving-staging", "deployer"} & {service["name"] for service in report["services"]}
    assert shown_url(cli, "serving") == url_of(cli, "serving")
