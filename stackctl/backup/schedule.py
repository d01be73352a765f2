"""When the next backup is due: a crontab line in a time zone, as data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from stackctl.errors import UsageError


@dataclass(frozen=True)
class Schedule:
    """A crontab line, evaluated in a time zone.

    Attributes:
        line: five fields: minute, hour, day of month, month, day of week.
        timezone: name of the time zone, for instance ``Europe/Berlin``.
    """

    line: str
    timezone: str = "UTC"

    @property
    def zone(self) -> tzinfo:
        """The time zone; UTC needs no database of zones."""
        return UTC if self.timezone == "UTC" else ZoneInfo(self.timezone)

    def after(self, moment: datetime) -> datetime:
        """Return the first moment after ``moment`` (aware) at which the line is due, in UTC.

        Debian's cron is followed where clocks change: what falls into the missing hour runs at its end, what falls into
        the doubled hour runs once.

        Raises:
            UsageError: the line never comes true.
        """
        from cronsim import CronSim, CronSimError

        try:
            return next(CronSim(self.line, moment.astimezone(self.zone))).astimezone(UTC)
        except (CronSimError, StopIteration) as error:
            message = f"The schedule {self.line!r} never comes true: {error or 'there is no such day'}."
            raise UsageError(message, "Edit backup.schedule in stack.yaml.") from None

    def due(self, since: datetime, now: datetime) -> bool:
        """Return whether a moment of the line lies after ``since`` and not after ``now``.

        A machine that slept at that moment catches up once. ``since`` in the future (a clock that was set back) counts
        as now.
        """
        return self.after(min(since, now)) <= now

    def __str__(self) -> str:
        return f"{self.line} ({self.timezone})"
