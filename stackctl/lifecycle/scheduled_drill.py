"""``python -m stackctl.lifecycle.scheduled_drill``: a restore drill where backups are taken, in a container too.

Under Docker that is a container without Docker: the scratch stack is one of the local engine, its services are
processes beside the scheduler, and its files lie in the repository's folder, the only place with room.
"""

from __future__ import annotations

import contextlib
import json
import sys

from stackctl.errors import StackctlError
from stackctl.lifecycle.drill import practise
from stackctl.models.rest import Rest

FOLDERS = {"store": {"kind": "folder"}}
"""No object store is started for a drill: folders hold the same objects."""


def main() -> int:
    """Drill the latest snapshot and print the outcome as an event; exit 3 where the snapshot does not hold."""
    from stackctl.backup.restore_places import Live

    try:
        live = Live.from_env()
        found = live.repository.find()
        rest = Rest(live.stack.endpoints.mlflow, live.stack.mlflow_token())
        with contextlib.closing(rest):
            drilled = practise(found, live.stack.name, "local", live.repository.root, _say, rest=rest, changed=FOLDERS)
    except StackctlError as error:
        _tell(event="end", status="failed", exit=error.code, message=error.message, hint=error.hint)
        return error.code
    _tell(event="end", status="ok" if drilled.ok else "failed", exit=0 if drilled.ok else 3, **drilled.to_dict())
    return 0 if drilled.ok else 3


def _say(subject: str, what: str) -> None:
    _tell(event="step", name=subject, state=what)


def _tell(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
