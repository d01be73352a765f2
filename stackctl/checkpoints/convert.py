"""Convert a checkpoint into what a version is made from; run where torch is.

``python -m stackctl.checkpoints.convert --checkpoint FILE --out FOLDER`` writes network.onnx, golden/ and, last,
report.json. The last line on standard output is one line of JSON: the report, or ``{"error": …}``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.checkpoints.golden_pairs import TOLERANCE, golden_inputs, sha256
from stackctl.checkpoints.made_with import made_with, say
from stackctl.errors import StackctlError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

REPORT = "report.json"
_PACKAGES = ("torch", "spandrel", "openvino", "numpy", "realesrgan")


def main(argv: Sequence[str] | None = None) -> int:
    """Convert what the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m stackctl.checkpoints.convert", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help=".pth or .safetensors")
    parser.add_argument("--twin", type=Path, help="checkpoint that is mixed in")
    parser.add_argument("--denoise", type=float, default=1.0, help="share of the first checkpoint beside its twin")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    chosen = parser.parse_args(argv)
    try:
        report = convert(chosen.checkpoint, chosen.out, twin=chosen.twin, denoise=chosen.denoise, say=say)
    except StackctlError as error:
        report = {"error": {"message": error.message, "hint": error.hint}}
        sys.stdout.write(json.dumps(report) + "\n")
        return error.code
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def convert(
    checkpoint: Path, folder: Path, *, twin: Path | None = None, denoise: float = 1.0, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write network.onnx, golden/ and report.json of a checkpoint into ``folder``; return the report.

    Args:
        checkpoint: ``.pth`` or ``.safetensors``.
        folder: where to; what it has of an earlier try is replaced.
        twin: a checkpoint of the same architecture that is mixed in.
        denoise: share of ``checkpoint`` beside ``twin``, 0 to 1 (upstream's ``-dn``).
        say: called with what happens.

    Raises:
        StackctlError: the checkpoint is refused or unknown, or ONNX does not answer as torch does.
    """
    from stackctl.checkpoints.architecture import recognise
    from stackctl.checkpoints.export import OPSET, write_golden, write_onnx
    from stackctl.checkpoints.oracle import Oracle
    from stackctl.checkpoints.reading import interpolated, read_tensors

    say("reading the checkpoint")
    tensors = read_tensors(checkpoint)
    if twin is not None:
        tensors = interpolated(tensors, read_tensors(twin), denoise)
    found = recognise(tensors, checkpoint.name)
    say(f"converting {found.architecture} x{found.scale} ({found.details})")
    folder.mkdir(parents=True, exist_ok=True)
    onnx = folder / "network.onnx"
    try:
        write_onnx(found.network, onnx)
    except (RuntimeError, TypeError, ValueError) as error:
        raise StackctlError(f"{checkpoint.name} cannot be written as ONNX: {str(error).splitlines()[0]}") from error
    say("answering the golden inputs in torch, fp32 and bf16")
    inputs = golden_inputs()
    write_golden(found.network, inputs, folder / "golden")
    say("comparing ONNX with torch, and torch with upstream's RealESRGANer")
    parity, field = _openvino_parity(onnx, folder / "golden")
    manifest = json.loads((folder / "golden" / "manifest.json").read_text())
    report = {
        "schema_version": 1,
        "source": {
            "file": checkpoint.name,
            "sha256": sha256(checkpoint),
            **({"twin_sha256": sha256(twin), "denoise": denoise} if twin else {}),
        },
        "architecture": found.architecture,
        "details": found.details,
        "scale": found.scale,
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "receptive_field": field,
        "onnx": {"sha256": sha256(onnx), "opset": OPSET},
        "parity": {
            "openvino_fp32": parity,
            "realesrganer_fp32": _upstream_parity(
                Oracle.of(tensors, found.architecture, found.scale), found.network, inputs
            ),
        },
        "fidelity": manifest["fidelity"],
        "made_with": made_with(_PACKAGES),
    }
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n")
    return report


def _openvino_parity(onnx: Path, golden: Path) -> tuple[dict[str, Any], int | None]:
    """Return how ONNX compares with torch on the golden pairs, and the receptive field in input pixels.

    Raises:
        StackctlError: it differs by more than what a version may.
    """
    from stackctl.imaging import ImagingError, Network, compare_golden

    try:
        network = Network.load(onnx, precision="fp32")
        result = compare_golden(golden, network)
    except ImagingError as error:
        raise StackctlError(f"The converted network does not work: {error}") from error
    if not result.passed:
        raise StackctlError(f"The converted network does not answer as torch does: {result.reason}")
    return _figures(result.worst_levels, result.psnr_db), network.receptive_field


def _upstream_parity(oracle: Any, network: Any, inputs: Mapping[str, Pixels]) -> dict[str, Any] | None:
    """Return how torch's answers compare with upstream's on the inputs in colour; None without upstream.

    Raises:
        StackctlError: they differ by more than what a version may.
    """
    from stackctl.checkpoints.export import answer
    from stackctl.imaging.golden import difference

    if oracle is None:
        return None
    colour = [image for image in inputs.values() if image.ndim == 3]
    found = [difference(answer(network, image), oracle.answer(image)) for image in colour]
    levels = max(entry[0] for entry in found)
    if levels > TOLERANCE["fp32_max_levels"]:
        raise StackctlError(f"The network differs by {levels} levels from upstream's RealESRGANer with the same file.")
    return _figures(levels, min(entry[1] for entry in found))


def _figures(levels: int, psnr: float) -> dict[str, Any]:
    return {"worst_levels": levels, "psnr_db": None if psnr == float("inf") else round(psnr, 2)}


if __name__ == "__main__":
    sys.exit(main())
