"""Stage and alias are brought together after something else moved one of them."""

from __future__ import annotations

import pytest
from support.memory_mlflow import MemoryMlflow
from support.promotions import DyingTransport, Killed

from stackctl.models import Registry
from stackctl.models.alignment import align
from stackctl.models.history import read
from stackctl.models.targets import PRODUCTION, STAGING, Target
from stackctl.models.versions import Production

BY = "serving@machine"


def scene(stage: str | None, alias: str | None, target: Target = PRODUCTION) -> MemoryMlflow:
    mlflow = MemoryMlflow(versions=4)
    if stage:
        mlflow.versions[stage]["stage"] = target.stage
    if alias:
        mlflow.aliases[target.alias] = alias
    return mlflow


def names(mlflow: MemoryMlflow, target: Target = PRODUCTION) -> tuple[str | None, str | None]:
    return mlflow.stage(target.stage), mlflow.aliases.get(target.alias)


@pytest.mark.parametrize(
    ("stage", "alias", "agreed", "counts"),
    [
        ("2", "1", "1", "2"),  # the stage moved
        ("1", "2", "1", "2"),  # the alias moved
        ("2", "3", "1", "3"),  # both moved
        ("2", "3", None, "3"),  # nobody knows
        ("2", None, None, "2"),
        (None, "2", None, "2"),
        (None, "1", "1", "1"),  # the stage was withdrawn
        ("1", None, "1", "1"),  # the alias was withdrawn
        (None, None, "1", None),
        ("1", "1", "1", "1"),
    ],
)
def test_the_name_that_changed_since_they_last_agreed_counts(
    stage: str | None, alias: str | None, agreed: str | None, counts: str | None
) -> None:
    assert Production(stage, alias).winner(agreed) == counts


@pytest.mark.parametrize(("stage", "alias"), [("2", "1"), ("1", "2"), ("2", None), (None, "2")])
def test_both_names_lead_to_the_version_that_counts_and_the_history_says_elsewhere(
    stage: str | None, alias: str | None
) -> None:
    mlflow = scene(stage, alias)
    event = align(mlflow.registry(), "m", PRODUCTION, "1", BY)
    assert names(mlflow) == ("2", "2")
    assert event is not None
    assert (event.action, event.version, event.previous, event.by) == ("elsewhere", "2", "1", BY)
    assert read(mlflow.registry(), "m") == [event]
    assert "stackctl.promoted_at" in mlflow.versions["2"]["tags"]
    assert align(mlflow.registry(), "m", PRODUCTION, "2", BY) is None


def test_a_name_that_was_withdrawn_is_restored_and_that_is_no_arrival() -> None:
    mlflow = scene("1", None)
    mlflow.versions["1"]["tags"]["stackctl.promoted_at"] = "2026-11-20T00:00:00Z"
    event = align(mlflow.registry(), "m", PRODUCTION, "1", BY)
    assert names(mlflow) == ("1", "1")
    assert event is not None
    assert event.action == "aligned"


def test_while_a_journal_is_open_nobody_aligns() -> None:
    mlflow = scene("2", "1")
    mlflow.tags[PRODUCTION.journal_tag] = "anything"
    assert align(mlflow.registry(), "m", PRODUCTION, "1", BY) is None
    assert mlflow.changes == []


def test_a_promotion_elsewhere_that_moved_both_names_is_recorded() -> None:
    mlflow = scene("1", "1")
    align(mlflow.registry(), "m", PRODUCTION, None, BY)
    mlflow.versions["1"]["stage"], mlflow.versions["2"]["stage"] = "Archived", "Production"
    mlflow.aliases["production"] = "2"
    event = align(mlflow.registry(), "m", PRODUCTION, "2", BY)  # the server has seen them agree already
    assert event is not None
    assert (event.action, event.version, event.previous) == ("elsewhere", "2", "1")


def test_a_version_in_staging_that_goes_to_production_keeps_its_alias_in_peace() -> None:
    mlflow = scene("2", "2", STAGING)
    align(mlflow.registry(), "m", STAGING, None, BY)
    mlflow.versions["2"]["stage"] = "Production"
    assert align(mlflow.registry(), "m", STAGING, "2", BY) is None
    assert mlflow.versions["2"]["stage"] == "Production"


def test_a_version_in_production_goes_to_staging_by_its_alias_alone() -> None:
    mlflow = scene("3", "1", STAGING)
    mlflow.versions["1"]["stage"] = "Production"
    align(mlflow.registry(), "m", STAGING, "3", BY)
    assert names(mlflow, STAGING) == (None, "1")
    assert names(mlflow) == ("1", None)


def test_a_model_that_does_not_exist_is_nothing_to_align() -> None:
    assert align(MemoryMlflow().registry(), "unheard-of", PRODUCTION, None, BY) is None


@pytest.mark.parametrize(("stage", "alias"), [("2", "1"), ("1", "2")], ids=["by the stage", "by the alias"])
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("at", range(1, 5))
def test_killed_at_any_change_the_next_alignment_completes_it(stage: str, alias: str, at: int, restarted: bool) -> None:
    mlflow = scene("1", "1")
    align(mlflow.registry(), "m", PRODUCTION, None, BY)
    mlflow.versions["1"]["stage"], mlflow.versions[stage]["stage"] = "Archived", "Production"
    mlflow.aliases["production"] = alias
    dying = DyingTransport(at, answered=True, inner=mlflow)
    with pytest.raises(Killed):
        align(Registry("http://mlflow.test", transport=dying), "m", PRODUCTION, "1", BY)

    align(mlflow.registry(), "m", PRODUCTION, None if restarted else "1", BY)

    assert names(mlflow) == ("2", "2")
    arrivals = [(event.action, event.version) for event in read(mlflow.registry(), "m")]
    assert arrivals == [("elsewhere", "2"), ("elsewhere", "1")]
    assert align(mlflow.registry(), "m", PRODUCTION, "2", BY) is None
