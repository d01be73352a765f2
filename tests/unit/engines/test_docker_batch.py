"""Batches under Docker, as far as no engine is needed."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from support.image_stacks import stack_with

from stackctl.engines.docker import DockerEngine
from stackctl.engines.docker_launches import logged, options_of
from stackctl.engines.docker_project import together
from stackctl.engines.protocol import ServiceState
from stackctl.errors import MissingPrerequisite, StackctlError, UsageError


def silent(_subject: str, _what: str) -> None:
    """Draw nothing."""


def test_a_folder_that_was_made_before_there_were_batches_still_starts_and_says_what_to_do(tmp_path: Path) -> None:
    stack = stack_with(tmp_path)
    compose = tmp_path / "compose.yaml"
    compose.write_text(compose.read_text().replace("\n  worker:\n", "\n  another:\n"))
    engine = DockerEngine(stack)
    assert not [problem for problem in engine.preflight() if "service" in problem.what]
    with pytest.raises(MissingPrerequisite) as caught:
        engine.batch_scheduler(None, silent)
    assert "no service worker" in caught.value.message
    assert "stackctl init" in (caught.value.hint or "")


def test_a_stack_without_keys_is_told_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisite) as caught:
        DockerEngine(stack_with(tmp_path)).scale("worker", 2, silent)
    assert "stackctl up" in (caught.value.hint or "")


@pytest.mark.parametrize(("service", "count"), [("serving", 2), ("worker", -1), ("worker", 1000)])
def test_only_workers_can_be_several_and_not_any_number(tmp_path: Path, service: str, count: int) -> None:
    with pytest.raises(UsageError):
        DockerEngine(stack_with(tmp_path)).scale(service, count, silent)


def test_the_coordinators_container_writes_as_its_caller_and_logs_into_the_runs_folder(tmp_path: Path) -> None:
    batch = tmp_path / "a stack" / "batch"
    (batch / "runs" / "1").mkdir(parents=True)
    options = options_of("some-stack", "batch-1", {batch: "/inside"})
    assert f"--user={os.getuid()}:{os.getgid()}" in options
    assert f"--volume={batch}:/inside" in options
    command = logged(["python", "-m", "it", "/inside/runs/1"], batch / "runs" / "1" / "log.txt", {batch: "/inside"})
    assert command[:2] == ["sh", "-c"]
    assert shlex.split(command[2]) == [
        "exec",
        "python",
        "-m",
        "it",
        "/inside/runs/1",
        ">>/inside/runs/1/log.txt",
        "2>&1",
    ]
    with pytest.raises(StackctlError, match="in no folder"):
        logged(["python"], tmp_path / "log.txt", {batch: "/inside"})


def test_several_workers_are_one_line_that_says_how_many_run() -> None:
    running = ServiceState("worker", "running", memory=100, restarts=1)
    killed = ServiceState("worker", "exited", restarts=2, detail="out of memory, its limit is 2048 MiB")
    assert together("worker", [running, running]).detail == "2 of 2 run"
    mixed = together("worker", [killed, running])
    assert (mixed.state, mixed.memory, mixed.restarts) == ("running", 100, 3)
    assert mixed.detail == "1 of 2 run: out of memory, its limit is 2048 MiB"
    assert together("worker", [killed]) == killed
