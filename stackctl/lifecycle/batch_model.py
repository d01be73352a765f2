"""The version that a batch upscales with: resolved once, its files verified and laid where every worker finds them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.batch.order import OrderedModel
from stackctl.errors import Unhealthy, UsageError
from stackctl.models import ModelVersion, Registry, resolve
from stackctl.models.digest import digest_of_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from stackctl.engines import Progress
    from stackctl.stack import Stack

_WORDS = re.compile(r"(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))?")
RESOLVED = "resolved.json"
"""Remembers what each way to name a model led to when MLflow answered last."""


def batch_model(
    stack: Stack, words: str | None, folder: Path, progress: Progress, warn: Callable[[str], None]
) -> OrderedModel:
    """Return the version that ``words`` names, as an order describes it; its network lies in ``folder`` afterwards.

    Args:
        stack: whose registry.
        words: ``NAME`` (what is in Production), ``NAME@alias`` or ``NAME/VERSION``; None: the stack's own model.
        folder: the batch folder; paths in the answer are relative to it.
        progress: told what happens.
        warn: told when MLflow does not answer and the version that it named last is taken.

    Raises:
        UsageError: there is no such version, or it is no image model.
        Unhealthy: MLflow does not answer, and never named a version for these words.
    """
    words = words or stack.settings.model
    found = _WORDS.fullmatch(words)
    if found is None:
        raise UsageError(f"{words!r} names no model.", "Write NAME, NAME@alias or NAME/VERSION.")
    try:
        model = _resolved(stack, found, folder, progress)
    except Unhealthy as error:
        remembered = _remembered(folder, words)
        if remembered is None:
            raise
        warn(
            f"{error.message} Going on with what {words} was when it last answered: "
            f"{remembered.name} version {remembered.version}."
        )
        return remembered
    _remember(folder, words, model)
    return model


def _resolved(stack: Stack, found: re.Match[str], folder: Path, progress: Progress) -> OrderedModel:
    from stackctl.lifecycle.registered_network import registered_network

    name, alias = found["name"], found["alias"]
    with Registry.of(stack) as registry:
        version = _version(registry, name, alias, found["version"])
    network = registered_network(stack, name, version.version, progress)
    digest = version.digest or ""
    target = folder / "models" / digest.partition(":")[2]
    if _whole(target):
        progress("model", f"{version.title}: already here")
    else:
        _lay(network.path, network.golden, target)
        progress("model", f"{version.title}: ready")
    here = target.relative_to(folder)
    return OrderedModel(
        name=name,
        version=version.version,
        digest=digest,
        run_id=version.run_id,
        network=str(here / "network.onnx"),
        golden=str(here / "golden") if (target / "golden").is_dir() else None,
        bf16_allowed=network.bf16_allowed,
        alias=alias or (None if found["version"] else "production"),
    )


def _version(registry: Registry, name: str, alias: str | None, number: str | None) -> ModelVersion:
    if alias:
        return resolve(registry, name, f"@{alias}")
    if number and number.lower() != "production":
        return resolve(registry, name, number)
    version = registry.production_of(name).version
    if version is None:
        raise UsageError(
            f"No version of {name} is in Production.",
            f"Promote one with `stackctl promote {name} 1`, or name one with --model {name}/1.",
        )
    return registry.version(name, version)


def _lay(network: Path, golden: Path | None, target: Path) -> None:
    """Copy a network and its golden pairs, and keep their digest; whoever looks sees all of it or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".partial-{secrets.token_hex(4)}")
    damaged = partial.with_suffix(".damaged")
    try:
        partial.mkdir()
        shutil.copyfile(network, partial / "network.onnx")
        if golden is not None:
            shutil.copytree(golden, partial / "golden")
        _digest_file(target).write_text(digest_of_folder(partial))
        with contextlib.suppress(FileNotFoundError):
            target.rename(damaged)
        with contextlib.suppress(OSError):  # another command was faster
            partial.rename(target)
    finally:
        for folder in (partial, damaged):
            shutil.rmtree(folder, ignore_errors=True)


def _whole(target: Path) -> bool:
    """Return whether the files in ``target`` are those that were laid there: a power cut may have damaged them."""
    with contextlib.suppress(OSError):
        return _digest_file(target).read_text() == digest_of_folder(target)
    return False


def _digest_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.digest")


def _remembered(folder: Path, words: str) -> OrderedModel | None:
    try:
        model = OrderedModel(**_all_remembered(folder)[words])
    except (KeyError, TypeError):
        return None
    return model if _whole((folder / model.network).parent) else None


def _all_remembered(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / "models" / RESOLVED).read_text())
        if isinstance(found, dict):
            return found
    return {}


def _remember(folder: Path, words: str, model: OrderedModel) -> None:
    known, entry = _all_remembered(folder), dataclasses.asdict(model)
    if known.get(words) == entry:
        return
    file = folder / "models" / RESOLVED
    partial = file.with_name(f"{RESOLVED}.{os.getpid()}")
    partial.write_text(json.dumps({**known, words: entry}, indent=2))
    partial.replace(file)
