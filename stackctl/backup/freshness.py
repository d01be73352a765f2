"""How old the newest verified snapshot is: read from tagged runs in MLflow's experiment ``_stack``, by everybody.

It is judged by those who read, never by the scheduler: a scheduler that is gone cannot say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from stackctl.errors import Unhealthy
from stackctl.models.rest import NOT_FOUND, Rest, RestError
from stackctl.models.versions import iso

EXPERIMENT = "_stack"
STACK_TAG = "stackctl.stack"
KIND_TAG = "stackctl.kind"
OUTCOME_TAG = "stackctl.backup.outcome"
SNAPSHOT_TAG = "stackctl.backup.snapshot"
TAKEN_TAG = "stackctl.backup.taken_at"
ERROR_TAG = "stackctl.backup.error"
SINCE_TAG = "stackctl.backup.since."
SLACK = timedelta(minutes=5)
"""How far two clocks may differ before something counts as dated in the future."""
_PAGE = 200
_LONGEST = 2000

Outcome = Literal["verified", "failed", "damaged"]


@dataclass(frozen=True)
class Told:
    """What one tagged run says.

    Attributes:
        at: when the run began.
        kind: ``backup``, ``verify`` or ``drill``.
        outcome: ``verified``: the snapshot is there and proven; ``damaged``: it is not what it was; ``failed``.
        snapshot: the snapshot's id, or None where none came to be.
        taken_at: when the snapshot was taken, or None.
        error: what went wrong.
    """

    at: datetime
    kind: str
    outcome: str
    snapshot: str | None = None
    taken_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True)
class Freshness:
    """What every reader shows.

    Attributes:
        newest_verified: when the newest verified snapshot was taken, or None.
        snapshot: its id.
        last_run: when the newest backup ran, or None.
        last_outcome: what became of it.
        since: when somebody first asked for backups of this stack.
        problem: why this is an alarm, as a sentence, or None.
        note: what a person should know all the same, or None.
    """

    newest_verified: datetime | None = None
    snapshot: str | None = None
    last_run: datetime | None = None
    last_outcome: str | None = None
    since: datetime | None = None
    problem: str | None = None
    note: str | None = None

    @property
    def fresh(self) -> bool:
        """Whether there is a verified snapshot that is young enough."""
        return self.newest_verified is not None and self.problem is None

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document; no ages, so that it changes only when something happens."""
        return {
            "newest_verified": _iso(self.newest_verified),
            "snapshot": self.snapshot,
            "last_run": _iso(self.last_run),
            "last_outcome": self.last_outcome,
            "degraded": self.problem is not None,
            "problem": self.problem,
            "note": self.note,
        }


@dataclass(frozen=True)
class Record:
    """Everything that MLflow holds about backups of one stack, newest first; ``since`` is None without experiment."""

    told: tuple[Told, ...] = ()
    since: datetime | None = None
    there: bool = field(default=True)


def ensure(rest: Rest, stack: str, now: datetime | None = None) -> str:
    """Make the experiment where it is missing, note since when backups are expected, and return its id."""
    try:
        return _ensured(rest, stack, now)
    except (RestError, Unhealthy):  # `up` and the scheduler do it at the same moment: MLflow fails one of the two
        return _ensured(rest, stack, now)


def _ensured(rest: Rest, stack: str, now: datetime | None) -> str:
    found = _experiment(rest)
    if found is None:
        number = str(rest.call("POST", "experiments/create", body={"name": EXPERIMENT})["experiment_id"])
    else:
        number = str(found["experiment_id"])
    if found is not None and found.get("lifecycle_stage") == "deleted":
        rest.call("POST", "experiments/restore", body={"experiment_id": number})
    if f"{SINCE_TAG}{stack}" not in _tags(found or {}):
        body = {"experiment_id": number, "key": f"{SINCE_TAG}{stack}", "value": iso(now or datetime.now(UTC))}
        rest.call("POST", "experiments/set-experiment-tag", body=body)
    return number


def record(rest: Rest, stack: str, told: Told, figures: Mapping[str, float] | None = None) -> None:
    """Write one tagged run with its figures."""
    number = ensure(rest, stack, told.at)
    tags = {
        STACK_TAG: stack,
        KIND_TAG: told.kind,
        OUTCOME_TAG: told.outcome,
        SNAPSHOT_TAG: told.snapshot,
        TAKEN_TAG: _iso(told.taken_at),
        ERROR_TAG: told.error[:_LONGEST] if told.error else None,
    }
    body = {
        "experiment_id": number,
        "run_name": f"{told.kind} {told.snapshot or iso(told.at)}",
        "start_time": _milliseconds(told.at),
        "tags": [{"key": key, "value": value} for key, value in tags.items() if value is not None],
    }
    run_id = rest.call("POST", "runs/create", body=body)["run"]["info"]["run_id"]
    end = datetime.now(UTC)
    if figures:
        metrics = [
            {"key": key, "value": value, "timestamp": _milliseconds(end), "step": 0} for key, value in figures.items()
        ]
        rest.call("POST", "runs/log-batch", body={"run_id": run_id, "metrics": metrics})
    status = "FAILED" if told.outcome in {"failed", "damaged"} else "FINISHED"
    rest.call("POST", "runs/update", body={"run_id": run_id, "status": status, "end_time": _milliseconds(end)})


def fetch(rest: Rest, stack: str) -> Record:
    """Return what MLflow holds about the backups of ``stack``: two calls."""
    found = _experiment(rest)
    if found is None or found.get("lifecycle_stage") == "deleted":
        return Record(there=False)
    since = _moment(_tags(found).get(f"{SINCE_TAG}{stack}"))
    body = {
        "experiment_ids": [found["experiment_id"]],
        "filter": f"tags.`{STACK_TAG}` = '{stack}'",
        "order_by": ["attributes.start_time DESC"],
        "max_results": _PAGE,
    }
    runs = rest.call("POST", "runs/search", body=body).get("runs", [])
    return Record(tuple(told for told in map(_told, runs) if told is not None), since)


def judge(record: Record, max_age: timedelta, now: datetime) -> Freshness:
    """Return how fresh the newest verified snapshot is at ``now``."""
    if not record.there:
        return Freshness(problem=f"MLflow has no experiment {EXPERIMENT}: nothing tells when the last backup was")
    last = next((told for told in record.told if told.kind == "backup"), None)
    newest = newest_verified(record.told, now)
    if last is not None and newest is not None and _is_later(newest, last, record.told):
        last = replace(last, at=newest.taken_at or newest.at, outcome="verified", error=None)
    known = Freshness(
        newest.taken_at if newest else None,
        newest.snapshot if newest else None,
        last.at if last else None,
        last.outcome if last else None,
        record.since,
    )
    problem, note = _verdict(known, max_age, now)
    drill = next((told for told in record.told if told.kind == "drill"), None)
    if drill is not None and drill.outcome == "failed":
        note = f"the restore drill of {_spoken(drill.at)} failed: {_first_line(drill.error)}"
    spoilt = next((told for told in record.told if _on_files(told)), None)
    if spoilt is not None and spoilt.outcome == "damaged":
        note = f"the snapshot {spoilt.snapshot} is damaged: {(spoilt.error or 'see `stackctl backup verify`')[:200]}"
    if last is not None and last.outcome == "failed":
        note = f"the backup of {_spoken(last.at)} failed: {_first_line(last.error)}"
    return Freshness(
        known.newest_verified, known.snapshot, known.last_run, known.last_outcome, known.since, problem, note
    )


def _is_later(newest: Told, last: Told, told: Sequence[Told]) -> bool:
    """Return whether the newest snapshot came after the last run that is known: a restored database forgot its own."""
    forgotten = all(each.kind != "backup" or each.snapshot != newest.snapshot for each in told)
    return forgotten and newest.taken_at is not None and newest.taken_at > last.at


def read(rest: Rest, stack: str, max_age: timedelta, now: datetime | None = None) -> Freshness:
    """Return how fresh the newest verified snapshot of ``stack`` is.

    Raises:
        StackctlError: MLflow does not answer.
    """
    return judge(fetch(rest, stack), max_age, now or datetime.now(UTC))


def newest_verified(told: Sequence[Told], now: datetime) -> Told | None:
    """Return what tells of the newest snapshot whose last word is "verified"; ``told`` is newest first."""
    spoken: set[str] = set()
    found: list[Told] = []
    for each in told:
        if each.snapshot is None or each.snapshot in spoken or not _on_files(each):
            continue
        spoken.add(each.snapshot)
        if each.outcome == "verified" and each.taken_at is not None and each.taken_at <= now + SLACK:
            found.append(each)
    return max(found, key=lambda each: each.taken_at or each.at, default=None)


def _on_files(told: Told) -> bool:
    """Return whether this is a word on every file of a snapshot: a drill reads no more than what it restores."""
    return told.kind != "drill" and told.outcome in {"verified", "damaged"}


def _verdict(known: Freshness, max_age: timedelta, now: datetime) -> tuple[str | None, str | None]:
    """Return the problem and the note."""
    limit = f"{max_age / timedelta(days=1):g} days"
    if known.newest_verified is not None:
        age = now - known.newest_verified
        if age > max_age:
            return f"the newest verified backup is {in_days(age)} old, the limit is {limit}", None
        return None, None
    waited = now - known.since if known.since is not None else None
    if waited is not None and -SLACK <= waited <= max_age:
        return None, "there is no backup yet"
    return "there is no verified backup", None


def in_days(age: timedelta) -> str:
    """Return an age in words: days, or hours or minutes where it is younger."""
    hours = age / timedelta(hours=1)
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours:.1f} hours" if hours >= 1 else f"{max(0.0, hours * 60):.0f} minutes"


def _experiment(rest: Rest) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = rest.get("experiments/get-by-name", {"experiment_name": EXPERIMENT})["experiment"]
    except RestError as error:
        if error.error_code == NOT_FOUND:
            return None
        raise
    return found


def _told(run: Mapping[str, Any]) -> Told | None:
    tags = _tags(run.get("data", {}))
    if KIND_TAG not in tags:
        return None
    at = datetime.fromtimestamp(int(run["info"]["start_time"]) / 1000, UTC)
    return Told(
        at,
        tags[KIND_TAG],
        tags.get(OUTCOME_TAG, ""),
        tags.get(SNAPSHOT_TAG),
        _moment(tags.get(TAKEN_TAG)),
        tags.get(ERROR_TAG),
    )


def _tags(document: Mapping[str, Any]) -> dict[str, str]:
    return {entry["key"]: entry.get("value", "") for entry in document.get("tags", [])}


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _iso(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _first_line(error: str | None) -> str:
    return (error or "no reason is known").splitlines()[0]


def _spoken(moment: datetime) -> str:
    return iso(moment).replace("T", " ").removesuffix(":00Z").removesuffix("Z") + " UTC"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
