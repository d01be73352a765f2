"""What happened to a model, as tags of the registered model keep it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.memory_mlflow import MemoryMlflow

from stackctl.models import arrivals
from stackctl.models.history import KEPT, VALUE_LIMIT, Action, Event, last_arrival, moment, read, record
from stackctl.models.targets import PRODUCTION, STAGING

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def event(version: str, previous: str | None = None, action: Action = "promote", minute: int = 0) -> Event:
    return Event(moment(NOW + timedelta(minutes=minute)), action, "production", version, previous, "ada@machine#1")


def test_an_event_survives_the_tag_it_is_kept_in() -> None:
    mlflow = MemoryMlflow()
    full = replace(event("2", "1"), reason="it's “better”", figures={"psnr_y": 29.1, "data": "abc", "none": None})
    written = record(mlflow.registry(), "m", full)
    assert read(mlflow.registry(), "m") == [written]
    assert replace(written, id="") == full


def test_events_come_newest_first_and_a_second_record_of_one_changes_nothing() -> None:
    mlflow = MemoryMlflow()
    for minute in (2, 1, 3):
        written = record(mlflow.registry(), "m", event(str(minute), minute=minute))
    record(mlflow.registry(), "m", written)
    assert [entry.version for entry in read(mlflow.registry(), "m")] == ["3", "2", "1"]


def test_the_newest_are_kept_and_arrivals_outlive_what_was_refused() -> None:
    mlflow = MemoryMlflow()
    registry = mlflow.registry()
    record(registry, "m", event("1"))
    for minute in range(1, KEPT + 20):
        record(registry, "m", event("2", "1", "refused", minute))
    events = read(registry, "m")
    assert len(events) == KEPT
    assert events[-1].action == "promote"
    assert events[0].at == moment(NOW + timedelta(minutes=KEPT + 19))


def test_a_value_stays_within_what_every_database_of_mlflow_keeps() -> None:
    mlflow = MemoryMlflow()
    record(
        mlflow.registry(),
        "m",
        replace(event("2"), reason="long " * 5000, figures={f"m{n}": float(n) for n in range(900)}),
    )
    (text,) = mlflow.tags.values()
    assert len(text) <= VALUE_LIMIT
    assert read(mlflow.registry(), "m")[0].version == "2"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "no json", '{"at": "2026"}'])
def test_a_tag_that_is_no_event_is_passed_over(text: str) -> None:
    mlflow = MemoryMlflow()
    mlflow.tags["stackctl.history.x"] = text
    record(mlflow.registry(), "m", event("1"))
    assert [entry.version for entry in read(mlflow.registry(), "m")] == ["1"]


def test_an_action_of_a_newer_stackctl_is_shown_and_is_no_arrival() -> None:
    mlflow = MemoryMlflow()
    document = {**event("9").to_dict(), "action": "teleported"}
    mlflow.tags["stackctl.history.9"] = json.dumps(document)
    (found,) = read(mlflow.registry(), "m")
    assert last_arrival([found], "production") is None


def pile(*steps: tuple[Action, str | None, str]) -> list[Event]:
    events = [event(version, previous, action, minute) for minute, (action, previous, version) in enumerate(steps)]
    return events[::-1]


def test_a_rollback_leads_to_the_version_before_and_the_next_one_further_back() -> None:
    promoted = pile(("promote", None, "1"), ("promote", "1", "2"), ("promote", "2", "3"))
    assert arrivals.earlier(promoted, PRODUCTION, "3") == ["2", "1"]
    back = pile(("promote", None, "1"), ("promote", "1", "2"), ("promote", "2", "3"), ("rollback", "3", "2"))
    assert arrivals.earlier(back, PRODUCTION, "2") == ["1"]


def test_a_rollback_from_a_version_that_came_from_elsewhere_leads_to_the_last_one_known() -> None:
    assert arrivals.earlier(pile(("promote", "1", "2")), PRODUCTION, "5") == ["2", "1"]
    assert arrivals.earlier(pile(("promote", "1", "2"), ("elsewhere", "2", "5")), PRODUCTION, "5") == ["2", "1"]


def test_refusals_and_other_targets_do_not_count_for_a_rollback() -> None:
    events = [replace(event("7"), target="staging"), *pile(("promote", "1", "2"), ("refused", "2", "3"))]
    assert arrivals.earlier(events, PRODUCTION, "2") == ["1"]
    assert arrivals.earlier(events, STAGING, None) == ["7"]


def test_without_history_there_is_nothing_to_roll_back_to() -> None:
    assert arrivals.earlier([], PRODUCTION, "1") == []


def test_what_nobody_recorded_yet_is_told_as_found_now() -> None:
    mlflow = MemoryMlflow()
    registry = mlflow.registry()
    record(registry, "m", event("1"))
    mlflow.aliases["production"] = "1"
    mlflow.versions["2"]["stage"] = "Production"
    newest = arrivals.told(registry.model("m"), NOW + timedelta(hours=1))[0]
    assert (newest.action, newest.version, newest.previous) == ("elsewhere", "2", "1")
    assert newest.reason == "found now, not recorded yet"  # whether a server follows it, nobody asked
