"""The promotion protocol against a registry in memory: both targets, killed at every change, dry runs, rollbacks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from support.memory_mlflow import URL, MemoryMlflow
from support.promotions import DyingTransport, Killed

from stackctl.cli.promote import _sentence
from stackctl.errors import Unhealthy
from stackctl.lifecycle.exclusive import owner_of
from stackctl.lifecycle.promote import recover, rollback
from stackctl.models import Registry, UnknownVersion
from stackctl.models.gates import MetricGate
from stackctl.models.history import read
from stackctl.models.journal import Journal, JournalLost, Purpose
from stackctl.models.promoter import Promoter
from stackctl.models.promotion import Promotion, PromotionRefused
from stackctl.models.servers import ModelServer
from stackctl.models.targets import PRODUCTION, STAGING, Target
from stackctl.stack import Endpoints, Settings, Stack


def promoter(registry: Registry, target: Target = PRODUCTION) -> Promoter:
    return Promoter(registry, (), owner="ada@machine#1", progress=lambda _subject, _what: None, target=target)


def promote(
    mlflow: MemoryMlflow,
    version: str,
    target: Target = PRODUCTION,
    *,
    registry: Registry | None = None,
    purpose: Purpose = "promote",
    dry_run: bool = False,
    metric: MetricGate | None = None,
) -> Promotion:
    ours = registry or mlflow.registry()
    wanted = ours.version("m", version)
    return promoter(ours, target).promote(wanted, purpose=purpose, dry_run=dry_run, metric=metric)


def state(mlflow: MemoryMlflow, target: Target = PRODUCTION) -> tuple[str | None, str | None, str | None, bool]:
    """Return the versions under stage, alias and candidate, and whether a journal is open."""
    alias, candidate = mlflow.aliases.get(target.alias), mlflow.aliases.get(target.candidate_alias)
    return mlflow.stage(target.stage), alias, candidate, target.journal_tag in mlflow.tags


def steps(mlflow: MemoryMlflow) -> list[tuple[str, str | None, str]]:
    return [(event.action, event.previous, event.version) for event in read(mlflow.registry(), "m")]


def stack_without_servers(folder: Path) -> Stack:
    settings = Settings.parse({"name": "test-stack", "model": "m"})
    return Stack(settings, Endpoints(URL, URL, None, "", "http://127.0.0.1:9"), folder)


CASES: dict[str, tuple[Target, Purpose, int]] = {
    "production": (PRODUCTION, "promote", 8),
    "staging": (STAGING, "promote", 8),
    "rollback": (PRODUCTION, "rollback", 8),
}


@pytest.mark.parametrize(
    ("case", "at", "answered"),
    [
        (case, at, answered)
        for case, (_, _, count) in CASES.items()
        for at in range(1, count + 2)
        for answered in (0, 1)
    ],
)
def test_killed_at_any_change_the_next_command_finishes_or_undoes_it(case: str, at: int, answered: int) -> None:
    target, purpose, _ = CASES[case]
    mlflow = MemoryMlflow()
    promote(mlflow, "1", target)
    dying = DyingTransport(at, answered=bool(answered), inner=mlflow)
    registry = Registry(URL, transport=dying)
    try:
        promote(mlflow, "2", target, registry=registry, purpose=purpose)
    except Killed:
        promoter(mlflow.registry(), target).recover("m")
    else:
        assert at > len(dying.changes)
    decided = at > 3 or (at == 3 and answered)
    wanted = "2" if decided else "1"
    assert state(mlflow, target) == (wanted, wanted, None, False)
    assert steps(mlflow) == [(purpose, "1", "2")] * decided + [("promote", None, "1")]
    promote(mlflow, "2", target)
    assert state(mlflow, target) == ("2", "2", None, False)


def test_these_are_the_changes_of_a_promotion() -> None:
    mlflow = MemoryMlflow()
    promote(mlflow, "1")
    assert mlflow.changes == [
        "POST registered-models/set-tag",  # the journal
        "POST registered-models/alias",  # candidate
        "POST registered-models/set-tag",  # the decision
        "POST model-versions/set-tag",  # when it was promoted
        "POST model-versions/transition-stage",
        "POST registered-models/alias",  # production
        "POST registered-models/set-tag",  # the history
        "DELETE registered-models/alias",  # candidate
        "DELETE registered-models/delete-tag",  # the journal
    ]


class Leaving(httpx.BaseTransport):
    """An MLflow that goes away at a change and comes back when told."""

    def __init__(self, inner: MemoryMlflow, change: str) -> None:
        self._inner = inner
        self.change: str | None = change

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.change is not None and request.method != "GET" and request.url.path.endswith(self.change):
            raise httpx.ConnectError("connection refused", request=request)
        return self._inner.handle_request(request)


@pytest.mark.parametrize(("change", "decided"), [("registered-models/alias", False), ("transition-stage", True)])
def test_an_mlflow_that_goes_away_half_way_leaves_nothing_in_between(change: str, decided: bool) -> None:
    mlflow = MemoryMlflow()
    promote(mlflow, "1")
    leaving = Leaving(mlflow, change)
    with pytest.raises(Unhealthy, match="decided for Production" if decided else "cannot be reached"):
        promote(mlflow, "2", registry=Registry(URL, transport=leaving))
    promoter(mlflow.registry()).recover("m")
    wanted = "2" if decided else "1"
    assert state(mlflow) == (wanted, wanted, None, False)


@pytest.mark.parametrize("at", range(1, 10))
def test_killed_while_it_mends_a_disagreement_it_is_not_taken_for_a_change_elsewhere(at: int) -> None:
    mlflow = MemoryMlflow(versions=3)
    promote(mlflow, "1")
    mlflow.versions["2"]["stage"], mlflow.versions["1"]["stage"] = "Production", "Archived"
    with pytest.raises(Killed):
        promote(mlflow, "3", registry=Registry(URL, transport=DyingTransport(at, answered=True, inner=mlflow)))
    promoter(mlflow.registry()).recover("m")
    promote(mlflow, "3")
    assert state(mlflow) == ("3", "3", None, False)
    assert steps(mlflow) == [("promote", "2", "3"), ("elsewhere", "1", "2"), ("promote", None, "1")]


@pytest.mark.parametrize(
    ("stage", "alias", "version", "step"),
    [
        ("2", "1", "1", ("2", "1")),  # the stage was moved to 2 elsewhere, and 1 is promoted again
        ("2", "1", "2", ("1", "2")),
        ("1", "2", "1", ("2", "1")),
        ("1", "2", "3", ("2", "3")),
    ],
)
def test_after_a_disagreement_old_and_new_are_what_users_got_and_get(
    stage: str, alias: str, version: str, step: tuple[str, str]
) -> None:
    mlflow = MemoryMlflow(versions=3)
    promote(mlflow, "1")
    mlflow.versions["1"]["stage"], mlflow.versions[stage]["stage"] = "Archived", "Production"
    mlflow.aliases["production"] = alias
    done = promote(mlflow, version)
    assert (done.previous, done.version, done.changed, done.disagreed) == (*step, True, True)
    assert state(mlflow) == (version, version, None, False)


def test_a_dry_run_leaves_target_history_and_tags_as_they_were() -> None:
    mlflow = MemoryMlflow()
    promote(mlflow, "1")
    before = (dict(mlflow.tags), dict(mlflow.aliases), {number: dict(v) for number, v in mlflow.versions.items()})
    done = promote(mlflow, "2", dry_run=True)
    assert (done.previous, done.version, done.changed, done.dry_run) == ("1", "2", False, True)
    assert [gate["gate"] for gate in done.gates] == ["status"]
    assert (mlflow.tags, mlflow.aliases, mlflow.versions) == before


def test_a_refusal_is_in_the_history_once_and_changes_nothing_else() -> None:
    mlflow = MemoryMlflow(versions=0)
    mlflow.add({"psnr_y": 29.0}, {"stackctl.evaluation.digest": "d"})
    mlflow.add({"psnr_y": 28.0}, {"stackctl.evaluation.digest": "d"})
    promote(mlflow, "1")
    for _ in range(2):
        with pytest.raises(PromotionRefused, match="28 against 29 of version 1"):
            promote(mlflow, "2", metric=MetricGate("psnr_y"))
    with pytest.raises(PromotionRefused):
        promote(mlflow, "2", metric=MetricGate("psnr_y"), dry_run=True)
    newest, first = read(mlflow.registry(), "m")
    assert (newest.action, newest.figures["psnr_y"], newest.figures["psnr_y_champion"]) == ("refused", 28.0, 29.0)
    assert first.action == "promote"
    assert state(mlflow) == ("1", "1", None, False)


def test_staging_and_production_do_not_get_into_each_others_way() -> None:
    mlflow = MemoryMlflow(versions=3)
    promote(mlflow, "1")
    promote(mlflow, "2", STAGING)
    assert (state(mlflow), state(mlflow, STAGING)) == (("1", "1", None, False), ("2", "2", None, False))
    promote(mlflow, "2")  # a version has one stage: it leaves Staging's, and keeps its alias
    assert (state(mlflow), state(mlflow, STAGING)) == (("2", "2", None, False), (None, "2", None, False))
    promote(mlflow, "3", STAGING)
    promote(mlflow, "2", STAGING)  # back to what is in Production, which must not leave it
    assert promote(mlflow, "2", STAGING).changed is False
    assert (state(mlflow), state(mlflow, STAGING)) == (("2", "2", None, False), (None, "2", None, False))


def test_the_champion_of_a_promotion_to_staging_is_what_users_get() -> None:
    mlflow = MemoryMlflow(versions=0)
    for value in (29.0, 27.0, 28.0):
        mlflow.add({"psnr_y": value}, {"stackctl.evaluation.digest": "d"})
    promote(mlflow, "1")
    promote(mlflow, "2", STAGING)
    with pytest.raises(PromotionRefused, match="28 against 29 of version 1 in Production"):
        promote(mlflow, "3", STAGING, metric=MetricGate("psnr_y"))


@pytest.mark.parametrize(("psnr", "contract", "told"), [(28.0, "image", "28 against 29"), (30.0, "", "contract")])
def test_what_was_moved_to_the_stage_elsewhere_is_held_against_the_version_it_replaces(
    psnr: float, contract: str, told: str
) -> None:
    mlflow = MemoryMlflow(versions=0)
    mlflow.add({"psnr_y": 29.0}, {"stackctl.evaluation.digest": "d", "stackctl.contract": "image"})
    mlflow.add({"psnr_y": psnr}, {"stackctl.evaluation.digest": "d", "stackctl.contract": contract})
    promote(mlflow, "1")
    mlflow.versions["1"]["stage"], mlflow.versions["2"]["stage"] = "Archived", "Production"
    with pytest.raises(PromotionRefused, match=told):
        promote(mlflow, "2", metric=MetricGate("psnr_y"))


@pytest.mark.parametrize(
    ("moment", "theirs", "left"),
    [("gate status", "3", "3"), ("prepare", None, None), ("prepare", "3", "3")],
    ids=["before ours is announced", "after it, theirs is not yet", "after it, and theirs is"],
)
def test_who_is_overtaken_leaves_no_candidate_and_takes_none(moment: str, theirs: str | None, left: str | None) -> None:
    mlflow = MemoryMlflow(versions=3)
    promote(mlflow, "1")
    other = Journal.begin("1", "3", by="eve@elsewhere#9", now=datetime.now(UTC)).to_json()

    def overtake(subject: str, _what: str) -> None:
        if subject == moment:
            mlflow.tags[PRODUCTION.journal_tag] = other
            mlflow.aliases |= {"candidate": theirs} if theirs else {}

    ours = Promoter(mlflow.registry(), (), owner="ada@machine#1", progress=overtake)
    with pytest.raises(JournalLost, match="eve@elsewhere"):
        ours.promote(mlflow.registry().version("m", "2"))
    assert state(mlflow) == ("1", "1", left, True)
    assert mlflow.tags[PRODUCTION.journal_tag] == other


@pytest.mark.parametrize("missing", ["alias", "stage"])
def test_a_name_that_was_deleted_is_put_back_and_nothing_is_told_of_a_version_before(missing: str) -> None:
    mlflow = MemoryMlflow()
    promote(mlflow, "2")
    if missing == "alias":
        del mlflow.aliases["production"]
    else:
        mlflow.versions["2"]["stage"] = "None"
    done = promote(mlflow, "2")
    assert (done.previous, done.version, done.changed) == ("2", "2", True)
    printed = str(_sentence(done))
    assert printed.startswith("m: 2 (")
    assert printed.endswith("Its stage or its alias was missing; both lead to it now.")
    assert state(mlflow) == ("2", "2", None, False)
    assert steps(mlflow) == [("aligned", "2", "2"), ("promote", None, "2")]


class BanningServer(httpx.BaseTransport):
    """A model server that took version 2 back for version 1, until version 2 is promoted anew."""

    def __init__(self, mlflow: MemoryMlflow) -> None:
        self._mlflow = mlflow
        mlflow.versions["2"]["tags"]["stackctl.promoted_at"] = self._banned = "2026-11-20T00:00:00Z"

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        banned = self._mlflow.versions["2"]["tags"]["stackctl.promoted_at"] == self._banned
        announced = self._mlflow.aliases.get("candidate")
        prepared = {"version": announced, "state": "prepared", "digest": "sha256:2"} if announced else None
        ban = {"version": "2", "reason": "3 of its first 3 requests failed."} if banned else None
        document = {"name": "m", "version": "1" if banned else "2", "candidate": prepared, "taken_back": ban}
        return httpx.Response(200, json=document | {"digest": "sha256:1" if banned else "sha256:2"})


def test_a_version_that_the_server_took_back_can_be_promoted_again_and_rolled_back_from(tmp_path: Path) -> None:
    mlflow = MemoryMlflow()
    promote(mlflow, "1")
    promote(mlflow, "2")
    told: list[str] = []
    server = ModelServer("http://serving", transport=BanningServer(mlflow))
    ours = Promoter(mlflow.registry(), [server], owner="ada@machine#1", progress=lambda _, what: told.append(what))
    again = ours.promote(mlflow.registry().version("m", "2"))
    assert (again.previous, again.version, again.changed) == ("2", "2", True)
    assert "took version 2 back: 3 of its first 3 requests failed." in told[0]
    newest = read(mlflow.registry(), "m")[0]
    assert (newest.action, newest.version, "had taken it back" in (newest.reason or "")) == ("promote", "2", True)
    assert ours.promote(mlflow.registry().version("m", "2")).changed is False
    assert Rollbacks(mlflow, tmp_path).back() == ("2", "1")


class Rollbacks:
    """Rolls back as the command does, where no model server follows."""

    def __init__(self, mlflow: MemoryMlflow, folder: Path) -> None:
        self._mlflow = mlflow
        self._stack = stack_without_servers(folder)

    def back(self, to_version: str | None = None) -> tuple[str | None, str]:
        done = rollback(
            self._stack, "m", to_version, progress=lambda _subject, _what: None, registry=self._mlflow.registry()
        )
        return done.previous, done.version

    def recover(self) -> None:
        recover(self._stack, registry=self._mlflow.registry())


def test_rollbacks_lead_back_one_by_one_and_never_to_what_was_rolled_back(tmp_path: Path) -> None:
    mlflow = MemoryMlflow(versions=3)
    for version in ("1", "2", "3"):
        promote(mlflow, version)
    commands = Rollbacks(mlflow, tmp_path)
    assert commands.back() == ("3", "2")
    assert commands.back() == ("2", "1")
    with pytest.raises(UnknownVersion, match="No version of m was in Production before version 1"):
        commands.back()
    assert commands.back("3") == ("1", "3")
    newest = read(mlflow.registry(), "m")[0]
    assert (newest.action, newest.reason) == ("rollback", "rolled back from version 1")
    assert state(mlflow) == ("3", "3", None, False)


def test_a_version_that_was_deleted_since_is_passed_over_by_a_rollback(tmp_path: Path) -> None:
    mlflow = MemoryMlflow(versions=3)
    for version in ("1", "2", "3"):
        promote(mlflow, version)
    del mlflow.versions["2"]
    assert Rollbacks(mlflow, tmp_path).back() == ("3", "1")


def test_a_rollback_of_what_was_promoted_elsewhere_leads_to_the_version_users_had(tmp_path: Path) -> None:
    mlflow = MemoryMlflow()
    promote(mlflow, "1")
    mlflow.versions["1"]["stage"], mlflow.versions["2"]["stage"] = "Archived", "Production"
    assert Rollbacks(mlflow, tmp_path).back() == ("2", "1")
    assert state(mlflow) == ("1", "1", None, False)
    assert steps(mlflow) == [("rollback", "2", "1"), ("elsewhere", "1", "2"), ("promote", None, "1")]


def test_promotions_from_before_there_was_a_history_can_be_rolled_back(tmp_path: Path) -> None:
    mlflow = MemoryMlflow(versions=3)
    for minute, version in enumerate(("3", "1", "2")):
        promote(mlflow, version)
        mlflow.versions[version]["tags"]["stackctl.promoted_at"] = f"2026-11-20T00:0{minute}:00Z"
    for tag in [tag for tag in mlflow.tags if tag.startswith("stackctl.history.")]:
        del mlflow.tags[tag]
    assert Rollbacks(mlflow, tmp_path).back() == ("2", "1")


def test_an_interrupted_promotion_to_staging_is_undone_by_any_command(tmp_path: Path) -> None:
    mlflow = MemoryMlflow()
    promote(mlflow, "1")
    promote(mlflow, "2")
    owner = owner_of(stack_without_servers(tmp_path))
    ours = Registry(URL, transport=DyingTransport(2, answered=True, inner=mlflow))
    staging = Promoter(ours, (), owner=owner, progress=lambda _subject, _what: None, target=STAGING)
    with pytest.raises(Killed):
        staging.promote(mlflow.registry().version("m", "1"))
    assert state(mlflow, STAGING) == (None, None, "1", True)
    Rollbacks(mlflow, tmp_path).recover()
    assert state(mlflow, STAGING) == (None, None, None, False)
