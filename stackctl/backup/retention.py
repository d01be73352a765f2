"""Which snapshots are kept, in restic's words and by restic's rules."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import takewhile
from typing import Protocol

from stackctl.errors import UsageError
from stackctl.stack.backup_settings import BackupSettings

LAST_VERIFIED = "last verified"
FUTURE = "dated in the future"
NONE_NEWER = "no newer one is verified"
CLOCK_SLACK = timedelta(minutes=5)
"""How far two clocks may differ before a snapshot counts as dated in the future."""
Sizes = Mapping[str, Mapping[str, int]]
"""How much of the source a snapshot holds: for each part (``data/inbound``), amounts by unit (files, bytes, runs)."""
_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)m)?(?:(\d+)d)?(?:(\d+)h)?")


class Dated(Protocol):
    """A snapshot as retention sees it: its id, and when it was taken (aware)."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def at(self) -> datetime:
        """When it was taken."""


@dataclass(frozen=True)
class Policy:
    """How many are kept: the newest ``last``, those of so many days, weeks and months, and all younger than ``within``.

    Attributes:
        within: a duration such as ``2y5m7d3h``, counted back from the newest snapshot; None: no such rule.
        zone: where days, weeks and months begin.
    """

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    within: str | None = None
    zone: tzinfo = field(default=UTC)

    @classmethod
    def of(cls, settings: BackupSettings, zone: tzinfo = UTC) -> Policy:
        """Return the policy that the settings describe."""
        return cls(
            settings.keep_last,
            settings.keep_daily,
            settings.keep_weekly,
            settings.keep_monthly,
            settings.keep_within,
            zone,
        )

    @property
    def empty(self) -> bool:
        """Whether it would keep nothing."""
        return not (self.last or self.daily or self.weekly or self.monthly or self.within)


@dataclass(frozen=True)
class Plan:
    """What to keep, each with why, and what to remove, oldest first; ``refused`` says why nothing may be removed."""

    keep: Mapping[str, tuple[str, ...]]
    remove: tuple[str, ...]
    refused: str | None = None


def plan(
    snapshots: Sequence[Dated],
    policy: Policy,
    *,
    now: datetime,
    verified: Collection[str],
    damaged: Mapping[str, Collection[str]] | None = None,
    shrunk: str | None = None,
) -> Plan:
    """Return what ``policy`` keeps and removes.

    A snapshot that is dated in the future is kept and takes nobody's place. Nor does one that is not right; it stays as
    long as the policy would keep it if it were, and one with wrong files until a newer one is verified: its other files
    may be the last ones of their time. The newest verified one is always kept; where none is verified, or the source
    shrank, nothing is removed and the plan says why.

    Args:
        snapshots: the complete ones, in any order.
        policy: what to keep.
        now: the present moment (aware).
        verified: ids of the verified ones.
        damaged: ids of those that are not right, and their wrong files (none: what they hold was not whole even when
            they were taken).
        shrunk: how the source shrank (``shrinkage``), or None.

    Raises:
        UsageError: the policy is empty: it would keep nothing.
    """
    if policy.empty:
        raise UsageError("The retention policy is empty: it would delete every snapshot.", "Set one of backup.keep_….")
    damaged = damaged or {}
    ordered = sorted(snapshots, key=lambda each: (each.at, each.id), reverse=True)
    past = [each for each in ordered if each.at <= now + CLOCK_SLACK]
    reasons: dict[str, list[str]] = {each.id: [FUTURE] for each in ordered[: len(ordered) - len(past)]}
    right = [each for each in past if each.id not in damaged]
    for each, why in (*_kept(right, policy), *(pair for pair in _kept(past, policy) if pair[0].id in damaged)):
        reasons.setdefault(each.id, []).append(why)
    proven = next((each for each in right if each.id in verified), None)
    if proven is not None:
        reasons.setdefault(proven.id, []).append(LAST_VERIFIED)
    for each in takewhile(lambda each: each is not proven, past):
        if damaged.get(each.id) and each.id not in reasons:
            reasons[each.id] = [NONE_NEWER]
    remove = tuple(each.id for each in reversed(past) if each.id not in reasons)
    refused = shrunk or (None if proven or not remove else "no snapshot is verified")
    if refused and remove:
        reasons.update({name: ["nothing is deleted now"] for name in remove})
        remove = ()
    return Plan({each.id: tuple(reasons[each.id]) for each in reversed(ordered) if each.id in reasons}, remove, refused)


def shrinkage(sizes: Sequence[tuple[str, Sizes]], limit: float) -> str | None:
    """Return in words how the newest snapshot is smaller than one before it by more than ``limit``, or None.

    Every part counts by itself: an emptied folder of photos does not hide behind gigabytes of artifacts.

    Args:
        sizes: id and size of each snapshot that counts, oldest first; what is missing in one is 0.
        limit: share that may go of what a part holds, 0 to 1.
    """
    if len(sizes) < 2:
        return None
    *earlier, (newest, size) = sizes
    found = []
    for part in dict.fromkeys(part for _, each in earlier for part in each):
        before = [(name, each.get(part, {})) for name, each in earlier]
        if less := _less(part, size.get(part, {}), before, limit):
            found.append(less)
    return f"the source shrank: {newest} has {', '.join(found)}" if found else None


def _less(
    part: str, now: Mapping[str, int], before: Sequence[tuple[str, Mapping[str, int]]], limit: float
) -> str | None:
    """Return how a part is smaller than the largest before: in the first unit in which it is."""
    for unit in dict.fromkeys(unit for _, amounts in before for unit in amounts):
        name, most = max(((name, amounts.get(unit, 0)) for name, amounts in before), key=lambda pair: pair[1])
        left = now.get(unit, 0)
        if most > 0 and left < most * (1 - limit):
            return f"{1 - left / most:.0%} fewer {unit} in {part} than {name}"
    return None


def _kept(past: Sequence[Dated], policy: Policy) -> list[tuple[Dated, str]]:
    """Return every pair of snapshot (newest first) and rule that keeps it: restic's ``ApplyPolicy``."""
    kept: list[tuple[Dated, str]] = []
    if policy.within and past:
        begin = moment_before(past[0].at, policy.within)
        kept += [(each, f"within {policy.within}") for each in past if each.at > begin]
    buckets: tuple[tuple[str, int, Callable[[int, datetime], object]], ...] = (
        ("last", policy.last, lambda number, _: number),
        ("daily", policy.daily, lambda _, local: local.date()),
        ("weekly", policy.weekly, lambda _, local: local.isocalendar()[:2]),
        ("monthly", policy.monthly, lambda _, local: (local.year, local.month)),
    )
    for name, count, bucket in buckets:
        left, seen = count, None
        for number, each in enumerate(past):
            value = bucket(number, each.at.astimezone(policy.zone))
            # The oldest one is kept as long as a rule has room: the history reaches back as far as it can.
            if left and (value != seen or number == len(past) - 1):
                kept.append((each, name))
                left, seen = left - 1, value
    return kept


def moment_before(moment: datetime, duration: str) -> datetime:
    """Return the moment that lies ``duration`` (``2y5m7d3h``) before ``moment``, months by the calendar.

    Raises:
        UsageError: it is no such duration.
    """
    found = _DURATION.fullmatch(duration)
    if found is None or not duration:
        raise UsageError(f"{duration!r} is no duration.", "Write for instance 2y5m7d3h.")
    years, months, days, hours = (int(number or 0) for number in found.groups())
    total = moment.year * 12 + moment.month - 1 - years * 12 - months
    if total < 12:
        return datetime.min.replace(tzinfo=UTC)
    year, month = divmod(total, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    try:
        return moment.replace(year=year, month=month + 1, day=day) - timedelta(days=days, hours=hours)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
