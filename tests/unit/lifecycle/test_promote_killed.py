"""A promotion killed between any two of its changes to the registry is finished or undone by the next command."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from support.mlflow_server import MlflowServer
from support.promotions import DyingTransport, Killed, scene
from support.waiting import PATIENCE, eventually

from stackctl import process
from stackctl.lifecycle.promote import recover
from stackctl.models import Registry
from stackctl.models.history import read

pytestmark = pytest.mark.slow

CHANGES = (
    "POST registered-models/set-tag",  # the journal
    "POST registered-models/alias",  # candidate
    "POST model-versions/set-tag",  # the digest, where it is missing
    "POST registered-models/set-tag",  # the decision
    "POST model-versions/set-tag",  # when it was promoted
    "POST model-versions/transition-stage",
    "POST registered-models/alias",  # production
    "POST registered-models/set-tag",  # the history
    "DELETE registered-models/alias",  # candidate
    "DELETE registered-models/delete-tag",  # the journal
)
DECISION = 4


def test_a_promotion_makes_these_changes_in_this_order(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    with scene(mlflow_server, tmp_path, "all-changes") as stage:
        stage.promote("1")
        transport = DyingTransport(at=0, answered=True)
        stage.promote("2", registry=Registry(mlflow_server.url, transport=transport))
        assert tuple(transport.changes) == CHANGES


@pytest.mark.parametrize("after", range(len(CHANGES) + 1))
def test_killed_after_a_change_stage_alias_and_server_converge(
    mlflow_server: MlflowServer, tmp_path: Path, after: int
) -> None:
    with scene(mlflow_server, tmp_path, f"killed-{after}") as stage:
        stage.promote("1")
        dying = DyingTransport(after or 1, answered=after > 0)
        with pytest.raises(Killed):
            stage.promote("2", registry=Registry(mlflow_server.url, transport=dying))

        recovery = recover(stage.stack, registry=stage.registry)

        decided = after >= DECISION
        wanted = "2" if decided else "1"
        assert stage.state() == (wanted, wanted, None, False)
        if recovery is not None:
            assert recovery.outcome == ("finished" if decided else "undone")
        eventually(lambda: stage.server.version == wanted, f"version {wanted} on the server")
        assert recover(stage.stack, registry=stage.registry) is None
        events = [(event.action, event.version) for event in read(stage.registry, stage.model)]
        assert events == [("promote", "2")] * decided + [("promote", "1")]


@pytest.mark.parametrize("words", [("promote", "2"), ("rollback",)], ids=["promote", "rollback"])
def test_killed_for_good_the_command_leaves_a_journal_that_the_next_one_undoes(
    mlflow_server: MlflowServer, tmp_path: Path, words: tuple[str, ...]
) -> None:
    with scene(mlflow_server, tmp_path, f"kill-9-{words[0]}") as stage:
        stage.promote("2")
        stage.promote("1")
        stage.server.never_prepares = True
        ports = {"mlflow": mlflow_server.url, "serving": stage.server.url}
        lines = "".join(f"  {name}: {url.rsplit(':', 1)[-1]}\n" for name, url in ports.items())
        (tmp_path / "stack.yaml").write_text(f"name: test-stack\nmodel: {stage.model}\nports:\n{lines}")
        verb, *version = words
        argv = [sys.executable, "-m", "stackctl", "-C", str(tmp_path), verb, stage.model, *version]
        command = process.start(argv)
        try:
            eventually(lambda: stage.state()[2] == "2", "the preparation of version 2", running=command)
        finally:
            os.killpg(command.pid, signal.SIGKILL)
            command.wait(PATIENCE)
        assert stage.state() == ("1", "1", "2", True)

        stage.server.never_prepares = False
        assert stage.promote("2").version == "2"
        assert any("undone" in what for subject, what in stage.told if subject == "recover")
        assert stage.state() == ("2", "2", None, False)
