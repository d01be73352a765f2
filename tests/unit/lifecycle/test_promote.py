"""A promotion against a real MLflow server and a model server over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.following_server import digest_of
from support.mlflow_server import MlflowServer
from support.promotions import QUICK, Scene, scene

from stackctl.errors import StackctlError, Unhealthy
from stackctl.lifecycle.promote import promote, recover
from stackctl.models.clock import SystemClock
from stackctl.models.journal import Journal
from stackctl.models.promotion import Deadlines, PromotionRefused

pytestmark = pytest.mark.slow


@pytest.fixture
def stage(mlflow_server: MlflowServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with scene(mlflow_server, tmp_path / "stack", request.node.name.split("[")[0][:90]) as set_up:
        yield set_up


def test_a_version_reaches_stage_alias_and_server_and_leaves_nothing_behind(stage: Scene) -> None:
    first = stage.promote("1")
    assert (first.previous, first.version, first.changed) == (None, "1", True)
    second = stage.promote("2")
    assert (second.previous, second.version) == ("1", "2")
    assert second.live_seconds is not None
    assert second.live_seconds <= second.seconds
    assert stage.state() == ("2", "2", None, False)
    assert stage.server.version == "2"
    assert stage.registry.version(stage.model, "1").stage == "Archived"


def test_the_server_prepares_before_production_is_touched(stage: Scene) -> None:
    stage.promote("1")
    stage.server.never_prepares = True
    with pytest.raises(Unhealthy, match="did not prepare"):
        stage.promote("2", deadlines=Deadlines(prepare=0.5, poll=0.02))
    assert "2" in stage.server.candidates_seen
    assert stage.state() == ("1", "1", None, False)


def test_promoting_back_to_an_older_version_works(stage: Scene) -> None:
    stage.promote("2")
    stage.promote("1")
    assert stage.state() == ("1", "1", None, False)
    assert stage.server.version == "1"


def test_a_version_that_is_in_production_already_is_left_alone(stage: Scene) -> None:
    stage.promote("1")
    before = stage.registry.version(stage.model, "1")
    again = stage.promote("1")
    assert not again.changed
    assert stage.registry.version(stage.model, "1") == before


def test_a_refusal_reaches_the_caller_with_the_servers_reason_and_changes_nothing(stage: Scene) -> None:
    stage.promote("1")
    stage.server.refuses["2"] = "golden pair 00 differs by 9 levels"
    with pytest.raises(PromotionRefused, match="golden pair 00 differs by 9 levels") as caught:
        stage.promote("2")
    assert caught.value.code == 1
    assert caught.value.gate == "server"
    assert stage.state() == ("1", "1", None, False)
    assert stage.server.version == "1"


def test_a_version_that_was_refused_can_be_promoted_once_it_is_mended(stage: Scene) -> None:
    stage.promote("1")
    stage.server.refuses["2"] = "not yet"
    with pytest.raises(PromotionRefused):
        stage.promote("2")
    stage.server.refuses.clear()
    assert stage.promote("2").version == "2"


def test_a_server_that_cannot_be_reached_refuses_the_promotion(stage: Scene) -> None:
    stage.server.stop()
    with pytest.raises(Unhealthy, match="cannot be reached") as caught:
        stage.promote("1")
    assert caught.value.code == 3
    assert stage.state() == (None, None, None, False)


def test_a_server_of_another_model_is_named(stage: Scene) -> None:
    stage.server.name = "denoise"
    with pytest.raises(PromotionRefused, match="serves denoise"):
        stage.promote("1")
    assert stage.state() == (None, None, None, False)


def test_a_missing_digest_is_recorded_at_promotion(stage: Scene) -> None:
    assert stage.promote("1").digest == digest_of("1")
    assert stage.registry.version(stage.model, "1").digest == digest_of("1")


def test_a_version_whose_files_are_not_those_that_were_logged_is_refused(stage: Scene) -> None:
    stage.registry.set_version_tag(stage.model, "1", "stackctl.digest", "sha256:" + "f" * 64)
    with pytest.raises(PromotionRefused, match="not what was logged") as caught:
        stage.promote("1")
    assert caught.value.gate == "digest"
    assert stage.state() == (None, None, None, False)


def test_the_moment_of_promotion_is_on_the_version_before_servers_flip(stage: Scene) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    stage.promote("1")
    moment = stage.registry.version(stage.model, "1").promoted_at
    assert moment is not None
    assert before <= datetime.fromisoformat(moment) <= datetime.now(UTC)


def test_a_server_that_does_not_follow_is_reported_after_the_commit(stage: Scene) -> None:
    stage.promote("1")
    stage.server.never_flips = True
    with pytest.raises(Unhealthy, match="is in Production, but not served"):
        stage.promote("2", deadlines=Deadlines(live=0.5, poll=0.02))
    assert stage.state() == ("2", "2", None, False)


def test_without_waiting_it_returns_after_the_commit_but_not_before_the_preparation(stage: Scene) -> None:
    stage.server.never_flips = True
    done = stage.promote("1", wait=False)
    assert done.live_seconds is None
    assert stage.server.candidates_seen == ["1"]
    assert stage.state() == ("1", "1", None, False)


def test_stage_and_alias_that_disagree_are_brought_together(stage: Scene) -> None:
    stage.promote("1")
    stage.registry.transition_stage(stage.model, "2", "Production", archive_existing=False)
    assert stage.promote("2").changed
    assert stage.state() == ("2", "2", None, False)


def test_two_promotions_from_one_folder_run_one_after_the_other(stage: Scene) -> None:
    stage.promote("1")
    errors: list[BaseException] = []

    def bring(version: str) -> None:
        try:
            stage.promote(version)
        except StackctlError as error:
            errors.append(error)

    threads = [threading.Thread(target=bring, args=(version,)) for version in ("2", "1", "2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    staged, alias, candidate, is_open = stage.state()
    assert staged == alias == stage.server.version
    assert (candidate, is_open) == (None, False)


class LaterClock(SystemClock):
    """A clock that is ahead of the machine's."""

    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return super().now() + self._ahead


def test_somebody_elses_promotion_is_left_alone_until_it_is_too_old_to_be_running(stage: Scene) -> None:
    stage.promote("1")
    theirs = Journal.begin("1", "2", by="eve@elsewhere#9", now=datetime.now(UTC))
    stage.registry.set_model_tag(stage.model, "stackctl.promotion", theirs.to_json())
    stage.registry.set_alias(stage.model, "candidate", "2")
    with pytest.raises(StackctlError, match="eve@elsewhere"):
        stage.promote("2")
    running = recover(stage.stack, registry=stage.registry, deadlines=QUICK)
    assert running is not None
    assert running.outcome == "running"
    assert stage.state() == ("1", "1", "2", True)
    undone = recover(
        stage.stack, registry=stage.registry, deadlines=QUICK, clock=LaterClock(timedelta(seconds=QUICK.lease + 1))
    )
    assert undone is not None
    assert undone.outcome == "undone"
    assert stage.state() == ("1", "1", None, False)


def test_a_decided_promotion_gives_way_to_a_change_made_elsewhere_since(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    with scene(mlflow_server, tmp_path / "stack", "changed-elsewhere", versions=3) as stage:
        stage.promote("1")
        stage.server.refuses["2"] = "to leave a journal of our own"
        owner = _owner_of(stage)
        decided = Journal("abc", "1", "2", "committing", "2026-11-21T12:00:00Z", owner, "2026-11-21T12:00:05Z")
        stage.registry.set_model_tag(stage.model, "stackctl.promotion", decided.to_json())
        stage.registry.transition_stage(stage.model, "3", "Production")
        found = recover(stage.stack, registry=stage.registry)
        assert found is not None
        assert found.outcome == "abandoned"
        assert stage.state() == ("3", "1", None, False)


def test_recovery_finds_nothing_where_nothing_was_interrupted(stage: Scene) -> None:
    assert recover(stage.stack, registry=stage.registry) is None
    assert recover(stage.stack, "unheard-of", registry=stage.registry) is None


def test_an_interrupt_before_the_commit_undoes_everything(stage: Scene) -> None:
    stage.promote("1")
    stage.server.never_prepares = True

    def interrupt(subject: str, what: str) -> None:
        if subject == "prepare" and "loading" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promote(stage.stack, stage.model, "2", progress=interrupt, deadlines=QUICK)
    assert stage.state() == ("1", "1", None, False)


def test_an_interrupt_after_the_commit_leaves_production_at_the_new_version(stage: Scene) -> None:
    stage.promote("1")
    stage.server.never_flips = True
    told: list[str] = []

    def interrupt(subject: str, what: str) -> None:
        told.append(what)
        if subject == "serving":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promote(stage.stack, stage.model, "2", progress=interrupt, deadlines=QUICK)
    assert "version 2 is in Production" in told[-1]
    assert stage.state() == ("2", "2", None, False)


def _owner_of(stage: Scene) -> str:
    """Return the name under which this stack promotes, as a journal that it wrote says."""
    seen: list[str] = []

    def look(_subject: str, _what: str) -> None:
        tag = stage.registry.model(stage.model).tags.get("stackctl.promotion")
        seen.extend([Journal.parse(tag).by] if tag else [])

    with pytest.raises(PromotionRefused):
        promote(stage.stack, stage.model, "2", progress=look, deadlines=QUICK)
    return seen[0]
