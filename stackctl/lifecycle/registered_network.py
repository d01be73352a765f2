"""The network of a registered version, on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.distribution import cache_folder
from stackctl.errors import StackctlError, UsageError
from stackctl.lifecycle.upscale_locally import LocalNetwork
from stackctl.models import ModelVersion, Registry, tags
from stackctl.models.digest import digest_of_folder

if TYPE_CHECKING:
    from stackctl.engines import Progress
    from stackctl.stack import Stack

MIN_BF16_DB = 50.0


def registered_network(stack: Stack, name: str, number: str, progress: Progress) -> LocalNetwork:
    """Return the network of version ``number`` of a registered model; its files are downloaded once and verified.

    Raises:
        UsageError: the version is no image model.
        StackctlError: there is no such version, or its files cannot be had.
    """
    with Registry.of(stack) as registry:
        version = registry.version(name, number)
    if version.contract != "image":
        raise UsageError(f"{name} version {number} is no image model.", f"See `stackctl models show {name}`.")
    folder = _files(stack, version, progress)
    network = next(folder.rglob("network.onnx"), None)
    if network is None:
        raise StackctlError(f"{name} version {number} contains no network.")
    manifest = next(folder.rglob("golden/manifest.json"), None)
    return LocalNetwork(network, f"{name}/{number}", manifest.parent if manifest else None, _bf16_allowed(version))


def _files(stack: Stack, version: ModelVersion, progress: Progress) -> Path:
    from stackctl.models.rest import Rest
    from stackctl.serving import artifacts
    from stackctl.serving.errors import Refused

    label = f"{version.name}/{version.version}"
    if version.digest is None:
        raise StackctlError(
            f"{label} has no digest: its files cannot be verified.", "Promote it once, or use its file."
        )
    folder = cache_folder() / "versions" / version.digest.partition(":")[2]
    if folder.is_dir():
        if digest_of_folder(folder) == version.digest:
            return folder
        artifacts.remove(folder)
    progress(label, "downloading")
    rest = Rest(stack.endpoints.registry, stack.mlflow_token())
    with contextlib.closing(rest):
        query = {"name": version.name, "version": version.version}
        source = str(rest.get("model-versions/get-download-uri", query)["artifact_uri"])
    if not source.startswith(f"{artifacts.PROXIED}:"):
        raise StackctlError(f"The files of {label} lie at {source}.", "Download network.onnx and name that file.")
    try:
        artifacts.fetch(source, folder, tracking_uri=stack.endpoints.mlflow, token=stack.mlflow_token())
    except Refused as error:
        raise StackctlError(str(error)) from error
    if digest_of_folder(folder) != version.digest:
        artifacts.remove(folder)
        raise StackctlError(f"The files of {label} are not those that were logged: their digest differs.")
    return folder


def _bf16_allowed(version: ModelVersion) -> bool:
    try:
        return float(version.tags.get(tags.FIDELITY_BF16, "nan")) >= MIN_BF16_DB
    except ValueError:
        return False
