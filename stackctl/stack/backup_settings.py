"""The settings ``backup`` of a stack, as a person edits them in ``stack.yaml``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator


def _like(pattern: str, what: str) -> AfterValidator:
    """Return what refuses a text that has not the form of ``what``, in words."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return AfterValidator(check)


Count = Annotated[int, Field(ge=0, le=100_000)]
Duration = Annotated[str, _like(r"(?=.)(\d+y)?(\d+m)?(\d+d)?(\d+h)?", "a duration, for instance 2m15d")]
Folder = Annotated[str, _like(r"/[^\x00\n'\"\\$:]*", "the absolute path of a folder (without quotes, $, : or \\)")]
PingUrl = Annotated[str, _like(r"https?://[^\s/@]+/\S+", "an address, for instance https://hc.example.org/ping/ID")]
Relative = Annotated[str, _like(r"[A-Za-z0-9_][A-Za-z0-9_./ -]*", "a folder of the stack, for instance data/inbound")]
Remote = Annotated[str, _like(r"[A-Za-z0-9_.@-]+(:\d+)?:/[^\x00\n'\"\\$]*", "a place for rsync: USER@HOST:/FOLDER")]
Repository = Annotated[
    str, _like(r"[A-Za-z0-9/][^\s'\"\\$]*", "a restic repository, for instance s3:https://HOST/BUCKET")
]
Recipient = Annotated[str, _like(r"age1[0-9a-z]{58}", "an age recipient (age1…, as age-keygen -y prints it)")]
UTC = "UTC"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Copies(_Section):
    """Second copies of every snapshot, on other disks or hosts.

    Attributes:
        rsync: ``USER@HOST:/FOLDER`` (``USER@HOST:PORT:/FOLDER``), reached over ssh.
        restic: a restic repository: a folder, ``sftp:…``, ``s3:https://…``.
    """

    rsync: Remote | None = None
    restic: Repository | None = None


class BackupSettings(_Section):
    """When snapshots are taken, of what, where to, how many are kept, and when their absence is an alarm.

    Attributes:
        schedule: a crontab line (five fields) in ``timezone``; None: nothing is scheduled.
        target: folder of the snapshots; None: the stack's own (``var/backups``, or a volume under Docker).
        include: folders of the stack that are in a snapshot beside databases, objects and settings.
        encrypt_to: age recipients that may read the secrets in a snapshot; none: it holds no secrets.
        keep_within: keeps all that are younger, for instance ``2m15d``.
        shrink_limit: share (0 to 1) that the source may lose from one snapshot to the next before nothing is pruned.
        ping_url: a Healthchecks-style address that hears of the start, success and failure of backups.
        drill_schedule: a crontab line for restore drills; None: none.
        drill_ping_url: hears of scheduled drills; None: ``ping_url`` hears of those that fail.
    """

    schedule: str | None = "0 5 * * 6"
    timezone: str = UTC
    target: Folder | None = None
    copies: Copies = Copies()
    include: tuple[Relative, ...] = ("data/inbound", "data/outbound")
    encrypt_to: tuple[Recipient, ...] = ()
    keep_last: Count = 2
    keep_daily: Count = 7
    keep_weekly: Count = 5
    keep_monthly: Count = 12
    keep_within: Duration | None = None
    shrink_limit: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_age_days: Annotated[float, Field(gt=0, le=3660)] = 8
    ping_url: PingUrl | None = None
    drill_schedule: str | None = None
    drill_ping_url: PingUrl | None = None

    @property
    def max_age(self) -> timedelta:
        """The age at which the newest verified snapshot is an alarm."""
        return timedelta(days=self.max_age_days)

    @field_validator("schedule", "drill_schedule")
    @classmethod
    def _crontab_line(cls, line: str | None) -> str | None:
        if line is None or not line.strip():
            return None
        from datetime import datetime

        from cronsim import CronSim, CronSimError

        line = " ".join(line.split())
        if len(line.split()) != 5:
            raise ValueError(f"{line!r} is no crontab line of five fields, for instance 0 5 * * 6")
        try:
            next(CronSim(line, datetime(2026, 1, 1)))  # noqa: DTZ001 - only whether there is a moment
        except (CronSimError, StopIteration) as error:
            raise ValueError(f"{line!r} is no crontab line that ever comes true: {error or 'no such day'}") from None
        return line

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name != UTC:
            try:
                ZoneInfo(name)
            except (ValueError, OSError, LookupError):
                raise ValueError(f"{name!r} is no time zone, for instance Europe/Berlin") from None
        return name

    @field_validator("include")
    @classmethod
    def _inside(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        for folder in folders:
            if ".." in folder.split("/") or folder.split("/")[0] in {"secrets", "var"}:
                raise ValueError(f"{folder!r} cannot be included: name a folder of the stack, not secrets or var")
        return folders

    @model_validator(mode="after")
    def _keeps_something(self) -> BackupSettings:
        if not (self.keep_last or self.keep_daily or self.keep_weekly or self.keep_monthly or self.keep_within):
            raise ValueError("an empty retention policy would delete every snapshot: set one of the keep_…")
        return self
