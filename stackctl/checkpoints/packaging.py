"""Pack a network as an image model version: a pyfunc logged from code, with golden pairs and its own imaging code."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from stackctl.checkpoints.image_package import CHECKPOINT_TAG, NETWORK_TAG, ImagePackage
from stackctl.errors import StackctlError
from stackctl.models import tags
from stackctl.models.digest import digest_of_folder

MODEL_CODE = Path(__file__).with_name("image_model.py")
REQUIREMENTS = ("mlflow-skinny", "numpy", "opencv-python-headless", "openvino", "pandas", "pillow")
CONFIG: Mapping[str, str | int] = {
    "precision": "auto",
    "threads": 0,
    "cache_dir": "",
    "max_bytes": 0,
    "max_input_pixels": 0,
    "max_output_pixels": 0,
    "max_memory": 0,
}


@dataclass(frozen=True)
class LoggedVersion:
    """A version in the registry: found there, or made."""

    name: str
    version: str
    run_id: str
    digest: str
    source: str
    created: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "schema_version": 1,
            "name": self.name,
            "version": self.version,
            "run_id": self.run_id,
            "digest": self.digest,
            "source": self.source,
            "created": self.created,
        }


def log_image_model(package: ImagePackage, *, name: str, experiment: str) -> LoggedVersion:
    """Log ``package`` as a version of the registered model ``name``, unless the registry has it already.

    Tracking server and registry are those of the environment (MLFLOW_TRACKING_URI, MLFLOW_REGISTRY_URI). What an
    interrupted call left incomplete is completed.

    Raises:
        StackctlError: the files do not make an image model.
    """
    _check(package)
    with _quiet_mlflow():
        import mlflow

        client = mlflow.MlflowClient()
        found = _find(client, name, package)
        created = found is None
        if found is None:
            _replay(package)
            found = _log(package, name, experiment)
        digest = found.tags.get(tags.DIGEST)
        if digest is None:
            digest = _digest_in_registry(name, str(found.version))
            client.set_model_version_tag(name, str(found.version), tags.DIGEST, digest)
        for tag, value in package.marks.items():
            if tag not in found.tags:  # logged by an earlier stackctl
                client.set_model_version_tag(name, str(found.version), tag, value)
    return LoggedVersion(name, str(found.version), found.run_id or "", digest, package.source, created)


def vendor_imaging(target: Path) -> Path:
    """Copy the imaging package into ``target`` under a name that its content determines; return the copy's folder.

    Raises:
        StackctlError: this installation has no imaging package.
    """
    spec = importlib.util.find_spec("stackctl.imaging")
    if spec is None or not spec.submodule_search_locations:
        raise StackctlError("This installation of stackctl lacks its imaging package.", "Install stackctl again.")
    origin = Path(next(iter(spec.submodule_search_locations)))
    content = hashlib.sha256()
    for file in sorted(origin.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            content.update(f"{file.relative_to(origin).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    copy = target / f"stackctl_imaging_{content.hexdigest()[:8]}"
    shutil.copytree(origin, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def requirements() -> list[str]:
    """Return what a version needs, at the versions installed here."""
    return [f"{name}=={metadata.version(name)}" for name in REQUIREMENTS]


def _check(package: ImagePackage) -> None:
    for file in (package.network, package.golden / "manifest.json"):
        if not file.is_file():
            raise StackctlError(f"{file} is missing: it is part of what makes an image model.")


def _replay(package: ImagePackage) -> None:
    """Have the network answer its golden inputs, as every server will before it serves the version."""
    from stackctl.imaging import ImagingError, Network, compare_golden

    try:
        result = compare_golden(package.golden, Network.load(package.network, precision="fp32"))
    except ImagingError as error:
        raise StackctlError(f"{package.source} cannot be run: {error}") from error
    if not result.passed:
        raise StackctlError(f"{package.source} does not reproduce its golden outputs: {result.reason}")


def _find(client: Any, name: str, package: ImagePackage) -> Any:
    """Return the newest version of ``name`` that holds this very network or was made from this checkpoint, or None."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    quote = '"' if "'" in name else "'"
    marks = package.marks
    wanted = {tag: marks[tag] for tag in (NETWORK_TAG, CHECKPOINT_TAG) if tag in marks}
    same = [
        version
        for version in client.search_model_versions(f"name={quote}{name}{quote}")
        if version.status == "READY" and any(version.tags.get(tag) == value for tag, value in wanted.items())
    ]
    return max(same, key=lambda version: int(version.version), default=None)


def _log(package: ImagePackage, name: str, experiment: str) -> Any:
    import mlflow

    marks = {**package.marks, tags.GOLDEN: "passed"}
    mlflow.set_experiment(experiment)
    with tempfile.TemporaryDirectory(prefix="stackctl-package-") as temporary:
        imaging = vendor_imaging(Path(temporary))
        with mlflow.start_run(run_name=package.source, tags=marks, description=package.description or None):
            mlflow.log_params(dict(package.params))
            mlflow.log_metrics(dict(package.metrics))
            if package.evaluation:
                mlflow.log_dict(dict(package.evaluation), "evaluation.json")
            info = mlflow.pyfunc.log_model(
                name=name,
                python_model=str(MODEL_CODE),
                artifacts={"network": str(package.network), "golden": str(package.golden)},
                code_paths=[str(imaging)],
                model_config={**CONFIG, "imaging_package": imaging.name},
                signature=_signature(),
                input_example=_example(package),
                pip_requirements=requirements(),
                params=dict(package.params),
                tags=marks,
            )
            if package.metrics:
                mlflow.log_metrics(dict(package.metrics), model_id=info.model_id)
    registered = mlflow.register_model(info.model_uri, name, tags=marks)
    if package.description:
        mlflow.MlflowClient().update_model_version(name, registered.version, package.description)
    return registered


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema([ColSpec(DataType.binary, "image"), ColSpec(DataType.string, "meta")]),
        params=ParamSchema(
            [
                ParamSpec("outscale", DataType.double, 0.0),
                ParamSpec("format", DataType.string, "auto"),
                ParamSpec("tile", DataType.long, 0),
                ParamSpec("precision", DataType.string, "auto"),
            ]
        ),
    )


def _example(package: ImagePackage) -> Any:
    """Return the first golden input as MLflow's input example."""
    import pandas as pd

    pairs = json.loads((package.golden / "manifest.json").read_text())["pairs"]
    return pd.DataFrame({"image": [(package.golden / pairs[0]["input"]).read_bytes()]})


def _digest_in_registry(name: str, version: str) -> str:
    """Return the digest over the version's files as a server would download them."""
    import mlflow

    with tempfile.TemporaryDirectory(prefix="stackctl-digest-") as temporary:
        folder = mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=temporary)
        return digest_of_folder(Path(folder))


@contextlib.contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """Keep MLflow's notes off standard output, and its telemetry off."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        import mlflow  # noqa: F401 - it configures warnings and logging, which are then turned down

        warnings.simplefilter("ignore")
        for logger in ("mlflow", "alembic"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        yield
