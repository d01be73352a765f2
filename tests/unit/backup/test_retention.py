"""Retention: restic's rules, and what must hold whatever the policy, the clock and the snapshots are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackctl.backup.retention import (
    CLOCK_SLACK,
    FUTURE,
    LAST_VERIFIED,
    Plan,
    Policy,
    moment_before,
    plan,
    shrinkage,
)
from stackctl.errors import UsageError

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Taken:
    id: str
    at: datetime


def taken(*moments: datetime) -> list[Taken]:
    return [Taken(f"s{number:03}", at) for number, at in enumerate(moments)]


def daily(count: int) -> list[Taken]:
    """Return one snapshot per day, the newest of an hour ago; the oldest is s000."""
    return taken(*(NOW - timedelta(days=back, hours=1) for back in reversed(range(count))))


def names(snapshots: list[Taken]) -> set[str]:
    return {each.id for each in snapshots}


counts = st.integers(0, 6)
policies = st.builds(
    Policy, last=counts, daily=counts, weekly=counts, monthly=counts, within=st.none() | st.sampled_from(["3d", "1m2h"])
).filter(lambda policy: not policy.empty)
moments = st.integers(-5000, 2000).map(lambda hours: NOW + timedelta(hours=hours))


@dataclass(frozen=True)
class History:
    """Snapshots, which of them are verified, and which are not right, with their wrong files."""

    snapshots: list[Taken]
    verified: set[str]
    damaged: dict[str, list[str]]

    def only(self, snapshots: Iterable[Taken]) -> History:
        """Return the same without the other snapshots."""
        left = list(snapshots)
        damaged = {name: files for name, files in self.damaged.items() if name in names(left)}
        return History(left, self.verified & names(left), damaged)

    def plan(self, policy: Policy, now: datetime = NOW, shrunk: str | None = None) -> Plan:
        """Return what is decided."""
        return plan(self.snapshots, policy, now=now, verified=self.verified, damaged=self.damaged, shrunk=shrunk)

    def past(self, now: datetime = NOW) -> list[Taken]:
        """Return those that are not dated in the future, newest first."""
        past = (each for each in self.snapshots if each.at <= now + CLOCK_SLACK)
        return sorted(past, key=lambda each: (each.at, each.id), reverse=True)


STATES = st.sampled_from(("verified", "verified", "unproven", "damaged", "incomplete"))


@st.composite
def histories(draw: st.DrawFn) -> History:
    snapshots = taken(*draw(st.lists(moments, max_size=30)))
    states = {each.id: draw(STATES) for each in snapshots}
    verified = {name for name, state in states.items() if state == "verified"}
    files = {"damaged": ["db/mlflow.db"], "incomplete": list[str]()}
    return History(snapshots, verified, {name: files[state] for name, state in states.items() if state in files})


@examples
@given(histories(), policies)
def test_every_snapshot_is_either_kept_with_a_reason_or_removed(history: History, policy: Policy) -> None:
    decided = history.plan(policy)
    assert set(decided.keep) | set(decided.remove) == names(history.snapshots)
    assert not set(decided.keep) & set(decided.remove)
    assert all(decided.keep.values())


@examples
@given(histories(), policies)
def test_the_last_verified_one_is_never_removed(history: History, policy: Policy) -> None:
    decided = history.plan(policy)
    newest = next((each for each in history.past() if each.id in history.verified), None)
    if newest:
        assert LAST_VERIFIED in decided.keep[newest.id]
    else:
        assert not decided.remove


@examples
@given(histories(), policies)
def test_a_snapshot_dated_in_the_future_is_kept_and_changes_nothing_for_the_others(
    history: History, policy: Policy
) -> None:
    decided = history.plan(policy)
    past = history.past()
    assert decided.remove == history.only(past).plan(policy).remove
    assert all(decided.keep[each.id] == (FUTURE,) for each in history.snapshots if each not in past)


@examples
@given(histories(), policies)
def test_one_that_is_not_right_takes_nobodys_place(history: History, policy: Policy) -> None:
    decided = history.plan(policy)
    right = history.only(each for each in history.snapshots if each.id not in history.damaged).plan(policy)
    if not right.refused and not decided.refused:
        assert set(decided.remove) - set(history.damaged) == set(right.remove)


@examples
@given(histories(), policies)
def test_one_that_is_not_right_stays_as_long_as_it_would_if_it_were(history: History, policy: Policy) -> None:
    healthy = plan(history.snapshots, policy, now=NOW, verified=names(history.snapshots))
    assert set(history.plan(policy).remove) & set(history.damaged) <= set(healthy.remove)


@examples
@given(histories(), policies)
def test_a_damaged_one_stays_until_a_newer_one_is_verified(history: History, policy: Policy) -> None:
    decided = history.plan(policy)
    past = history.past()
    newest = next((number for number, each in enumerate(past) if each.id in history.verified), len(past))
    assert not {each.id for each in past[:newest] if history.damaged.get(each.id)} & set(decided.remove)


@examples
@given(histories(), policies)
def test_nothing_is_removed_after_the_source_shrank(history: History, policy: Policy) -> None:
    decided = history.plan(policy, shrunk="the source shrank")
    assert (decided.remove, decided.refused) == ((), "the source shrank")


@examples
@given(histories(), policies)
def test_pruning_again_removes_nothing_more(history: History, policy: Policy) -> None:
    first = history.plan(policy)
    left = history.only(each for each in history.snapshots if each.id not in first.remove)
    assert left.plan(policy).remove == ()


@examples
@given(histories(), policies)
def test_a_policy_that_keeps_more_removes_less(history: History, policy: Policy) -> None:
    more = Policy(policy.last + 1, policy.daily, policy.weekly, policy.monthly, policy.within)
    assert set(history.plan(more).remove) <= set(history.plan(policy).remove)


@examples
@given(histories(), policies, st.timedeltas(timedelta(days=-8), timedelta(days=8)))
def test_a_clock_that_is_wrong_never_removes_all_that_is_verified(
    history: History, policy: Policy, wrong: timedelta
) -> None:
    decided = history.plan(policy, NOW + wrong)
    assert not history.verified or history.verified - set(decided.remove)


def test_a_bad_disk_does_not_delete_a_years_snapshots() -> None:
    """All but the newest share the damaged file: what the policy keeps of them stays."""
    weekly = taken(*(NOW - timedelta(weeks=back, hours=1) for back in reversed(range(52))))
    damaged = {each.id: ["objects/mlflow/model"] for each in weekly[:-1]}
    decided = plan(weekly, Policy(last=1, monthly=12), now=NOW, verified=["s051"], damaged=damaged)
    assert len(decided.keep) == 12
    assert decided.keep["s051"] == ("last", "monthly", LAST_VERIFIED)


def test_of_two_snapshots_of_a_day_the_right_one_is_the_one_that_is_kept() -> None:
    morning, noon = (NOW - timedelta(days=1, hours=hours) for hours in (3, 1))
    decided = plan(
        taken(morning, noon, NOW),
        Policy(daily=2),
        now=NOW,
        verified=["s000", "s002"],
        damaged={"s001": ["data/photo.png"]},
    )
    assert decided.keep == {"s000": ("daily",), "s001": ("daily",), "s002": ("daily", LAST_VERIFIED)}
    assert plan(taken(morning, noon, NOW), Policy(daily=2), now=NOW, verified=["s002"]).remove == ("s000",)


def test_an_empty_policy_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        plan(daily(3), Policy(), now=NOW, verified=["s000"])


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (Policy(last=2), {"s028", "s029"}),
        (Policy(daily=3), {"s027", "s028", "s029"}),
        # 21 November 2026 is a Saturday; the weeks before end on Sundays: 15, 8, 1 November.
        (Policy(weekly=3), {"s029", "s023", "s016"}),
        (Policy(monthly=2), {"s029", "s008"}),
        (Policy(monthly=9), {"s029", "s008", "s000"}),  # as long as there is room, the oldest one stays
        (Policy(within="2d"), {"s028", "s029"}),
        (Policy(last=1, monthly=2), {"s029", "s008"}),
    ],
)
def test_thirty_days_are_thinned_as_restic_thins_them(policy: Policy, kept: set[str]) -> None:
    decided = plan(daily(30), policy, now=NOW, verified=["s029"])
    assert set(decided.keep) == kept


def test_days_begin_where_the_stack_is() -> None:
    snapshots = taken(datetime(2026, 11, 20, 22, 30, tzinfo=UTC), datetime(2026, 11, 20, 23, 30, tzinfo=UTC))
    assert len(plan(snapshots, Policy(daily=1), now=NOW, verified=["s001"]).keep) == 1
    berlin = timezone(timedelta(hours=1))
    assert len(plan(snapshots, Policy(daily=2, zone=berlin), now=NOW, verified=["s001"]).keep) == 2


def test_durations_count_months_by_the_calendar() -> None:
    assert moment_before(datetime(2026, 3, 31, tzinfo=UTC), "1m") == datetime(2026, 2, 28, tzinfo=UTC)
    assert moment_before(NOW, "1y2m3d4h") == datetime(2025, 9, 18, 4, 0, tzinfo=UTC)


def sizes(*parts: dict[str, dict[str, int]]) -> list[tuple[str, dict[str, dict[str, int]]]]:
    return list(zip("abc", parts, strict=False))


FULL = {"objects/mlflow": {"files": 100, "bytes": 10**9}, "data/inbound": {"files": 10, "bytes": 1000}}
LESS = {"objects/mlflow": {"files": 100, "bytes": 10**9}, "data/inbound": {"files": 4, "bytes": 1000}}


def test_a_part_that_lost_more_than_its_share_is_told_and_stays_told() -> None:
    said = "the source shrank: b has 60% fewer files in data/inbound than a"
    assert shrinkage(sizes(FULL, LESS), 0.5) == said
    assert shrinkage(sizes(FULL, LESS, LESS), 0.5) == said.replace("b has", "c has")
    assert shrinkage(sizes(FULL, LESS), 0.7) is None
    assert shrinkage(sizes(LESS, FULL), 0.5) is None


def test_an_emptied_part_is_told_however_much_there_is_of_others() -> None:
    emptied = {"objects/mlflow": FULL["objects/mlflow"]}
    assert shrinkage(sizes(FULL, emptied), 0.99) == ("the source shrank: b has 100% fewer files in data/inbound than a")
    assert shrinkage(sizes(FULL, {}), 0.5) == (
        "the source shrank: b has 100% fewer files in objects/mlflow than a, 100% fewer files in data/inbound than a"
    )
    assert shrinkage(sizes(FULL, emptied), 1.0) is None, "all may go, by choice"


def test_fewer_bytes_in_as_many_files_are_told_too() -> None:
    truncated = {"data/inbound": {"files": 10, "bytes": 0}}
    assert shrinkage(sizes(FULL, {**FULL, **truncated}), 0.5) == (
        "the source shrank: b has 100% fewer bytes in data/inbound than a"
    )
