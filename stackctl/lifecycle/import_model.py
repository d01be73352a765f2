"""``stackctl models import``: bring networks into the registry as image model versions."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stackctl.checkpoints import catalogue
from stackctl.checkpoints.networks import prepare, reported
from stackctl.engines import Engine, Progress
from stackctl.errors import StackctlError, UsageError
from stackctl.lifecycle.networks import run_by_engine
from stackctl.models import ModelVersion, Registry
from stackctl.process import ProcessFailed
from stackctl.stack import Stack


def import_model(
    what: str,
    stack: Stack,
    engine: Engine,
    progress: Progress,
    *,
    name: str | None = None,
    place: str | None = None,
    denoise: float | None = None,
) -> list[ModelVersion]:
    """Register a network as a version and return it; the starters are two. What is registered already is found.

    Args:
        what: a name of the catalogue, or a ``.pth``, ``.safetensors`` or ``.onnx`` file.
        stack: whose registry.
        engine: how the stack runs: converting and registering happen in its environments.
        progress: called with (subject, what happens).
        name: the registered model; None is the stack's own.
        place: folder or URL that has an official checkpoint, instead of upstream's release.
        denoise: 0 to 1, for ``realesr-general-x4v3``.

    Raises:
        UsageError: there is no such name or file, or a model cannot be called ``name``.
        Unhealthy: MLflow does not answer.
        MissingPrerequisite: the network must be converted, and torch is not to be had.
        StackctlError: the network was refused, or could not be fetched, converted or registered.
    """
    model = stack.settings.model if name is None else _checked(name)
    with Registry.of(stack) as registry:
        registry.find_model(model)  # a registry that does not answer is reported before seconds are spent
        if what in catalogue.STARTERS:
            only = what.removeprefix("starter").removeprefix("-")
            argv = ["python", "-m", "stackctl.checkpoints.log_starter", "--model", model]
            logged = _register([*argv, *(["--only", only] if only else [])], "starter", None, engine, progress)
        else:
            logged = _import_network(what, model, engine, progress, place, denoise)
        return [registry.version(model, str(entry["version"]), metrics=True) for entry in logged]


def _checked(name: str) -> str:
    """Return the name where MLflow would take it."""
    if not name.strip() or "/" in name or ":" in name:
        raise UsageError(f"A model cannot be called {name!r}.", "Choose a name without / and :, such as my-model.")
    return name


def _import_network(
    what: str, model: str, engine: Engine, progress: Progress, place: str | None, denoise: float | None
) -> list[dict[str, Any]]:
    network = prepare(what, run=run_by_engine(engine), progress=progress, source=place, denoise=denoise)
    argv = ["python", "-m", "stackctl.checkpoints.log_network", "--model", model, "--source", network.source]
    with tempfile.TemporaryDirectory(prefix="stackctl-import-") as temporary:
        folder = Path(temporary)  # the command sees this folder alone
        shutil.copyfile(network.path, folder / "network.onnx")
        if network.golden is None:
            argv += ["--onnx", "{mount:/network}/network.onnx"]
        else:
            shutil.copytree(network.path.parent, folder, dirs_exist_ok=True)
            argv += ["--folder", "{mount:/network}"]
        return _register(argv, network.source, folder, engine, progress)


def _register(
    argv: Sequence[str], subject: str, folder: Path | None, engine: Engine, progress: Progress
) -> list[dict[str, Any]]:
    progress(subject, "registering")
    mounts = None if folder is None else {folder: "/network"}
    try:
        logged = _logged(engine.run_once("serving", argv, mounts=mounts).stdout)
    except ProcessFailed as error:
        raise reported(error) from error
    if not logged:
        raise StackctlError(f"{subject} was not registered.", "See `stackctl logs mlflow`.")
    for entry in logged:
        progress(subject, f"version {entry['version']} {'registered' if entry['created'] else 'is there already'}")
    return logged


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
