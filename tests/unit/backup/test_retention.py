"""Retention: restic's rules, and what must hold whatever the policy, the clock and the snapshots are."""

from __future__ import annotations

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
    Size,
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


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Taken], list[str]]:
    snapshots = taken(*draw(st.lists(moments, max_size=30)))
    marks = draw(st.lists(st.sampled_from(sorted(names(snapshots))), unique=True)) if snapshots else []
    return snapshots, marks


def made(scene: tuple[list[Taken], list[str]], policy: Policy, now: datetime = NOW, shrunk: str | None = None) -> Plan:
    return plan(scene[0], policy, now=now, verified=scene[1], shrunk=shrunk)


@examples
@given(scenes(), policies)
def test_every_snapshot_is_either_kept_with_a_reason_or_removed(
    scene: tuple[list[Taken], list[str]], policy: Policy
) -> None:
    decided = made(scene, policy)
    assert set(decided.keep) | set(decided.remove) == names(scene[0])
    assert not set(decided.keep) & set(decided.remove)
    assert all(decided.keep.values())


@examples
@given(scenes(), policies)
def test_the_last_verified_one_is_never_removed(scene: tuple[list[Taken], list[str]], policy: Policy) -> None:
    decided = made(scene, policy)
    past = [each for each in scene[0] if each.id in scene[1] and each.at <= NOW + CLOCK_SLACK]
    if past:
        newest = max(past, key=lambda each: (each.at, each.id))
        assert LAST_VERIFIED in decided.keep[newest.id]
    else:
        assert not decided.remove


@examples
@given(scenes(), policies)
def test_a_snapshot_dated_in_the_future_is_kept_and_changes_nothing_for_the_others(
    scene: tuple[list[Taken], list[str]], policy: Policy
) -> None:
    decided = made(scene, policy)
    past = [each for each in scene[0] if each.at <= NOW + CLOCK_SLACK]
    without = made((past, [name for name in scene[1] if name in names(past)]), policy)
    assert decided.remove == without.remove
    assert all(decided.keep[each.id] == (FUTURE,) for each in scene[0] if each not in past)


@examples
@given(scenes(), policies)
def test_nothing_is_removed_after_the_source_shrank(scene: tuple[list[Taken], list[str]], policy: Policy) -> None:
    decided = made(scene, policy, shrunk="the source shrank")
    assert (decided.remove, decided.refused) == ((), "the source shrank")


@examples
@given(scenes(), policies)
def test_pruning_again_removes_nothing_more(scene: tuple[list[Taken], list[str]], policy: Policy) -> None:
    first = made(scene, policy)
    left = [each for each in scene[0] if each.id not in first.remove]
    assert made((left, [name for name in scene[1] if name in names(left)]), policy).remove == ()


@examples
@given(scenes(), policies)
def test_a_policy_that_keeps_more_removes_less(scene: tuple[list[Taken], list[str]], policy: Policy) -> None:
    more = Policy(policy.last + 1, policy.daily, policy.weekly, policy.monthly, policy.within)
    assert set(made(scene, more).remove) <= set(made(scene, policy).remove)


@examples
@given(scenes(), policies, st.timedeltas(timedelta(days=-8), timedelta(days=8)))
def test_a_clock_that_is_wrong_never_removes_all_that_is_verified(
    scene: tuple[list[Taken], list[str]], policy: Policy, wrong: timedelta
) -> None:
    decided = made(scene, policy, NOW + wrong)
    assert not scene[1] or set(scene[1]) - set(decided.remove)


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


FULL, LESS = Size(100, 1000), Size(40, 1000)


def test_a_source_that_lost_more_than_its_share_is_told_and_stays_told_until_somebody_accepts() -> None:
    sizes = [("a", FULL), ("b", LESS)]
    assert shrinkage(sizes, 0.5) == "the source shrank: b has 60% fewer files than a"
    assert shrinkage([*sizes, ("c", LESS)], 0.5) is not None
    assert shrinkage([*sizes, ("c", LESS)], 0.5, accepted="b") is None
    assert shrinkage(sizes, 0.7) is None


def test_an_emptied_source_is_always_told() -> None:
    assert shrinkage([("a", FULL), ("b", Size(0, 0))], 1.0) is None  # all may go, by choice
    assert shrinkage([("a", FULL), ("b", Size(0, 0))], 0.99) is not None
