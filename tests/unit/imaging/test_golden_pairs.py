"""The committed networks answer as torch did when they were made; anything else is told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from stackctl.imaging import Network, compare_golden
from stackctl.imaging.backends import bf16_is_native


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_starter_answers_as_torch_did_within_one_level(starter: Path, version: str) -> None:
    result = compare_golden(
        starter / version / "golden", Network.load(starter / version / "network.onnx", precision="fp32")
    )

    assert (result.passed, result.reason) == (True, None)
    assert result.worst_levels <= 1
    assert result.psnr_db > 70


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_starter_in_bf16_stays_above_50_db(starter: Path, version: str) -> None:
    if not bf16_is_native():
        assert Network.load(starter / version / "network.onnx", bf16_allowed=True).precision == "fp32"
        return
    result = compare_golden(
        starter / version / "golden", Network.load(starter / version / "network.onnx", precision="bf16")
    )

    assert result.passed, result.reason
    assert result.psnr_db >= 50


def test_another_networks_answers_do_not_pass(starter: Path, network: Network) -> None:
    result = compare_golden(starter / "v1" / "golden", network)

    assert not result.passed
    assert "levels" in str(result.reason)


def test_a_changed_file_does_not_pass(starter: Path, network: Network, tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    shutil.copytree(starter / "v2" / "golden", folder)
    (folder / "01_output.png").write_bytes((folder / "00_output.png").read_bytes())

    result = compare_golden(folder, network)

    assert not result.passed
    assert "01_output.png" in str(result.reason) or "output" in str(result.reason)


@pytest.mark.parametrize(
    "manifest", ["", "{}", "[]", json.dumps({"pairs": [], "tolerance": {"fp32_max_levels": 1, "bf16_min_psnr_db": 50}})]
)
def test_a_manifest_that_proves_nothing_does_not_pass(network: Network, tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)

    assert not compare_golden(tmp_path, network).passed


def test_the_metrics_keep_the_starters_promise(starter: Path) -> None:
    first, second = (json.loads((starter / version / "metrics.json").read_text()) for version in ("v1", "v2"))

    assert first["metrics"]["psnr_y"] >= first["metrics"]["psnr_y_bicubic"] + 0.2
    assert second["metrics"]["psnr_y"] >= first["metrics"]["psnr_y"] + 0.2
    gains = [
        (before["psnr_y"] - before["psnr_y_bicubic"], after["psnr_y"] - before["psnr_y"])
        for before, after in zip(first["photos"], second["photos"], strict=True)
    ]
    assert sum(first_gain >= 0.2 and second_gain >= 0.2 for first_gain, second_gain in gains) >= 3
