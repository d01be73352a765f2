from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from stackctl.errors import StackctlError
from stackctl.models.journal import Journal

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_a_journal_survives_the_tag_it_is_kept_in() -> None:
    journal = Journal.begin("1", "2", by="ada@machine#0123", now=NOW)
    assert Journal.parse(journal.to_json()) == journal


def test_the_tag_says_from_and_to_and_who_and_when() -> None:
    document = json.loads(Journal.begin(None, "1", by="ada@machine#0123", now=NOW).to_json())
    assert document["from"] is None
    assert document["to"] == "1"
    assert document["phase"] == "preparing"
    assert document["by"] == "ada@machine#0123"
    assert document["started_at"] == "2026-11-21T12:00:00Z"


def test_two_journals_never_share_an_id() -> None:
    assert len({Journal.begin(None, "1", by="ada", now=NOW).id for _ in range(100)}) == 100


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "not json", '{"schema_version": 1, "id": "x"}'])
def test_a_tag_that_is_no_journal_is_reported_with_what_to_do(text: str) -> None:
    with pytest.raises(StackctlError) as caught:
        Journal.parse(text)
    assert "stackctl.promotion" in caught.value.message
    assert caught.value.hint is not None


def test_a_journal_of_a_newer_stackctl_is_left_alone() -> None:
    document = json.loads(Journal.begin("1", "2", by="ada", now=NOW).to_json())
    with pytest.raises(StackctlError, match="schema version 2"):
        Journal.parse(json.dumps({**document, "schema_version": 2}))


def test_the_age_counts_from_the_start_and_is_never_negative() -> None:
    journal = Journal.begin("1", "2", by="ada", now=NOW)
    assert journal.age(NOW + timedelta(minutes=5)) == timedelta(minutes=5)
    assert journal.age(NOW - timedelta(minutes=5)) == timedelta(0)
