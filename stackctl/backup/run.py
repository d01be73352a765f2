"""``python -m stackctl.backup.run``: takes a snapshot where the data is, and says how far it is in lines of JSON.

It is configured by its environment alone (``stackctl.backup.sources``). ``STACKCTL_BACKUP_STOP_AT`` names a step
(``stackctl.backup.snapshot.STEPS``, or ``object:N``) after which the process kills itself: tests end backups so.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping

from stackctl.backup.events import Hooks, nothing, to_stdout
from stackctl.backup.place import Place
from stackctl.backup.repository import Repository
from stackctl.backup.sources import Sources
from stackctl.errors import StackctlError


def main() -> int:
    """Take a snapshot and return the exit status."""
    os.umask(0o077)
    signal.signal(signal.SIGTERM, _end)
    try:
        place = Place.from_env()
        from stackctl.backup.job import run

        return run(
            place.stack,
            Sources.from_env(),
            Repository(place.repository),
            to_stdout,
            stopper(os.environ),
        ).exit
    except StackctlError as error:
        to_stdout("end", status="failed", exit=error.code, message=error.message, hint=error.hint, snapshot=None)
        return error.code
    except KeyboardInterrupt:
        message = "The backup was interrupted; the snapshots before are as they were."
        to_stdout("end", status="failed", exit=130, message=message, hint=None, snapshot=None)
        return 130


def stopper(environ: Mapping[str, str]) -> Hooks:
    """Return hooks that kill this process at the step that ``STACKCTL_BACKUP_STOP_AT`` names."""
    wanted, _, number = environ.get("STACKCTL_BACKUP_STOP_AT", "").partition(":")
    if not wanted:
        return nothing
    left = [int(number or 1)]

    def stop(step: str) -> None:
        if step == wanted:
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return stop


def _end(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
