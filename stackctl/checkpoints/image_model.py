"""The code of an image model version: logged into it and run from there, never imported by stackctl.

It stands alone: standard library, MLflow, pandas and the copy of the imaging package that was logged beside it. That
copy has a name of its own (its configuration says which), because a module that the process has imported already would
be taken in its place.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import mlflow.models
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc.model import PythonModel

NETWORK = "network"
GOLDEN = "golden"


class ImageModel(PythonModel):
    """Encoded image in, upscaled encoded image out.

    Its configuration (``model_config`` at load time overrides single values):
        imaging_package: name of the imaging package that was logged with it.
        precision: ``auto``, ``fp32`` or ``bf16``.
        threads: of inference; 0 leaves the choice to the backend.
        cache_dir: folder for compiled networks; empty: none is kept.
        max_bytes, max_input_pixels, max_output_pixels: limits; 0 leaves imaging's own.
        max_memory: bytes that one image may need while it is upscaled; 0: no limit.
    """

    def load_context(self, context: Any) -> None:
        """Load the network from the version's files; called once by MLflow."""
        config = dict(context.model_config or {})
        self._imaging = importlib.import_module(config["imaging_package"])
        self._limits = self._limits_of(config)
        self._network = self._load(context.artifacts, config)

    def _load(self, artifacts: dict[str, str], config: dict[str, Any]) -> Any:
        """Return the network; bf16 by order, or where it was measured and its answers pass on this very processor."""

        def load(precision: str) -> Any:
            return self._imaging.Network.load(
                Path(artifacts[NETWORK]),
                precision=precision,
                threads=int(config.get("threads") or 0) or None,
                cache_dir=Path(config["cache_dir"]) if config.get("cache_dir") else None,
                bf16_allowed=_bf16_was_measured(Path(artifacts[GOLDEN])),
            )

        wanted = config.get("precision") or "auto"
        network = load(wanted)
        if wanted == "auto" and network.precision == "bf16":
            found = self._imaging.compare_golden(Path(artifacts[GOLDEN]), network, precision="bf16")
            return network if found.passed else load("fp32")
        return network

    def upscale(
        self,
        data: bytes,
        *,
        outscale: float = 0.0,
        format: str = "auto",  # noqa: A002 - the contract's own word
        tile: int = 0,
        precision: str = "auto",
    ) -> tuple[bytes, dict[str, Any]]:
        """Upscale one encoded image; return the encoded result and the report on it.

        Raises:
            Exception: the imaging package's own errors; each has a ``code`` such as ``corrupt_image``.
        """
        options = self._imaging.Options(
            outscale=outscale, format=format, tile=tile, precision=precision, limits=self._limits
        )
        image, report = self._imaging.upscale(data, self._network, options)
        return image, report.to_dict()

    def network_info(self) -> dict[str, Any]:
        """Return what the network is and what it accepts: scale, backend, precision, formats, limits."""
        return {
            "scale": self._network.scale,
            "backend": self._network.backend,
            "precision": self._network.precision,
            "formats": list(self._imaging.FORMATS),
            "max_bytes": self._limits.max_bytes,
            "max_input_pixels": self._limits.max_input_pixels,
            "max_output_pixels": self._limits.max_output_pixels,
        }

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002 - MLflow hands it
        """Upscale each row of the binary column ``image``; return columns ``image`` (binary) and ``meta`` (JSON).

        Raises:
            MlflowException: an image or a parameter cannot be used; the whole request is refused.
        """
        chosen = dict(params or {})
        rows: dict[str, list[Any]] = {"image": [], "meta": []}
        for data in model_input["image"]:
            try:
                image, report = self.upscale(
                    bytes(data),
                    outscale=float(chosen.get("outscale", 0.0)),
                    format=str(chosen.get("format", "auto")),
                    tile=int(chosen.get("tile", 0)),
                    precision=str(chosen.get("precision", "auto")),
                )
            except self._imaging.ImagingError as error:
                raise MlflowException(f"{error.code}: {error}", error_code=BAD_REQUEST) from error
            rows["image"].append(image)
            rows["meta"].append(json.dumps(report, separators=(",", ":")))
        return pd.DataFrame(rows)

    def _limits_of(self, config: dict[str, Any]) -> Any:
        names = ("max_bytes", "max_input_pixels", "max_output_pixels", "max_memory")
        return self._imaging.Limits(**{name: int(config[name]) for name in names if config.get(name)})


def _bf16_was_measured(golden: Path) -> bool:
    """Return whether bf16 was compared with fp32 before the network was registered, and is near enough."""
    try:
        manifest = json.loads((golden / "manifest.json").read_text())
        measured = manifest["fidelity"]["bf16"]["psnr_db"]
        return measured is not None and float(measured) >= float(manifest["tolerance"]["bf16_min_psnr_db"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


mlflow.models.set_model(ImageModel())
