"""What the shell completes: names of models and versions, from the registry as it is now.

A person waits for every keystroke here: one short question to MLflow, and silence about whatever goes wrong.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from stackctl.stack import Stack

TIMEOUT = 0.3


def complete_models(context: typer.Context, incomplete: str) -> list[str]:
    """Return the registered models whose name begins so."""
    with _silence():
        from stackctl.models import names

        return [name for name in names.models(_stack(context), timeout=TIMEOUT) if name.startswith(incomplete)]
    return []


def complete_versions(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the versions of the model on the command line that begin so, each with what it is."""
    model: str | None = context.params.get("model")
    with _silence():
        from stackctl.models import names

        stack = _stack(context)
        found = names.versions(stack, model or stack.settings.model, timeout=TIMEOUT)
        return [(word, what) for word, what in found if word.startswith(incomplete)]
    return []


def complete_batch_models(context: typer.Context, incomplete: str) -> list[str]:
    """Return what ``--model`` may say that begins so: NAME, NAME@alias and NAME/VERSION."""
    with _silence():
        from stackctl.models import names

        stack = _stack(context)
        for mark in "@/":
            if mark in incomplete:
                name = incomplete.partition(mark)[0]
                words = [word for word, _ in names.versions(stack, name, timeout=TIMEOUT)]
                found = [f"{name}{word}" if word.startswith("@") else f"{name}/{word}" for word in words]
                return [word for word in found if word.startswith(incomplete)]
        return [word for word in names.models(stack, timeout=TIMEOUT) if word.startswith(incomplete)]
    return []


def complete_runs(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the stack's batch runs that begin so, the newest first."""
    with _silence():
        from stackctl.batch.runs import Runs

        return [run.id for run in Runs(_stack(context).var / "batch").all() if run.id.startswith(incomplete)]
    return []


def complete_targets(incomplete: str) -> list[str]:
    """Return the targets of a promotion that begin so."""
    return [name for name in ("production", "staging") if name.startswith(incomplete)]


def _stack(context: typer.Context) -> Stack:
    from stackctl.stack import Stack

    chosen = context.find_root().params.get("folder") or os.environ.get("STACKCTL_DIR")
    return Stack.from_folder(Path(str(chosen))) if chosen else Stack.find(Path.cwd())


def _silence() -> contextlib.suppress:
    """Whatever goes wrong while completing must not end up on the person's command line."""
    return contextlib.suppress(Exception)
