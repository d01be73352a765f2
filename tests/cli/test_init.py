"""``stackctl init`` as a person or a script meets it: exit codes, streams, prompts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.pseudo_terminal import typist
from support.waiting import PATIENCE

from stackctl import process
from stackctl.process import Completed
from stackctl.stack import Stack

BACKSPACE, UP, CTRL_C = "\x7f", "\x1b[A", "\x03"
S3 = ("--data", "store=s3", "--data", "store_endpoint=https://s3.example.org")


def stackctl(folder: Path, *arguments: str, **environment: str) -> Completed:
    return process.run(
        [sys.executable, "-m", "stackctl", *arguments], cwd=folder, env=environment, check=False, timeout=PATIENCE
    )


def contents(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def test_a_first_run_makes_a_stack_and_says_what_to_type_next(tmp_path: Path) -> None:
    done = stackctl(tmp_path, "init", "--defaults")
    assert (done.returncode, done.stdout) == (0, "")
    assert "cd my-stack" in done.stderr
    assert "stackctl up" in done.stderr
    assert Stack.from_folder(tmp_path / "my-stack").settings.engine == "local"


def test_a_second_run_exits_2_and_touches_nothing(tmp_path: Path) -> None:
    stackctl(tmp_path, "init", "--defaults")
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in contents(tmp_path)}
    done = stackctl(tmp_path, "init", "--defaults")
    assert done.returncode == 2
    assert "already a stack" in done.stderr
    assert {path: (tmp_path / path).stat().st_mtime_ns for path in contents(tmp_path)} == before


def test_a_folder_with_something_in_it_exits_2_and_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear diary")
    done = stackctl(tmp_path, "init", ".", "--defaults")
    assert done.returncode == 2
    assert "nothing was overwritten" in done.stderr
    assert contents(tmp_path) == ["letter.txt"]


def test_json_prints_one_document(tmp_path: Path) -> None:
    done = stackctl(tmp_path, "init", "a-stack", "--engine", "docker", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["schema_version"] == 1
    assert (document["name"], document["engine"]) == ("a-stack", "docker")
    assert document["folder"] == str(tmp_path / "a-stack")
    assert Stack.from_folder(tmp_path / "a-stack").settings.ports.model_dump() == document["ports"]


def test_json_prints_an_error_as_a_document_too(tmp_path: Path) -> None:
    done = stackctl(tmp_path, "--json", "init", "--data", "colour=blue")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == 2
    assert not contents(tmp_path)


def test_answers_on_the_command_line_win_over_the_data_file(tmp_path: Path) -> None:
    (tmp_path / "answers.yml").write_text("name: from-file\nmodel: from-file\nport_demo: 18123\n")
    done = stackctl(tmp_path, "init", "there", "--data-file", "answers.yml", "--data", "model=from-option")
    assert done.returncode == 0
    settings = Stack.from_folder(tmp_path / "there").settings
    assert (settings.name, settings.model, settings.ports.demo) == ("from-file", "from-option", 18123)


def test_every_option_can_come_from_the_environment(tmp_path: Path) -> None:
    done = stackctl(
        tmp_path, "init", "there", STACKCTL_INIT_ENGINE="docker", STACKCTL_INIT_DATA="model=mine name=env-stack"
    )
    assert done.returncode == 0
    settings = Stack.from_folder(tmp_path / "there").settings
    assert (settings.engine, settings.model, settings.name) == ("docker", "mine", "env-stack")


@pytest.mark.parametrize("arguments", [("--engine", "podman"), ("--data", "name=My Stack"), ("--data", "nothing"), S3])
def test_what_cannot_be_used_exits_2_with_a_hint_and_leaves_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = stackctl(tmp_path, "init", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error:" in done.stderr
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr
    assert not contents(tmp_path)


def test_credentials_from_the_environment_are_printed_nowhere(tmp_path: Path) -> None:
    done = stackctl(
        tmp_path, "-v", "init", *S3, STACKCTL_S3_ACCESS_KEY="hush-access", STACKCTL_S3_SECRET_KEY="hush-secret"
    )
    assert done.returncode == 0
    assert "hush" not in done.stdout + done.stderr
    assert "hush-secret" in (tmp_path / "my-stack/secrets/s3_credentials").read_text()


@pytest.mark.serial
def test_a_person_at_a_terminal_is_asked_and_typed_secrets_do_not_show(tmp_path: Path) -> None:
    with typist([sys.executable, "-m", "stackctl", "init"], cwd=tmp_path) as person:
        person.answer("Choose ports", "n\r")
        person.answer("Name of the stack", f"{BACKSPACE * len('my-stack')}Typed\r")
        person.answer("lower-case", f"{BACKSPACE * len('Typed')}typed-stack\r")
        person.answer("How the services run", "\r")
        person.answer("Name of the registered model", "\r")
        person.answer("Where objects", f"{UP}\r")  # from the default, folder, to s3
        person.answer("URL of the S3 endpoint", "https://s3.example.org\r")
        person.answer("Region", "\r")
        person.answer("Which MLflow server", "\r")
        person.answer("Access key", "hush-access\r")
        person.answer("Secret key", "hush-secret\r")
        assert person.exit_status() == 0, person.seen
    assert "hush" not in person.seen
    stack = Stack.from_folder(tmp_path / "typed-stack")
    assert stack.settings.store.kind == "s3"
    assert "hush-secret" in stack.secret("s3_credentials")


@pytest.mark.serial
def test_a_person_who_wants_to_is_asked_for_every_detail(tmp_path: Path) -> None:
    with typist([sys.executable, "-m", "stackctl", "init", "here", "--engine", "docker"], cwd=tmp_path) as person:
        person.answer("Choose ports", "y\r")
        for question in (
            "Name of the stack",
            "registered model",
            "Where objects",
            "Which MLflow",
            "Who can reach",
            "GPUs",
        ):
            person.answer(question, "\r")
        person.answer("Port of MLflow", f"{BACKSPACE * 5}18555\r")
        person.answer("Port of the object store", f"{BACKSPACE * 5}18555\r")
        person.answer("port_mlflow asks for port 18555 already", f"{BACKSPACE * 5}18556\r")
        for question in (
            "console",
            "model server",
            "the demo",
            "staging model server",
            "the deployer",
            "the backup service",
            *["Memory"] * 5,
            *["Bucket"] * 5,
            "Base image",
            "Registry to take",
        ):
            person.answer(question, "\r")
        assert person.exit_status() == 0, person.seen
    ports = Stack.from_folder(tmp_path / "here").settings.ports
    assert (ports.mlflow, ports.store) == (18555, 18556)


@pytest.mark.serial
def test_giving_up_at_a_question_exits_130_and_leaves_nothing(tmp_path: Path) -> None:
    for question, keys in (("Choose ports", CTRL_C), ("Name of the stack", CTRL_C)):
        with typist([sys.executable, "-m", "stackctl", "init"], cwd=tmp_path) as person:
            if question != "Choose ports":
                person.answer("Choose ports", "n\r")
            person.answer(question, keys)
            assert person.exit_status() == 130, person.seen
        assert not contents(tmp_path)
