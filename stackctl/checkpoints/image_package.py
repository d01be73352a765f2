"""What becomes one image model version, and what is written beside it in the registry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from stackctl.models import tags

CONTRACT = "image"
NETWORK_TAG = "stackctl.network"
"""On a version: SHA-256 of its ONNX file."""
CHECKPOINT_TAG = "stackctl.checkpoint"
"""On a version: what its network was converted from: SHA-256 of the file, or of two that were mixed and their share."""


@dataclass(frozen=True)
class ImagePackage:
    """What becomes one version.

    Attributes:
        network: the ONNX file, N×3×H×W RGB in 0…1 in and out.
        golden: folder with ``manifest.json`` and the pairs it names.
        source: where it came from, for instance ``starter-v1``; a tag of the version.
        metrics: of its evaluation; logged on the run and the version.
        params: how it was made.
        evaluation: how the metrics were measured, a document kept with the run.
        description: one sentence for a person.
        checkpoint: what the network was converted from, empty where it was not.
    """

    network: Path
    golden: Path
    source: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    checkpoint: str = ""

    @cached_property
    def network_sha256(self) -> str:
        """SHA-256 of the ONNX file in hex."""
        return hashlib.sha256(self.network.read_bytes()).hexdigest()

    @cached_property
    def marks(self) -> dict[str, str]:
        """The tags of the version and of its run."""
        bf16 = self._bf16_psnr()
        data = evaluation_digest(self.evaluation)
        return {
            tags.CONTRACT: CONTRACT,
            tags.SOURCE: self.source,
            NETWORK_TAG: self.network_sha256,
            **({CHECKPOINT_TAG: self.checkpoint} if self.checkpoint else {}),
            **({tags.EVALUATION_DIGEST: data} if data else {}),
            **({tags.FIDELITY_BF16: f"{bf16:.1f}"} if bf16 is not None else {}),
        }

    def _bf16_psnr(self) -> float | None:
        manifest = json.loads((self.golden / "manifest.json").read_text())
        measured = (manifest.get("fidelity", {}).get("bf16") or {}).get("psnr_db")
        return None if measured is None else float(measured)


def evaluation_digest(evaluation: Mapping[str, Any]) -> str | None:
    """Return what tells the data of an evaluation: metrics of two versions compare where it is the same.

    It covers the convention of measuring and, for each photo, its name and what plain bicubic upscaling reaches on it,
    which depends on nothing but the photo. None where the document names no photos.
    """
    photos = evaluation.get("photos")
    if not photos:
        return None
    facts = [{key: value for key, value in photo.items() if key == "photo" or "bicubic" in key} for photo in photos]
    text = json.dumps([evaluation.get("convention"), facts], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
