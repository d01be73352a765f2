"""The four steps of a batch, each done by itself and each a run of its own in MLflow."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.batch.alone import BATCHES
from stackctl.batch.runs import Run
from stackctl.batch.steps import MANAGE_WORKERS, PREPARE_ENVIRONMENT, PREPARE_MODEL, PROCESS_BATCH, Step, step
from stackctl.batch.tracking import deliver, tell_step
from stackctl.distribution import environment_hash
from stackctl.errors import StackctlError, UsageError
from stackctl.lifecycle.batch import INSIDE, Wanted, launch
from stackctl.lifecycle.batch_carrier import Carrier
from stackctl.lifecycle.batch_model import batch_model
from stackctl.process import ProcessFailed

if TYPE_CHECKING:
    from stackctl.engines import Engine, Progress
    from stackctl.stack import Stack

UNDELIVERED = "MLflow has not got everything of this step; the next step brings it."


@dataclass(frozen=True)
class Steps:
    """Does steps for one stack.

    Attributes:
        stack: whose model, store and MLflow.
        engine: runs what needs the workers' packages.
        progress: told what happens.
        warn: told what a person must know.
        experiment: MLflow's, by name.
    """

    stack: Stack
    engine: Engine
    progress: Progress
    warn: Callable[[str], None]
    experiment: str = "batch"

    def prepare_model(self, words: str | None) -> dict[str, Any]:
        """Resolve a version and lay its files where workers find them; return what it is.

        Raises:
            StackctlError: it cannot be had.
        """
        with self._told(PREPARE_MODEL) as done:
            model = batch_model(self.stack, words, self._batch, self.progress, self.warn)
            done.params.update(name=model.name, version=model.version, digest=model.digest)
        return {**done.params, "network": str(self._batch / model.network)}

    def prepare_environment(self) -> dict[str, Any]:
        """Make the workers' environment where it is not there; return its hash.

        Raises:
            StackctlError: it cannot be made.
        """
        with self._told(PREPARE_ENVIRONMENT) as done:
            self.engine.prepare_workers(self.progress)
            done.params["environment"] = environment_hash()
        return dict(done.params)

    def manage_workers(self, wanted: Wanted) -> dict[str, Any]:
        """Plan a run and split it into batches; return the figures and the batches' files.

        Raises:
            StackctlError: another run writes to the same place, or the model cannot be had.
        """
        launched = launch(self.stack, self.engine, wanted, self.progress, self.warn, start=False)
        folder = launched.run.folder
        with self._told(MANAGE_WORKERS, folder) as done:
            figures = self._run(MANAGE_WORKERS, folder, done)
        files = [str(file) for file in sorted((folder / BATCHES).glob("*.json"))]
        return {"run": launched.run.id, **figures, "files": files}

    def process_batch(self, file: Path) -> dict[str, Any]:
        """Work on one batch, without a cluster; return the figures.

        Raises:
            UsageError: it is no batch of this stack.
            StackctlError: it could not be worked on.
        """
        file = file.absolute()
        if not file.is_file() or not file.resolve().is_relative_to(self._batch.resolve()):
            raise UsageError(
                f"{file} is no batch of this stack.", "Make them with `stackctl batch step manage-workers`."
            )
        run = Run(file.parents[1])
        carrier = Carrier(self.stack, run)
        try:
            with self._told(PROCESS_BATCH, run.folder) as done:
                done.params["batch"] = file.stem
                figures = self._run(PROCESS_BATCH, file, done)
        except StackctlError:
            with suppress(StackctlError):
                carrier.bring(self.progress)
            raise
        carrier.bring(self.progress)
        carrier.rest(self.progress)
        if bad := figures["quarantined"]:
            place = run.order().get("quarantine_folder") or run.order().get("quarantine")
            self.warn(f"{bad} {'image is' if bad == 1 else 'images are'} quarantined; why is said in {place}.")
        return figures

    @property
    def _batch(self) -> Path:
        return self.stack.var / "batch"

    def _run(self, name: str, path: Path, done: Step) -> dict[str, Any]:
        """Do a step where the workers' packages are, and return what it came to; ``done`` gets the figures."""
        inside = f"{{mount:{INSIDE}}}/{path.relative_to(self._batch)}"
        try:
            completed = self.engine.run_once(
                "worker", ["python", "-P", "-m", "stackctl.batch.alone", name, inside], mounts={self._batch: INSIDE}
            )
        except ProcessFailed as error:
            answer = _last_document(error.completed.stdout)
            done.metrics.update(answer.get("figures") or {})
            if "error" not in answer:
                raise
            raise (UsageError if answer.get("code") == UsageError.code else StackctlError)(
                answer["error"], answer.get("hint")
            ) from error
        figures = _last_document(completed.stdout)
        done.metrics.update(figures)
        return figures

    @contextmanager
    def _told(self, name: str, folder: Path | None = None) -> Iterator[Step]:
        """Time the block as a step and tell MLflow of it, also when it fails."""
        folder = folder or self._own_folder()
        with step(name) as done:
            try:
                yield done
            except StackctlError:
                done.ended = datetime.now(UTC).timestamp()
                tell_step(folder, self.stack, done, self.experiment, failed=True)
                raise
        if tell_step(folder, self.stack, done, self.experiment):
            self.warn(UNDELIVERED)
        self._bring_earlier()

    def _own_folder(self) -> Path:
        """Return the folder of a step that belongs to no run."""
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        folder = self._batch / "steps" / name
        folder.mkdir(parents=True)
        return folder

    def _bring_earlier(self) -> None:
        """Deliver what MLflow did not get of steps, and forget those that it has."""
        for folder in sorted((self._batch / "steps").glob("*-*")):
            if deliver(folder, self.stack, seconds=2.0) == 0:
                shutil.rmtree(folder, ignore_errors=True)


def _last_document(text: str) -> dict[str, Any]:
    for line in reversed(text.splitlines()):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            return document
    return {}
