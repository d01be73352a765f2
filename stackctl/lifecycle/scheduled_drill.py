"""``python -m stackctl.lifecycle.scheduled_drill``: a restore drill where backups are taken, in a container too.

Under Docker that is a container without Docker: the scratch stack is one of the local engine, its services are
processes beside the scheduler, and its files lie in the repository's folder, the only place with room.

Start, success and failure are pinged at ``backup.drill_ping_url``. Where there is none, a failure goes to that of the
backups; nothing else does: a drill that succeeds must not pass for a backup that did.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from stackctl.backup import untold
from stackctl.backup.freshness import Told
from stackctl.backup.pings import ping
from stackctl.backup.restore_places import Live, find
from stackctl.errors import StackctlError
from stackctl.lifecycle.drill import Drilled, practise

FOLDERS = {"store": {"kind": "folder"}}
"""No object store is started for a drill: folders hold the same objects."""


def main() -> int:
    """Drill the snapshot that ``restore`` would take, and print the outcome as an event; exit 3: it does not hold."""
    try:
        live = Live.from_env()
    except StackctlError as error:
        _tell(event="end", status="failed", exit=error.code, message=error.message, hint=error.hint)
        return error.code
    return run(live)


def run(live: Live) -> int:
    """Drill the snapshot that ``restore`` would take; whatever becomes of it is noted in MLflow and pinged."""
    settings = live.settings.backup
    _warn(ping(settings.drill_ping_url, "start"))
    try:
        drilled = _drilled(live)
    except (StackctlError, OSError) as raised:
        error = (
            raised if isinstance(raised, StackctlError) else StackctlError(f"The drill could not be held: {raised}.")
        )
        _warn(_note(live, Told(datetime.now(UTC), "drill", "failed", error=error.message)))
        _warn(ping(settings.drill_ping_url or settings.ping_url, "failure", f"restore drill: {error.message}"))
        _tell(event="end", status="failed", exit=error.code, message=error.message, hint=error.hint)
        return error.code
    if drilled.ok:
        took = f"restored {drilled.snapshot} in {drilled.rto_seconds:.0f} s"
        _warn(ping(settings.drill_ping_url, "success", took))
    else:
        why = f"restore drill of {drilled.snapshot}: {'; '.join(drilled.problems)}"
        _warn(ping(settings.drill_ping_url or settings.ping_url, "failure", why))
    _tell(event="end", status="ok" if drilled.ok else "failed", exit=0 if drilled.ok else 3, **drilled.to_dict())
    return 0 if drilled.ok else 3


def _drilled(live: Live) -> Drilled:
    def note(told: Told, figures: dict[str, float]) -> None:
        _warn(_note(live, told, figures))

    found = find(live.repository, None)
    return practise(found, "local", live.repository.root, _say, note=note, changed=FOLDERS)


def _note(live: Live, told: Told, figures: dict[str, float] | None = None) -> str | None:
    """Note an outcome in MLflow, now or as soon as it answers; return why it is not there yet, or None."""
    try:
        return untold.tell(live.repository, live.stack, told, figures)
    except StackctlError:  # nothing can be kept there
        return untold.tell_now(live.stack, told, figures)


def _say(subject: str, what: str) -> None:
    _tell(event="step", name=subject, state=what)


def _warn(text: str | None) -> None:
    if text:
        _tell(event="warning", text=text)


def _tell(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
