"""The code that travels in a version, loaded as MLflow loads it: which precision it takes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import pictures

from stackctl import imaging
from stackctl.checkpoints.golden_pairs import STARTER
from stackctl.checkpoints.packaging import CONFIG

pytestmark = pytest.mark.slow  # importing mlflow takes seconds


@dataclass
class Context:
    """What MLflow hands to a model."""

    artifacts: dict[str, str]
    model_config: dict[str, Any] = field(default_factory=dict)


def load(folder: Path, **config: Any) -> Any:
    """Return the loaded model of a starter's folder."""
    from stackctl.checkpoints.image_model import ImageModel

    model = ImageModel()
    artifacts = {"network": str(folder / "network.onnx"), "golden": str(folder / "golden")}
    model.load_context(Context(artifacts, {**CONFIG, "imaging_package": "stackctl.imaging", **config}))
    return model


@pytest.mark.parametrize(
    ("fidelity", "allowed"),
    [
        ({"bf16": {"psnr_db": 53.9, "measured_by": "torch"}}, True),
        ({"bf16": {"psnr_db": 49.9, "measured_by": "torch"}}, False),
        ({"bf16": {"psnr_db": None, "measured_by": "openvino"}}, False),
        ({}, False),
        (None, False),
    ],
)
def test_bf16_is_only_for_versions_that_were_measured_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fidelity: Any, allowed: bool
) -> None:
    shutil.copytree(STARTER / "v1", tmp_path / "v1")
    file = tmp_path / "v1" / "golden" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "fidelity": fidelity}))
    asked: list[bool] = []
    real = imaging.Network.load

    def noted(path: Path, **options: Any) -> imaging.Network:
        asked.append(options["bf16_allowed"])
        return real(path, **options)

    monkeypatch.setattr(imaging.Network, "load", noted)
    load(tmp_path / "v1")

    assert asked[0] is allowed


def test_an_image_that_needs_more_memory_than_is_granted_is_refused() -> None:
    image = pictures.encode(pictures.noise(64, 64))

    with pytest.raises(imaging.ImageTooLarge):
        load(STARTER / "v1", max_memory=1_000_000).upscale(image)
    assert load(STARTER / "v1", max_memory=0).upscale(image)[1]["out_width"] == 256
