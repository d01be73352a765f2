"""``stackctl models compare``: two versions of a model side by side."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stackctl.engines import Engine, Progress
from stackctl.errors import StackctlError, UsageError
from stackctl.models import ModelVersion, Registry, resolve
from stackctl.models.versions import Measured
from stackctl.process import ProcessFailed
from stackctl.stack import Stack


@dataclass(frozen=True)
class Comparison:
    """Two versions and what their evaluations measured."""

    before: ModelVersion
    after: ModelVersion
    measured_before: Measured
    measured_after: Measured

    @property
    def comparable(self) -> bool:
        """Whether both were measured on the same data, as far as it was recorded."""
        return self.measured_before.digest is not None and self.measured_before.digest == self.measured_after.digest

    @property
    def metrics(self) -> dict[str, tuple[float | None, float | None]]:
        """Each metric that one of them has, with both figures."""
        ours, theirs = self.measured_before.metrics, self.measured_after.metrics
        return {name: (ours.get(name), theirs.get(name)) for name in sorted({*ours, *theirs})}

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "model": self.before.name,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "data": {"before": self.measured_before.digest, "after": self.measured_after.digest},
            "comparable": self.comparable,
            "metrics": {
                name: {"before": one, "after": two, "delta": None if one is None or two is None else two - one}
                for name, (one, two) in self.metrics.items()
            },
        }


def compare(stack: Stack, model: str, before: str, after: str) -> Comparison:
    """Return two versions of a model, named in a person's words, with their metrics.

    Raises:
        UnknownModel, UnknownVersion, UsageError: there is no such version.
        Unhealthy: MLflow does not answer.
    """
    with Registry.of(stack) as registry:
        one, two = resolve(registry, model, before), resolve(registry, model, after)
        first, second = registry.measured(one), registry.measured(two)
        return Comparison(replace(one, metrics=first.metrics), replace(two, metrics=second.metrics), first, second)


def write_sheet(engine: Engine, comparison: Comparison, file: Path, progress: Progress) -> None:
    """Write a PNG with what both versions made of the golden inputs they share.

    Args:
        engine: runs the drawing where the services' packages are.
        comparison: the versions.
        file: the PNG; its folder must exist.
        progress: told what happens.

    Raises:
        UsageError: there is no such folder.
        StackctlError: there is nothing to draw; the message says why.
    """
    folder = file.resolve().parent
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder} for the sheet.", "Create it, or write the sheet elsewhere.")
    progress("sheet", "drawing")
    partial = folder / f".{file.name}.{os.getpid()}.partial"
    one, two = comparison.before, comparison.after
    argv = ["python", "-m", "stackctl.models.sheet", one.name, one.version, two.version]
    try:
        engine.run_once("serving", [*argv, "--out", f"{{mount:/sheet}}/{partial.name}"], mounts={folder: "/sheet"})
        partial.replace(file)
    except ProcessFailed as error:
        told = (error.completed.stderr.strip() or error.completed.stdout.strip()).splitlines()
        raise StackctlError(f"The sheet could not be drawn: {told[-1] if told else error.message}") from error
    finally:
        partial.unlink(missing_ok=True)
    progress("sheet", f"written to {file}")
