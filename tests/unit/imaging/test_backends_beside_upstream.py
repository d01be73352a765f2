"""OpenVINO, torch and upstream's own RealESRGANer answer the same, network by network."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from stackctl import process
from stackctl.engines.environments import train_environment
from stackctl.imaging import BackendError, Network

ROOT = Path(__file__).parents[3]
RANDOM = ("srvgg_random", "rrdb_x4_random", "rrdb_x2_random")


def _silent(what: str, state: str) -> None:
    """Report no progress."""


@pytest.fixture(scope="module")
def figures(shared_folder: Path | None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return network → figures of one run in the training environment; `real` only where real weights are."""
    weights = shared_folder / "weights" / "realesr-animevideov3.fp16.pth" if shared_folder else None
    with pytest.MonkeyPatch.context() as patch:
        if shared_folder and (shared_folder / "wheels").is_dir():
            patch.setenv("STACKCTL_WHEELHOUSE", str(shared_folder / "wheels"))
        python = train_environment(_silent)
    folder = tmp_path_factory.mktemp("beside_upstream")
    program = ROOT / "tests" / "support" / "beside_upstream.py"
    real = [str(weights)] if weights and weights.is_file() else []
    done = process.run([python, program, folder, *real], cwd=folder, env={"PYTHONPATH": str(ROOT)}, timeout=300)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert bool(real) == ("real" in found)
    return found


@pytest.mark.train
@pytest.mark.slow
def test_openvino_and_torch_are_within_one_level_of_each_other(figures: dict[str, Any]) -> None:
    assert set(RANDOM) <= set(figures)
    for name, found in figures.items():
        assert found["openvino_torch"] <= 1, name
        assert found["deep"] <= 16, name  # of 65535
        assert found["spread"] > 20, f"{name} answers the same everywhere: nothing is proved"


@pytest.mark.train
@pytest.mark.slow
def test_both_are_within_the_rounding_of_upstreams_own_upsampler(figures: dict[str, Any]) -> None:
    for name, found in figures.items():
        assert found["openvino_upstream"] <= 1, name
        assert found["torch_upstream"] <= 1, name
        assert found["padded"] <= 1, f"{name} on an odd size"
        assert len(set(found["scale"])) == 1, name


@pytest.mark.train
@pytest.mark.slow
def test_eight_threads_on_one_torch_backend_never_mix_their_images(figures: dict[str, Any]) -> None:
    assert not any(found["threads_mix"] for found in figures.values())


@pytest.mark.train
@pytest.mark.slow
def test_torch_computes_bf16_on_any_cpu_so_that_fidelity_can_be_measured(figures: dict[str, Any]) -> None:
    assert all(30 < found["bf16_psnr"] < 90 for found in figures.values())


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed here")
def test_a_backend_that_is_not_installed_says_so(starter: Path) -> None:
    network = Network.load(starter / "v2" / "network.onnx", backend="torch")

    with pytest.raises(BackendError, match="torch"):
        _ = network.backend
    with pytest.raises(BackendError, match="own package"):
        Network.load(starter / "v2" / "network.onnx", backend="realesrgan")
