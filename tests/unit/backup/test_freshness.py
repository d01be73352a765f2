"""How old the newest verified snapshot is, as everybody reads it from MLflow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from support.stack_runs import MemoryRuns

from stackctl.backup.freshness import EXPERIMENT, Freshness, Told, ensure, read, record
from stackctl.errors import Unhealthy
from stackctl.models.rest import Rest

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
WEEK = timedelta(days=8)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def backup(at: datetime, outcome: str = "verified", kind: str = "backup", snapshot: str | None = None) -> Told:
    name = snapshot or f"{at:%Y%m%dT%H%M%SZ}"
    return Told(at, kind, outcome, None if outcome == "failed" else name, None if outcome == "failed" else at, "why")


def asked(mlflow: MemoryRuns, *told: Told, since: datetime = NOW, stack: str = "mine") -> Freshness:
    ensure(mlflow.rest(), "mine", since)
    for each in told:
        record(mlflow.rest(), "mine", each)
    return read(mlflow.rest(), stack, WEEK, NOW)


@pytest.fixture
def mlflow() -> MemoryRuns:
    return MemoryRuns()


def test_without_the_experiment_nobody_can_tell_and_that_is_an_alarm(mlflow: MemoryRuns) -> None:
    found = read(mlflow.rest(), "mine", WEEK, NOW)
    assert found.problem == f"MLflow has no experiment {EXPERIMENT}: nothing tells when the last backup was"


def test_a_deleted_experiment_is_an_alarm_and_is_brought_back(mlflow: MemoryRuns) -> None:
    asked(mlflow, backup(ago(days=1)))
    mlflow.experiments[EXPERIMENT]["lifecycle_stage"] = "deleted"
    assert read(mlflow.rest(), "mine", WEEK, NOW).problem is not None
    assert asked(mlflow).fresh


def test_a_young_stack_without_a_backup_is_only_noted_an_old_one_is_an_alarm(mlflow: MemoryRuns) -> None:
    young = asked(mlflow, since=ago(days=7))
    assert (young.problem, young.note) == (None, "there is no backup yet")
    assert not young.fresh
    assert read(mlflow.rest(), "mine", WEEK, NOW + timedelta(days=2)).problem == "there is no verified backup"


def test_a_fresh_one_is_fine_and_an_old_one_an_alarm(mlflow: MemoryRuns) -> None:
    found = asked(mlflow, backup(ago(days=7)))
    assert found.fresh
    assert (found.snapshot, found.last_outcome) == ("20261114T080000Z", "verified")
    late = read(mlflow.rest(), "mine", WEEK, NOW + timedelta(days=2))
    assert late.problem == "the newest verified backup is 9.0 days old, the limit is 8 days"
    assert not late.fresh


def test_a_failure_before_the_newest_snapshot_is_not_the_last_run_though_a_restore_forgot_the_one_after_it(
    mlflow: MemoryRuns,
) -> None:
    found = asked(mlflow, backup(ago(days=2), "failed"))
    assert found.last_outcome == "failed"
    reminded = Told(NOW, "verify", "verified", "after", ago(days=1))
    found = asked(mlflow, reminded)
    assert (found.last_outcome, found.last_run, found.note) == ("verified", ago(days=1), None)
    assert asked(mlflow, backup(ago(hours=1), "failed")).last_outcome == "failed"


def test_backups_that_fail_are_noted_and_count_for_nothing(mlflow: MemoryRuns) -> None:
    found = asked(mlflow, backup(ago(days=9)), backup(ago(hours=1), "failed"))
    assert found.problem is not None
    assert found.note == "the backup of 2026-11-21 07:00 UTC failed: why"
    assert mlflow.runs[-1]["info"]["status"] == "FAILED"


def test_a_snapshot_found_damaged_later_counts_no_more_until_it_is_found_right(mlflow: MemoryRuns) -> None:
    one, two = backup(ago(days=9)), backup(ago(days=2))
    damaged = backup(ago(days=1), "damaged", "verify", two.snapshot)
    assert asked(mlflow, one, two, damaged).newest_verified == one.at
    repaired = Told(ago(hours=2), "verify", "verified", two.snapshot, two.at)
    assert asked(mlflow, repaired).newest_verified == two.at


def test_a_drill_makes_no_damaged_snapshot_right_again(mlflow: MemoryRuns) -> None:
    taken = backup(ago(days=2))
    spoilt = Told(ago(days=1), "verify", "damaged", taken.snapshot, taken.taken_at, "stack/compose.yaml is missing.")
    found = asked(
        mlflow, taken, spoilt, Told(NOW, "drill", "verified", taken.snapshot, taken.taken_at), since=ago(days=9)
    )
    assert (found.newest_verified, found.problem) == (None, "there is no verified backup")
    assert "stack/compose.yaml" in str(found.note)


def test_a_snapshot_dated_in_the_future_proves_nothing(mlflow: MemoryRuns) -> None:
    found = asked(mlflow, backup(ago(days=9)), backup(NOW + timedelta(days=8)))
    assert found.newest_verified == ago(days=9)
    assert found.problem is not None


def test_stacks_that_share_an_mlflow_do_not_count_each_others_backups(mlflow: MemoryRuns) -> None:
    assert asked(mlflow, backup(ago(days=1)), stack="other").newest_verified is None


def test_reading_takes_two_calls(mlflow: MemoryRuns) -> None:
    asked(mlflow, backup(ago(days=1)))
    mlflow.calls.clear()
    read(mlflow.rest(), "mine", WEEK, NOW)
    assert mlflow.calls == ["experiments/get-by-name", "runs/search"]


def test_an_mlflow_that_is_away_is_said_and_not_taken_for_no_backups(mlflow: MemoryRuns) -> None:
    mlflow.away = True
    with pytest.raises(Unhealthy):
        read(mlflow.rest(), "mine", WEEK, NOW)


def test_the_document_has_no_ages_so_that_it_changes_only_when_something_happens(mlflow: MemoryRuns) -> None:
    first = asked(mlflow, backup(ago(days=1))).to_dict()
    assert read(mlflow.rest(), "mine", WEEK, NOW + timedelta(days=3)).to_dict() == first


def test_a_drill_that_fails_is_noted_until_one_succeeds(mlflow: MemoryRuns) -> None:
    found = asked(mlflow, backup(ago(days=2)), Told(ago(days=1), "drill", "failed", "X", ago(days=2), "no model\nmore"))
    assert (found.problem, found.note) == (None, "the restore drill of 2026-11-20 08:00 UTC failed: no model")
    assert asked(mlflow, backup(ago(hours=1), "failed")).note == "the backup of 2026-11-21 07:00 UTC failed: why"
    assert asked(mlflow, backup(ago(minutes=30)), Told(NOW, "drill", "verified", "X", ago(days=2))).note is None


@pytest.mark.parametrize("call", ["experiments/create", "experiments/set-experiment-tag"])
def test_two_that_note_it_at_the_same_moment_both_succeed(mlflow: MemoryRuns, call: str) -> None:
    others = mlflow.rest()

    def slower(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(call) and not faster:
            faster.append(ensure(others, "mine", NOW))
            return httpx.Response(500, json={"error_code": "INTERNAL_ERROR", "message": "UNIQUE constraint failed"})
        return mlflow.answer(request)

    faster: list[str] = []
    found = ensure(Rest("http://mlflow", transport=httpx.MockTransport(slower)), "mine", NOW)
    assert [found] == faster
