"""Every meaningful combination of answers renders a stack that its engine's own parser accepts."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackctl import process
from stackctl.engines.supervisor_config import supervisor_environment
from stackctl.scaffold import init, render
from stackctl.scaffold.render import read_answers
from stackctl.stack import Stack
from stackctl.stack.environment import docker_environment, write_dotenv

SECRETS = {
    "STACKCTL_S3_ACCESS_KEY": "access-of-this-test",
    "STACKCTL_S3_SECRET_KEY": "secret-of-this-test",
    "MLFLOW_TRACKING_TOKEN": "token-of-this-test",
}
STORES: dict[str, dict[str, Any]] = {
    "minio": {"store": "minio"},
    "s3": {"store": "s3", "store_endpoint": "https://s3.example.org:9000", "store_region": "eu-west-1"},
    "folder": {"store": "folder"},
}
MLFLOWS: dict[str, dict[str, Any]] = {
    "bundled": {"mlflow": "bundled"},
    "external": {"mlflow": "external", "mlflow_tracking_uri": "https://mlflow.example.org/base"},
}
PULLED = {"base_image": "registry.example.org/debian:12", "image_registry": "registry.example.org:5000/stacks"}
TWO_SERVERS = {**MLFLOWS["external"], "mlflow_registry_uri": "https://registry.example.org"}


def combinations() -> list[Any]:
    cases: dict[str, dict[str, Any]] = {}
    for engine, store, mlflow, gpu in itertools.product(("local", "docker"), STORES, MLFLOWS, ("none", "all")):
        answers = {"engine": engine, "gpu": gpu, **STORES[store], **MLFLOWS[mlflow]}
        cases[f"{engine}-{store}-{mlflow}-gpu_{gpu}"] = answers
    for engine in ("local", "docker"):
        cases[f"{engine}-two_servers-pulled"] = {
            "engine": engine,
            "gpu": "none",
            **STORES["s3"],
            **TWO_SERVERS,
            **PULLED,
        }
    return [pytest.param(answers, id=name) for name, answers in cases.items() if "docker-folder" not in name]


def on(engine: str) -> list[Any]:
    return [case for case in combinations() if case.values[0]["engine"] == engine]


def files(folder: Path) -> dict[str, bytes]:
    found = {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    return {path: content for path, content in found.items() if path != ".env" and not path.startswith("var/")}


Make = Callable[[dict[str, Any]], Stack]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return what makes the stack of some answers, once for all tests of this file."""
    made: dict[str, Stack] = {}

    def once(answers: dict[str, Any]) -> Stack:
        key = repr(answers)
        if key not in made:
            folder = tmp_path_factory.mktemp("combination") / "stack"
            made[key] = init(folder, data=answers, defaults=True, environ=SECRETS).stack
        return made[key]

    return once


@pytest.mark.parametrize("answers", combinations())
def test_a_combination_renders_whole_holds_no_secret_and_renders_again_without_a_diff(
    tmp_path: Path, make: Make, answers: dict[str, Any]
) -> None:
    stack = make(answers)

    assert stack.settings.engine == answers["engine"]
    assert stack.settings.gpu == answers["gpu"]
    assert stack.settings.store.kind == answers["store"]
    assert stack.settings.store.endpoint == answers.get("store_endpoint")
    assert stack.settings.mlflow.tracking_uri == answers.get("mlflow_tracking_uri")
    assert stack.settings.mlflow.registry_uri == answers.get("mlflow_registry_uri")
    assert stack.settings.images.registry == answers.get("image_registry")

    secrets = [value.encode() for value in SECRETS.values()]
    secrets += [file.read_bytes().strip() for file in (stack.home / "secrets").iterdir()]
    for path, content in files(stack.home).items():
        assert b"{{" not in content, path
        assert b"{%" not in content, path
        if not path.startswith("secrets/"):
            assert not [secret for secret in secrets if secret in content], path

    render(tmp_path / "again", read_answers(stack.home))
    assert files(tmp_path / "again") == files(stack.home / ".stackctl/base")


@pytest.mark.parametrize("answers", on("local"))
def test_supervisors_own_parser_accepts_a_local_stack(
    tmp_path: Path, make: Make, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervisor.options import ServerOptions

    stack = make(answers)
    (stack.var / "logs").mkdir(parents=True, exist_ok=True)
    for name, value in supervisor_environment(stack, Path(sys.executable), None).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STACKCTL_RUNTIME", str(tmp_path))
    monkeypatch.chdir(stack.home)
    options = ServerOptions()
    options.realize(["-c", str(stack.home / "supervisord.conf")], doc="supervisord")
    programs = {group.name for group in options.process_group_configs}
    assert {service.name for service in stack.services} <= programs
    assert not list(options.parse_warnings)


@pytest.mark.docker
@pytest.mark.parametrize("answers", on("docker"))
def test_compose_accepts_a_docker_stack(make: Make, answers: dict[str, Any]) -> None:
    import json

    stack = make(answers)
    images = {name: f"stackctl/{name}:test" for name in ("store", "mlflow", "serving", "demo")}
    write_dotenv(stack.home, docker_environment(stack, images))
    environment = {name: "" for name in os.environ if name.startswith("COMPOSE_")}
    process.run(["docker", "compose", "config", "-q"], cwd=stack.home, env=environment)
    printed = process.run(["docker", "compose", "config", "--format", "json"], cwd=stack.home, env=environment)
    document = json.loads(printed.stdout)
    assert {service.name for service in stack.services} <= set(document["services"])
    for name, service in document["services"].items():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name
    assert not [value for value in SECRETS.values() if value in printed.stdout]


def test_the_readme_names_only_commands_that_exist(make: Make) -> None:
    import re

    import typer

    from stackctl.cli.app import app

    stack = make({"engine": "docker"})
    top = typer.main.get_command(app)
    commands = _commands(top)
    groups = {name for name, child in getattr(top, "commands", {}).items() if _does_something_itself(child)}
    text = (stack.home / "README.md").read_text()
    named = {match[1].strip() for match in re.finditer(r"stackctl ((?:[a-z]+ ?)+)", text)}
    unknown = {name for name in named if not any(name == known or name.startswith(f"{known} ") for known in commands)}
    assert named
    assert not unknown - groups


def _does_something_itself(command: Any) -> bool:
    return bool(getattr(command, "commands", None)) and bool(getattr(command, "invoke_without_command", False))


def _commands(command: Any, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, child in getattr(command, "commands", {}).items():
        path = f"{prefix}{name}"
        found |= _commands(child, f"{path} ") if getattr(child, "commands", None) else {path}
    return found
