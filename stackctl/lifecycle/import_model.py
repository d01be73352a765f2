"""``stackctl models import``: bring networks into the registry as image model versions."""

from __future__ import annotations

import json
from typing import Any

from stackctl.engines import Engine, Progress
from stackctl.errors import StackctlError, UsageError
from stackctl.models import ModelVersion, Registry
from stackctl.stack import Stack

SOURCES = ("starter",)
"""What can be imported by name."""


def import_model(source: str, stack: Stack, engine: Engine, progress: Progress) -> list[ModelVersion]:
    """Import what ``source`` names into the stack's model.

    Raises:
        UsageError: there is no such source.
    """
    match source:
        case "starter":
            return import_starter(stack, engine, progress)
        case other:
            raise UsageError(f"There is no source {other!r}. There is: {', '.join(SOURCES)}.")


def import_starter(stack: Stack, engine: Engine, progress: Progress) -> list[ModelVersion]:
    """Register the two starter networks as versions of the stack's model and return them, oldest first.

    It runs where the model server's packages are. Versions that are registered already are found, not made again.

    Raises:
        Unhealthy: MLflow does not answer.
        ProcessFailed: the networks could not be registered; the message quotes the output.
    """
    model = stack.settings.model
    with Registry.of(stack) as registry:
        registry.find_model(model)  # a registry that does not answer is reported before seconds are spent
        progress("starter", "registering")
        argv = ["python", "-m", "stackctl.checkpoints.log_starter", "--model", model]
        logged = _logged(engine.run_once("serving", argv).stdout)
        if not logged:
            raise StackctlError("The starter networks were not registered.", "See `stackctl logs mlflow`.")
        for entry in logged:
            progress(
                "starter", f"version {entry['version']} {'registered' if entry['created'] else 'is there already'}"
            )
        return [registry.version(model, str(entry["version"]), metrics=True) for entry in logged]


def _logged(output: str) -> list[dict[str, Any]]:
    """Return the documents among the lines of a program's output."""
    found: list[dict[str, Any]] = []
    for line in output.splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict) and {"version", "created", "digest"} <= document.keys():
            found.append(document)
    return found
