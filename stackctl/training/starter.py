"""Trains the two starter networks and writes them as `stackctl models import starter` reads them.

    python -m stackctl.training.starter --out DIR --seed 1

DIR/v1 and DIR/v2 each get network.onnx, golden/ and metrics.json; DIR/record.json says how they were made.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import degrade, metrics, photos

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .fit import Recipe

    Pixels = NDArray[np.uint8]

SEED = 1
STEPS = {"v1": 1000, "v2": 6000}
"""Training steps: version 1 is stopped early on purpose, so that promoting version 2 is an improvement one can see."""

_PACKAGES = ("torch", "numpy", "pillow", "onnx", "scikit-image", "scikit-learn", "openvino")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, train, write; return 0, or 2 when the output folder exists already."""
    parser = argparse.ArgumentParser(prog="python -m stackctl.training.starter", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to make; must not exist or be empty")
    parser.add_argument(
        "--seed", type=int, default=SEED, help="everything random is drawn from it (default %(default)s)"
    )
    parser.add_argument("--steps", type=int, nargs=2, metavar=("V1", "V2"), default=list(STEPS.values()),
                        help="training steps per version (default %(default)s)")  # fmt: skip
    arguments = parser.parse_args(argv)
    out: Path = arguments.out
    if out.exists() and any(out.iterdir()):
        sys.stderr.write(f"{out} is not empty; choose a new folder.\n")
        return 2
    make(out, seed=arguments.seed, steps=dict(zip(STEPS, arguments.steps, strict=True)), say=_say)
    return 0


def make(out: Path, *, seed: int, steps: dict[str, int], say: Callable[[str], None]) -> None:
    """Train one network per entry of `steps` (name → training steps) and write them and the record into `out`."""
    from .fit import Recipe, train

    learnt = [photos.load(name) for name in photos.TRAINING]
    summary: dict[str, Any] = {}
    for name, count in steps.items():
        begun = time.monotonic()
        recipe = Recipe(steps=count)
        say(f"{name}: {count} steps on {len(learnt)} photos")
        network = train(learnt, recipe, seed=seed, progress=_progress(name, say))
        spent = time.monotonic() - begun
        folder = out / name
        report = write_version(network, folder, params={**_recipe(recipe), "seed": seed})
        summary[name] = {
            **_recipe(recipe),
            "seconds": round(spent, 1),
            "metrics": report["metrics"],
            "files": _files(folder),
        }
        say(f"{name}: {report['metrics']}")
    record = {
        "schema_version": 1,
        "command": f"python -m stackctl.training.starter --seed {seed} --steps {' '.join(map(str, steps.values()))}",
        "seed": seed,
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": platform.machine(),
        "training_photos": list(photos.TRAINING),
        "held_out_photos": list(photos.HELD_OUT),
        "degradation": "x4, Pillow bicubic with antialiasing, rounded to 8 bits",
        "rival": "Pillow bicubic x4",
        "convention": metrics.CONVENTION,
        "networks": summary,
    }
    (out / "record.json").write_text(json.dumps(record, indent=2) + "\n")


def write_version(network: Any, folder: Path, *, params: dict[str, Any]) -> dict[str, Any]:
    """Write network.onnx, golden/ and metrics.json of one trained network; return what metrics.json says."""
    from .export import write_golden, write_onnx

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
    """Return how OpenVINO's answers compare with the golden ones, per precision; null where this CPU cannot say."""
    from stackctl.imaging import BadOption, Network, compare_golden

    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        try:
            network = Network.load(folder / "network.onnx", precision=precision)
        except BadOption:
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
    from .export import answer

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


def _progress(name: str, say: Callable[[str], None]) -> Callable[[int, float], None]:
    return lambda step, loss: say(f"{name}: step {step}, loss {loss:.5f}")


def _recipe(recipe: Recipe) -> dict[str, Any]:
    from dataclasses import asdict

    return {"architecture": "SRVGG", **asdict(recipe), "loss": "L1", "optimizer": "Adam", "schedule": "one cycle"}


def _files(folder: Path) -> dict[str, str]:
    from .export import sha256

    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
