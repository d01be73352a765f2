"""PSNR, SSIM, the degradation and the promise of the committed record, none of which needs torch."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from support import pictures

from stackctl import checkpoints
from stackctl.training import degrade, metrics, photos

STARTER = Path(checkpoints.__file__).with_name("starter")


def test_luma_follows_bt_601_in_its_studio_range() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)

    assert metrics.luma(colours)[0] == pytest.approx([16.0, 235.0, 81.481, 144.553, 40.966], abs=1e-3)


def test_psnr_of_a_known_error_is_known() -> None:
    reference = np.full((20, 20, 3), 100, np.uint8)
    lighter = np.full((20, 20, 3), 110, np.uint8)

    error = 10 * 219 / 255
    assert metrics.psnr_y(lighter, reference) == pytest.approx(20 * math.log10(255 / error), abs=1e-6)
    assert metrics.psnr_y(reference, reference) == math.inf


def test_a_border_of_the_scale_does_not_count() -> None:
    reference = pictures.noise(32, 32)
    framed = reference.copy()
    framed[:4] = 0
    framed[:, -4:] = 255

    assert metrics.psnr_y(framed, reference) == math.inf
    assert metrics.ssim_y(framed, reference) == pytest.approx(1)


def test_ssim_falls_with_noise_and_is_one_for_equal_images() -> None:
    reference = pictures.noise(48, 48)
    grain = np.random.default_rng(0).integers(-20, 20, reference.shape)
    noisy = np.clip(reference.astype(int) + grain, 0, 255).astype(np.uint8)

    assert metrics.ssim_y(reference, reference) == pytest.approx(1)
    assert metrics.ssim_y(noisy, reference) < 0.99


def test_shrinking_and_enlarging_keep_sizes_and_flat_colours() -> None:
    flat = np.full((30, 41, 3), (10, 200, 90), np.uint8)

    cropped = degrade.crop_to_multiple(flat, 4)
    low = degrade.shrink(cropped, 4)

    assert (cropped.shape, low.shape) == ((28, 40, 3), (7, 10, 3))
    assert (degrade.enlarge(low, 4) == cropped).all()


def test_no_photo_is_both_learnt_and_judged() -> None:
    assert not set(photos.TRAINING) & set(photos.HELD_OUT)
    assert len(photos.HELD_OUT) >= 3


def test_the_record_names_the_committed_files_and_how_they_were_made() -> None:
    record = json.loads((STARTER / "record.json").read_text())

    assert record["command"].startswith("python -m stackctl.training.starter --seed")
    assert record["training_photos"] == list(photos.TRAINING)
    assert record["held_out_photos"] == list(photos.HELD_OUT)
    for name, network in record["networks"].items():
        assert network["made_with"]["torch"]
        for file, digest in network["files"].items():
            assert hashlib.sha256((STARTER / name / file).read_bytes()).hexdigest() == digest, f"{name}/{file}"


def test_package_data_stay_small() -> None:
    assert sum(path.stat().st_size for path in STARTER.rglob("*") if path.is_file()) < 1_000_000
    for version in ("v1", "v2"):
        assert (STARTER / version / "network.onnx").stat().st_size < 130_000
