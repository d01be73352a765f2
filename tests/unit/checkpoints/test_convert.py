"""Conversion where torch is: small networks with seeded weights, judged by OpenVINO and by upstream's RealESRGANer."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from stackctl import process
from stackctl.engines.environments import train_environment
from stackctl.imaging import Network, compare_golden

pytestmark = [pytest.mark.train, pytest.mark.slow]

CONVERT_ALL = """
import sys
from stackctl.checkpoints.convert import main
for arguments in sys.argv[1:]:
    main(arguments.split())
"""
HOSTILE = ("bomb", "bare_bomb", "module", "nan", "foreign", "truncated", "empty", "plain")
SCRIPT = Path(__file__).parents[2] / "support" / "make_checkpoints.py"
GOOD = ("compact.pth", "compact.safetensors", "rrdb_x4.pth", "rrdb_x2.pth")


@pytest.fixture(scope="module")
def python(shared_folder: Path | None) -> Path:
    """Return the interpreter of the training environment, which is made at first use."""
    with pytest.MonkeyPatch.context() as patch:
        if shared_folder and (shared_folder / "wheels").is_dir():
            patch.setenv("STACKCTL_WHEELHOUSE", str(shared_folder / "wheels"))
        return train_environment(lambda _subject, _what: None)


@pytest.fixture(scope="module")
def folder(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with checkpoints, good and hostile."""
    made = tmp_path_factory.mktemp("checkpoints")
    process.run([python, SCRIPT, str(made)], cwd=made, timeout=120)
    (made / "plain.pth").write_bytes(pickle.dumps({"params": {}}, protocol=4))
    return made


@pytest.fixture(scope="module")
def reports(python: Path, folder: Path) -> dict[str, Any]:
    """Return what converting each of them said, by name; one process for all, because importing torch takes seconds."""
    calls = {name: f"--checkpoint {folder / name} --out {folder / 'out' / name}" for name in GOOD}
    mixed = folder / "out" / "mixed"
    calls["mixed"] = f"--checkpoint {folder}/compact.pth --twin {folder}/twin.pth --denoise 0.3 --out {mixed}"
    calls["mixed.pth"] = f"--checkpoint {folder}/mixed.pth --out {folder}/out/mixed.pth"
    calls["unlike"] = f"--checkpoint {folder}/compact.pth --twin {folder}/rrdb_x4.pth --out {folder}/out/unlike"
    calls |= {name: f"--checkpoint {folder}/{name}.pth --out {folder}/out/{name}" for name in HOSTILE}
    done = process.run([python, "-W", "ignore", "-c", CONVERT_ALL, *calls.values()], cwd=folder, timeout=300)
    return dict(zip(calls, (json.loads(line) for line in done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize(
    ("name", "architecture", "scale"),
    [
        ("compact.pth", "SRVGGNetCompact", 4),
        ("compact.safetensors", "SRVGGNetCompact", 4),
        ("rrdb_x4.pth", "RRDBNet", 4),
        ("rrdb_x2.pth", "RRDBNet", 2),
    ],
)
def test_a_checkpoint_becomes_onnx_that_answers_as_torch_and_upstream_do(
    reports: dict[str, Any], folder: Path, name: str, architecture: str, scale: int
) -> None:
    report = reports[name]

    assert (report["architecture"], report["scale"]) == (architecture, scale)
    assert report["parity"]["openvino_fp32"]["worst_levels"] <= 1
    assert report["parity"]["realesrganer_fp32"]["worst_levels"] <= 1
    assert report["fidelity"]["bf16"]["psnr_db"] > 30
    assert report["fidelity"]["bf16"]["measured_by"] == "torch"
    network = Network.load(folder / "out" / name / "network.onnx", precision="fp32")
    assert network.scale == scale
    assert network.receptive_field == report["receptive_field"]
    assert compare_golden(folder / "out" / name / "golden", network).passed
    manifest = json.loads((folder / "out" / name / "golden" / "manifest.json").read_text())
    assert manifest["reference"] == "torch fp32"
    assert json.loads((folder / "out" / name / "report.json").read_text()) == report


@pytest.mark.parametrize("name", ["rrdb_x4.pth", "rrdb_x2.pth", "compact.pth"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (33, 18)])
def test_height_and_width_are_free(reports: dict[str, Any], folder: Path, name: str, size: tuple[int, int]) -> None:
    import numpy as np

    network = Network.load(folder / "out" / name / "network.onnx", precision="fp32")
    tile = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)

    assert network.infer(tile).shape == (size[0] * reports[name]["scale"], size[1] * reports[name]["scale"], 3)


def test_params_ema_is_preferred_and_a_safetensors_file_is_the_same_network(
    reports: dict[str, Any],
) -> None:
    assert reports["compact.safetensors"]["onnx"] == reports["compact.pth"]["onnx"]
    assert reports["rrdb_x4.pth"]["receptive_field"] is not None


def test_a_twin_is_mixed_in_by_upstreams_weights(reports: dict[str, Any], folder: Path) -> None:
    mixed, expected = (folder / "out" / name / "golden" / "00_output.png" for name in ("mixed", "mixed.pth"))

    assert mixed.read_bytes() == expected.read_bytes()
    assert reports["mixed"]["source"]["denoise"] == 0.3
    assert reports["mixed"]["source"]["twin_sha256"] != reports["mixed"]["source"]["sha256"]
    assert "cannot be mixed" in reports["unlike"]["error"]["message"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_plain_checkpoint_is_refused_with_a_reason(
    reports: dict[str, Any], folder: Path, name: str
) -> None:
    assert reports[name]["error"]["message"].startswith(name)
    assert not (folder / "out" / name / "report.json").exists()


def test_files_that_are_cut_short_or_plain_pickles_are_said_to_be(reports: dict[str, Any]) -> None:
    assert reports["truncated"]["error"]["message"] == "truncated.pth ends early."
    assert reports["plain"]["error"]["message"].endswith("(it is a plain pickle, not a torch file).")


def test_a_pickle_bomb_is_refused_and_nothing_of_it_runs(reports: dict[str, Any], folder: Path, python: Path) -> None:
    for name in ("bomb", "bare_bomb"):
        assert "was refused: it holds more than tensors" in reports[name]["error"]["message"]
    assert not (folder / "ran").exists()
    # The bomb is a real one: a careless reader sets it off.
    process.run([python, "-c", "import pickle; pickle.load(open('bare_bomb.pth', 'rb'))"], cwd=folder)
    assert (folder / "ran").exists()
