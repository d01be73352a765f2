"""The age of the newest verified backup, as the model server tells it: on ``/model`` and among its metrics."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

from stackctl.backup.freshness import Record, fetch, judge
from stackctl.errors import StackctlError
from stackctl.models.rest import Rest
from stackctl.stack import Stack

LOOK_SECONDS = 60.0
TIMEOUT_SECONDS = 5.0


class BackupAge:
    """Asks MLflow now and then; what it last answered stands while it does not, and grows older.

    Args:
        stack: the stack whose backups count.
        max_age: the age from which the newest verified one is an alarm.
    """

    def __init__(self, stack: Stack, max_age: timedelta) -> None:
        self._stack = stack
        self._max_age = max_age
        self._known: Record | None = None

    async def run(self) -> None:
        """Look until cancelled; an MLflow that does not answer is looked at again."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Ask MLflow once."""
        with contextlib.suppress(StackctlError, KeyError, TypeError, ValueError):  # it answers, but nothing of use
            self._known = await asyncio.to_thread(self._fetch)

    def document(self) -> dict[str, Any] | None:
        """Return what ``/model`` says of backups; None until MLflow has answered once."""
        if self._known is None:
            return None
        return judge(self._known, self._max_age, datetime.now(UTC)).to_dict()

    def figures(self) -> dict[str, float]:
        """Return the metrics: ages in seconds where there is something to measure from, and whether it is an alarm."""
        if self._known is None:
            return {}
        now = datetime.now(UTC)
        found = judge(self._known, self._max_age, now)
        moments = {"verified": found.newest_verified, "run": found.last_run}
        ages = {name: (now - moment).total_seconds() for name, moment in moments.items() if moment is not None}
        return {**ages, "degraded": float(found.problem is not None)}

    def _fetch(self) -> Record:
        rest = Rest(self._stack.endpoints.mlflow, self._stack.mlflow_token(), timeout=TIMEOUT_SECONDS)
        try:
            return fetch(rest, self._stack.name)
        finally:
            rest.close()
