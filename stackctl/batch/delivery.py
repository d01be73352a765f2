"""Brings what lies in an outbox to MLflow: in order, each item as if once, however often it is tried.

MLflow's calls to log values, upload files and end runs may be repeated with the same content. Creating a run may not:
it carries its name in the outbox as a tag, and where a creation was tried before and nobody knows how it went, MLflow
is asked for the run of that tag first.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from stackctl.batch.outbox import Item, Outbox, Waiting, delivering
from stackctl.errors import StackctlError
from stackctl.models.rest import NOT_FOUND, Rest, RestError

ITEM = "stackctl.batch.item"
"""On a run in MLflow: which run of which outbox it is."""
EXPERIMENT = "experiment"
AT_ONCE = 100
METRICS_AT_ONCE = 1000  # MLflow's own limits for one call
PROXIED = "mlflow-artifacts"
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between tries while MLflow takes nothing."""


class Refused(StackctlError):
    """MLflow will never take this item."""


class Delivery:
    """Delivers one outbox.

    Args:
        outbox: what waits.
        rest: MLflow.
        folder: where the files lie that are to be uploaded.
    """

    def __init__(self, outbox: Outbox, rest: Rest, folder: Path) -> None:
        self._outbox = outbox
        self._rest = rest
        self._folder = folder

    def some(self) -> int:
        """Deliver the oldest items and return how many were; 0: nothing waits.

        Raises:
            StackctlError: MLflow does not take anything now; what was not delivered stays.
        """
        waiting = self._outbox.waiting(AT_ONCE)
        if not waiting:
            return 0
        group = _loggable_together(waiting)
        try:
            known = self._send(group)
        except (Refused, RestError) as error:
            for each in group:
                self._outbox.refused(each, error.message)
        else:
            self._outbox.delivered([each.number for each in group], known)
        return len(group)

    def _send(self, group: Sequence[Waiting]) -> dict[str, str]:
        first = group[0]
        match first.item.kind:
            case "run":
                return self._create(first)
            case "log":
                self._log(first.item.run, [each.item for each in group])
            case "file":
                self._upload(first.item)
            case "end":
                body = {"run_id": self._run_id(first.item.run), **first.item.body}
                self._rest.call("POST", "runs/update", body=body)
        return {}

    def _create(self, waiting: Waiting) -> dict[str, str]:
        item = waiting.item
        experiment = self._experiment(item.body["experiment"])
        run = self._find(experiment, item.body["tags"][ITEM]) if waiting.tried else None
        if run is None:
            tags = dict(item.body["tags"])
            if parent := item.body.get("parent"):
                tags["mlflow.parentRunId"] = self._run_id(parent)
            body = {
                "experiment_id": experiment,
                "run_name": item.body["name"],
                "start_time": item.body["start_time"],
                "tags": _pairs(tags),
            }
            self._outbox.trying(waiting.number)
            run = self._rest.call("POST", "runs/create", body=body)["run"]
        info = run["info"]
        return {f"run:{item.run}": str(info["run_id"]), f"artifacts:{item.run}": str(info.get("artifact_uri", ""))}

    def _find(self, experiment: str, tag: str) -> dict[str, Any] | None:
        body = {"experiment_ids": [experiment], "filter": f"tags.`{ITEM}` = '{tag}'", "max_results": 1}
        runs: list[dict[str, Any]] = self._rest.call("POST", "runs/search", body=body).get("runs", [])
        return runs[0] if runs else None

    def _experiment(self, name: str) -> str:
        known = self._outbox.known(EXPERIMENT)
        if known is None:
            known = experiment_id(self._rest, name)
            self._outbox.remember(EXPERIMENT, known)
        return known

    def _log(self, run: str, items: Sequence[Item]) -> None:
        for name, limit in (("params", 100), ("tags", 100), ("metrics", METRICS_AT_ONCE)):
            entries = [entry for item in items for entry in item.body.get(name, [])]
            for begin in range(0, len(entries), limit):
                body = {"run_id": self._run_id(run), name: entries[begin : begin + limit]}
                self._rest.call("POST", "runs/log-batch", body=body)

    def _upload(self, item: Item) -> None:
        self._run_id(item.run)
        parts = urlsplit(self._outbox.known(f"artifacts:{item.run}") or "")
        if parts.scheme != PROXIED:
            raise Refused(
                f"MLflow keeps the files of this run at {parts.geturl() or 'no place'}, out of its own reach."
            )
        file = self._folder / item.body["file"]
        if not file.is_file():
            raise Refused(f"{file.name} is not there any more.")
        base = f"{urlsplit(self._rest.uri).scheme}://{parts.netloc}" if parts.netloc else self._rest.uri
        path = quote(f"{parts.path.strip('/')}/{item.body['file']}")
        self._rest.upload(f"{base}/api/2.0/mlflow-artifacts/artifacts/{path}", file)

    def _run_id(self, run: str) -> str:
        found = self._outbox.known(f"run:{run}")
        if found is None:
            raise Refused(f"The run {run} was not created.")
        return found


class Courier(threading.Thread):
    """Delivers an outbox for as long as its run goes on.

    Args:
        delivery: of the outbox.
        outbox: the same outbox.
        folder: of the run; the right to deliver is held there.
        say: told ``connected`` or ``unreachable: WHY`` when that changes.
    """

    def __init__(self, delivery: Delivery, outbox: Outbox, folder: Path, say: Callable[[str], None]) -> None:
        super().__init__(name="mlflow-courier", daemon=True)
        self._delivery = delivery
        self._outbox = outbox
        self._folder = folder
        self._say = say
        self._changed = threading.Event()
        self._ending = threading.Event()
        self._state = ""

    def wake(self) -> None:
        """There is something new."""
        self._changed.set()

    def finish(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds until everything is delivered; return how many items are left."""
        self._ending.set()
        self._changed.set()
        if self.ident is not None:
            self.join(timeout)
        try:
            return self._outbox.left()
        except sqlite3.Error:
            return 0

    def run(self) -> None:
        """Deliver until the run ends and nothing is left, or MLflow takes nothing at its end."""
        last = False
        while True:
            with delivering(self._folder) as mine:
                if mine:
                    self._deliver()
                    return
            if last:
                return
            last = self._ending.wait(PAUSES[0])  # a command that looked at the run delivers at this moment

    def _deliver(self) -> None:
        failures = 0
        while True:
            if failures:
                self._ending.wait(PAUSES[min(failures, len(PAUSES)) - 1])
            else:
                self._changed.wait()
            ending = self._ending.is_set()
            self._changed.clear()
            failures = 0 if self._everything() else failures + 1
            if ending:
                return

    def _everything(self) -> bool:
        try:
            while self._delivery.some():
                pass
        except (StackctlError, sqlite3.Error, OSError) as error:
            self._tell(f"unreachable: {getattr(error, 'message', error)}")
            return False
        self._tell("connected")
        return True

    def _tell(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._say(state)


def experiment_id(rest: Rest, name: str) -> str:
    """Return the id of an experiment, which is made where there is none and restored where it was deleted."""
    try:
        found = rest.get("experiments/get-by-name", {"experiment_name": name})["experiment"]
    except RestError as error:
        if error.error_code != NOT_FOUND:
            raise
        try:
            return str(rest.call("POST", "experiments/create", body={"name": name})["experiment_id"])
        except RestError:  # somebody else was faster
            found = rest.get("experiments/get-by-name", {"experiment_name": name})["experiment"]
    if found.get("lifecycle_stage") == "deleted":
        rest.call("POST", "experiments/restore", body={"experiment_id": found["experiment_id"]})
    return str(found["experiment_id"])


def _loggable_together(waiting: Sequence[Waiting]) -> Sequence[Waiting]:
    """Return the first item and, where it logs values, those right after it that log values of the same run."""
    first, count = waiting[0].item, 1
    if first.kind == "log":
        while count < len(waiting) and (waiting[count].item.kind, waiting[count].item.run) == ("log", first.run):
            count += 1
    return waiting[:count]


def _pairs(entries: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in entries.items()]
