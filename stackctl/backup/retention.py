"""Which snapshots are kept, in restic's words and by restic's rules."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from stackctl.errors import UsageError
from stackctl.stack.backup_settings import BackupSettings

LAST_VERIFIED = "last verified"
FUTURE = "dated in the future"
CLOCK_SLACK = timedelta(minutes=5)
"""How far two clocks may differ before a snapshot counts as dated in the future."""
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


@dataclass(frozen=True)
class Size:
    """How much of the source a snapshot holds: files, and their bytes."""

    files: int
    bytes: int


def plan(
    snapshots: Sequence[Dated], policy: Policy, *, now: datetime, verified: Collection[str], shrunk: str | None = None
) -> Plan:
    """Return what ``policy`` keeps and removes.

    A snapshot that is dated in the future is kept and takes nobody's place. The newest verified one is always kept;
    where none is verified, or the source shrank, nothing is removed and the plan says why.

    Args:
        snapshots: the complete ones, in any order.
        policy: what to keep.
        now: the present moment (aware).
        verified: ids of the verified ones.
        shrunk: how the source shrank (``shrinkage``), or None.

    Raises:
        UsageError: the policy is empty: it would keep nothing.
    """
    if policy.empty:
        raise UsageError("The retention policy is empty: it would delete every snapshot.", "Set one of backup.keep_….")
    ordered = sorted(snapshots, key=lambda each: (each.at, each.id), reverse=True)
    past = [each for each in ordered if each.at <= now + CLOCK_SLACK]
    reasons: dict[str, list[str]] = {each.id: [FUTURE] for each in ordered[: len(ordered) - len(past)]}
    for each, why in _kept(past, policy):
        reasons.setdefault(each.id, []).append(why)
    proven = next((each for each in past if each.id in verified), None)
    if proven is not None:
        reasons.setdefault(proven.id, []).append(LAST_VERIFIED)
    remove = tuple(each.id for each in reversed(past) if each.id not in reasons)
    refused = shrunk or (None if proven or not remove else "no snapshot is verified")
    if refused and remove:
        reasons.update({name: ["nothing is deleted now"] for name in remove})
        remove = ()
    return Plan({each.id: tuple(reasons[each.id]) for each in reversed(ordered) if each.id in reasons}, remove, refused)


def shrinkage(sizes: Sequence[tuple[str, Size]], limit: float, accepted: str | None = None) -> str | None:
    """Return in words how the newest snapshot is smaller than one before it by more than ``limit``, or None.

    Args:
        sizes: id and size of each snapshot, oldest first.
        limit: share of files or bytes that may go, 0 to 1.
        accepted: id of the snapshot whose size a person accepted: what is older does not count any more.
    """
    start = next((number for number, (name, _) in enumerate(sizes) if name == accepted), 0)
    since = sizes[start:]
    if len(since) < 2:
        return None
    newest_name, newest = since[-1]
    for unit, now in (("files", newest.files), ("bytes", newest.bytes)):
        before = ((name, size.files if unit == "files" else size.bytes) for name, size in since[:-1])
        name, most = max(before, key=lambda pair: pair[1])
        if most > 0 and now < most * (1 - limit):
            gone = 1 - now / most
            return f"the source shrank: {newest_name} has {gone:.0%} fewer {unit} than {name}"
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
