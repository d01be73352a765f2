"""What holds for every command: global options, exit codes, errors as documents, help, the reference in the README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer.main
from support.cli import Cli

from stackctl import __version__
from stackctl.cli.app import app, hoist
from stackctl.cli.reference import insert

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["status", "--json"], ["--json", "status"]),
        (["logs", "-f", "-C", "there", "mlflow"], ["-C", "there", "logs", "-f", "mlflow"]),
        (["up", "--", "--json"], ["up", "--", "--json"]),
        (["status", "-C"], ["-C", "status"]),
        (["destroy", "--yes", "--dir=x"], ["--yes", "--dir=x", "destroy"]),
    ],
)
def test_global_options_are_accepted_behind_the_command(given: list[str], expected: list[str]) -> None:
    assert hoist(given) == expected


def test_the_version_is_printed_on_standard_output() -> None:
    assert Cli().run("--version").stdout == f"stackctl {__version__}\n"


@pytest.mark.parametrize(
    "command", ["up", "status", "logs", "down", "restart", "destroy", "doctor", "open demo", "models list"]
)
def test_outside_a_stack_every_command_says_so_and_exits_6(command: str, tmp_path: Path) -> None:
    text = Cli(cwd=tmp_path).fails(6, *command.split())
    assert "is a stack" in text
    assert "stackctl init" in text


def test_under_json_an_error_is_a_document_on_standard_output(tmp_path: Path) -> None:
    done = Cli(cwd=tmp_path).run("status", "--json", check=False)
    document = json.loads(done.stdout)
    assert done.stderr == ""
    assert document["error"]["code"] == done.returncode == 6
    assert document["error"]["hint"]


@pytest.mark.parametrize("command", ["no-such-command", "status --no-such-option", "open", "open nothing"])
def test_a_wrong_call_exits_2_and_names_the_help(command: str, tmp_path: Path) -> None:
    assert "--help" in Cli(cwd=tmp_path).fails(2, *command.split())


def test_settings_that_cannot_be_used_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text("name: Not A Slug\nports: {mlflow: 70000}\nnonsense: 1\n")
    text = Cli(tmp_path).fails(2, "status")
    assert all(word in text for word in ("name", "ports.mlflow", "nonsense"))


def test_a_stack_file_that_is_no_yaml_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text("name: [unclosed\n")
    assert "YAML" in Cli(tmp_path).fails(2, "status")


def test_every_command_and_every_parameter_has_help() -> None:
    def walk(command: object, path: str) -> list[str]:
        silent = [path] if not getattr(command, "help", None) else []
        silent += [f"{path} {each.name}" for each in getattr(command, "params", []) if not getattr(each, "help", None)]
        for name, child in getattr(command, "commands", {}).items():
            silent += walk(child, f"{path} {name}")
        return silent

    assert walk(typer.main.get_command(app), "stackctl") == []


def test_the_reference_in_the_readme_is_up_to_date() -> None:
    text = README.read_text()
    assert insert(text) == text, "run scripts/cli-reference"
