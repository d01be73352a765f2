"""A very short training, where torch is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import pictures

from stackctl.imaging import Network, compare_golden

pytestmark = pytest.mark.train
pytest.importorskip("torch", reason="torch lives in the train environment")


def test_the_same_seed_gives_the_same_network() -> None:
    from stackctl.training.export import answer
    from stackctl.training.fit import Recipe, train

    photo = pictures.noise(160, 160)
    recipe = Recipe(steps=2, features=4, convs=1, batch=2, patch=16)
    first, again, other = (train([photo], recipe, seed=seed) for seed in (5, 5, 6))

    low = pictures.noise(12, 13)
    assert np.array_equal(answer(first, low), answer(again, low))
    assert not np.array_equal(answer(first, low), answer(other, low))


def test_training_lowers_the_loss() -> None:
    from stackctl.training.fit import Recipe, train

    losses: list[float] = []
    recipe = Recipe(steps=300, features=4, convs=1, batch=4, patch=16)
    train([pictures.noise(200, 200)], recipe, seed=1, progress=lambda step, loss: losses.append(loss))

    assert losses[-1] < losses[0]


def test_a_trained_network_is_written_as_a_starter_that_passes_its_own_golden_pairs(tmp_path: Path) -> None:
    from stackctl.training import starter

    said: list[str] = []
    starter.make(tmp_path, seed=3, steps={"v1": 2}, say=said.append)

    assert compare_golden(tmp_path / "v1" / "golden", Network.load(tmp_path / "v1" / "network.onnx")).passed
    report = json.loads((tmp_path / "v1" / "metrics.json").read_text())
    assert set(report["metrics"]) == {"psnr_y", "ssim_y", "psnr_y_bicubic", "ssim_y_bicubic"}
    starter.make(tmp_path, seed=3, steps={"v1": 2}, say=said.append)
    assert "v1: kept" in said
