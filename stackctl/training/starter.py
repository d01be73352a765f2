"""Trains the two starter networks and writes them as `stackctl models import starter` reads them.

    python -m stackctl.training.starter --out DIR --seed 1

DIR/v1 and DIR/v2 each get network.onnx, golden/ and metrics.json; DIR/record.json says how they were made.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.checkpoints.made_with import made_with, say

from . import degrade, metrics, photos

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

SEED = 1
STEPS = {"v1": 700, "v2": 5000}
"""Training steps: version 1 is stopped early on purpose, so that promoting version 2 is an improvement one can see."""

_PACKAGES = ("torch", "numpy", "pillow", "onnx", "scikit-image", "scikit-learn", "openvino")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, train, write; return 0."""
    parser = argparse.ArgumentParser(prog="python -m stackctl.training.starter", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to make; what it has already is kept")
    parser.add_argument(
        "--seed", type=int, default=SEED, help="everything random is drawn from it (default %(default)s)"
    )
    parser.add_argument("--steps", type=int, nargs=2, metavar=("V1", "V2"), default=list(STEPS.values()),
                        help="training steps per version (default %(default)s)")  # fmt: skip
    arguments = parser.parse_args(argv)
    out: Path = arguments.out
    make(out, seed=arguments.seed, steps=dict(zip(STEPS, arguments.steps, strict=True)), say=say)
    return 0


def make(out: Path, *, seed: int, steps: dict[str, int], say: Callable[[str], None]) -> None:
    """Write one network per entry of `steps` (name → training steps) and the record into `out`.

    A network that is there already with these parameters is kept, so an interrupted run can be started again.
    """
    summary: dict[str, Any] = {}
    for name, count in steps.items():
        folder = out / name
        params = _params(count, seed)
        report = _made_already(folder, params)
        if report is None:
            report = _train_version(name, folder, params, say)
        else:
            say(f"{name}: kept")
        summary[name] = {key: report[key] for key in ("params", "metrics", "made_with")} | {"files": _files(folder)}
        say(f"{name}: {report['metrics']}")
    record = {
        "schema_version": 1,
        "command": f"python -m stackctl.training.starter --seed {seed} --steps {' '.join(map(str, steps.values()))}",
        "training_photos": list(photos.TRAINING),
        "held_out_photos": list(photos.HELD_OUT),
        "degradation": "x4, Pillow bicubic with antialiasing, rounded to 8 bits",
        "rival": "Pillow bicubic x4",
        "convention": metrics.CONVENTION,
        "networks": summary,
    }
    (out / "record.json").write_text(json.dumps(record, indent=2) + "\n")


def _train_version(name: str, folder: Path, params: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    from .fit import Recipe, train

    learnt = [photos.load(photo) for photo in photos.TRAINING]
    say(f"{name}: {params['steps']} steps on {len(learnt)} photos")
    begun = time.monotonic()
    network = train(
        learnt,
        Recipe(steps=params["steps"]),
        seed=params["seed"],
        progress=lambda step, loss: say(f"{name}: step {step}, loss {loss:.5f}"),
    )
    return write_version(network, folder, params=params, seconds=time.monotonic() - begun)


def _made_already(folder: Path, params: dict[str, Any]) -> dict[str, Any] | None:
    """Return metrics.json, which is written last, when it speaks of these parameters."""
    try:
        report: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError):
        return None
    return report if report.get("params") == params else None


def write_version(network: Any, folder: Path, *, params: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Write network.onnx, golden/ and metrics.json of one trained network into an emptied folder.

    Returns what metrics.json says. `seconds` is how long the training took.
    """
    from stackctl.checkpoints.export import write_golden, write_onnx

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_onnx(network, folder / "network.onnx")
    write_golden(network, golden_inputs(), folder / "golden")
    judged = [_judge(name, network) for name in photos.HELD_OUT]
    keys = ("psnr_y", "ssim_y", "psnr_y_bicubic", "ssim_y_bicubic")
    report = {
        "schema_version": 1,
        "metrics": {key: round(sum(photo[key] for photo in judged) / len(judged), 4) for key in keys},
        "convention": metrics.CONVENTION,
        "description": f"SRVGG x4, {params['steps']} training steps on photos of scikit-learn and scikit-image.",
        "params": params,
        "made_with": {"seconds": round(seconds, 1), **made_with(_PACKAGES)},
        "photos": judged,
        "fidelity": fidelity(folder),
    }
    (folder / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def golden_inputs() -> dict[str, Pixels]:
    """Return small crops of held-out photos, shrunk by 4: colour, odd sizes, one grey, one with hard edges."""
    crops = {
        "chelsea": (8, 30, 48, 48),
        "coffee": (20, 40, 40, 64),
        "rocket": (40, 60, 33, 47),
        "camera": (20, 40, 40, 40),
    }
    inputs: dict[str, Pixels] = {}
    for name, (top, left, height, width) in crops.items():
        low = degrade.shrink(degrade.crop_to_multiple(photos.load(f"skimage:{name}"), 4), 4)
        crop = low[top : top + height, left : left + width]
        inputs[name] = crop[:, :, 0].copy() if name == "camera" else crop.copy()
    return inputs


def fidelity(folder: Path) -> dict[str, Any]:
    """Return how OpenVINO's answers compare with the golden ones, per precision.

    A precision is null where it cannot be measured: no OpenVINO in this environment, or no bf16 in this CPU.
    """
    from stackctl.imaging import BadOption, Network, compare_golden

    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        try:
            network = Network.load(folder / "network.onnx", precision=precision)
        except (BadOption, ModuleNotFoundError):
            found[precision] = None
            continue
        result = compare_golden(folder / "golden", network)
        found[precision] = {
            "passed": result.passed,
            "worst_levels": result.worst_levels,
            "psnr_db": None if result.psnr_db == float("inf") else round(result.psnr_db, 2),
        }
    return found


def _judge(name: str, network: Any) -> dict[str, Any]:
    from stackctl.checkpoints.export import answer

    high = degrade.crop_to_multiple(photos.load(name), 4)
    low = degrade.shrink(high, 4)
    made, rival = answer(network, low), degrade.enlarge(low, 4)
    return {
        "photo": name,
        "psnr_y": round(metrics.psnr_y(made, high), 4),
        "ssim_y": round(metrics.ssim_y(made, high), 4),
        "psnr_y_bicubic": round(metrics.psnr_y(rival, high), 4),
        "ssim_y_bicubic": round(metrics.ssim_y(rival, high), 4),
    }


def _params(steps: int, seed: int) -> dict[str, Any]:
    from dataclasses import asdict

    from .fit import Recipe

    recipe = asdict(Recipe(steps=steps))
    return {"architecture": "SRVGG", **recipe, "loss": "L1", "optimizer": "Adam", "schedule": "one cycle", "seed": seed}


def _files(folder: Path) -> dict[str, str]:
    from stackctl.checkpoints.golden_pairs import sha256

    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


if __name__ == "__main__":
    raise SystemExit(main())
