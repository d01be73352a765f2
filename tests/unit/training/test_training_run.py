"""A very short training in the environment that has torch; what it writes is judged here, where torch is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stackctl import process
from stackctl.engines.environments import train_environment
from stackctl.imaging import Network, compare_golden

pytestmark = [pytest.mark.train, pytest.mark.slow]


def _silent(what: str, state: str) -> None:
    """Report no progress."""


@pytest.fixture(scope="module")
def python(shared_folder: Path | None) -> Path:
    """Return the interpreter of the training environment, which is made at first use."""
    with pytest.MonkeyPatch.context() as patch:
        if shared_folder and (shared_folder / "wheels").is_dir():
            patch.setenv("STACKCTL_WHEELHOUSE", str(shared_folder / "wheels"))
        return train_environment(_silent)


def train(python: Path, out: Path, *, seed: int = 3) -> process.Completed:
    options = ["--out", str(out), "--seed", str(seed), "--steps", "2", "3"]
    return process.run([python, "-m", "stackctl.training.starter", *options], cwd=out.parent, timeout=300)


def test_what_training_writes_passes_its_own_golden_pairs_in_openvino(python: Path, tmp_path: Path) -> None:
    train(python, tmp_path / "starter")

    for version in ("v1", "v2"):
        folder = tmp_path / "starter" / version
        result = compare_golden(folder / "golden", Network.load(folder / "network.onnx"))
        assert result.passed, result.reason
        report = json.loads((folder / "metrics.json").read_text())
        assert set(report["metrics"]) == {"psnr_y", "ssim_y", "psnr_y_bicubic", "ssim_y_bicubic"}
        assert report["params"]["seed"] == 3


def test_the_same_seed_gives_the_same_network_and_another_does_not(python: Path, tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        train(python, tmp_path / name, seed=seed)

    first, again, other = ((tmp_path / name / "v2/network.onnx").read_bytes() for name in ("first", "again", "other"))
    assert first == again
    assert first != other


def test_a_second_run_keeps_the_networks_that_are_complete(python: Path, tmp_path: Path) -> None:
    train(python, tmp_path / "starter")
    (tmp_path / "starter/v2/metrics.json").unlink()  # as if the run had been interrupted

    told = train(python, tmp_path / "starter")

    assert "v1: kept" in told.stderr + told.stdout
    assert "v2: 3 steps" in told.stderr + told.stdout
