"""Register a network as a version; run where the model server's packages are, and never in need of torch.

``python -m stackctl.checkpoints.log_network --model NAME --source WORDS --folder FOLDER`` takes what ``convert`` wrote;
``--onnx FILE`` takes a bare ONNX file, checks it and makes its golden pairs. It prints one line of JSON: the version,
or ``{"error": …}``.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stackctl.checkpoints.golden_pairs import golden_inputs, write_pairs
from stackctl.checkpoints.image_package import ImagePackage
from stackctl.checkpoints.packaging import log_image_model
from stackctl.errors import StackctlError

EXPERIMENT = "imported"
_BEYOND, _MOST_BEYOND = 0.5, 0.5
"""How far outside [0, 1] a raw value may lie, and which share of them may lie further."""


def main(argv: Sequence[str] | None = None) -> int:
    """Register what the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m stackctl.checkpoints.log_network", description=__doc__)
    parser.add_argument("--model", required=True, help="name of the registered model")
    parser.add_argument("--source", required=True, help="where the network came from, for a person")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--folder", type=Path, help="network.onnx, golden/ and report.json")
    what.add_argument("--onnx", type=Path, help="an ONNX file")
    chosen = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            package = (
                converted(chosen.folder, chosen.source)
                if chosen.folder
                else bare(chosen.onnx, chosen.source, Path(folder) / "golden")
            )
            answer = _log(package, chosen.model)
    except StackctlError as error:
        sys.stdout.write(json.dumps({"error": {"message": error.message, "hint": error.hint}}) + "\n")
        return error.code
    sys.stdout.write(json.dumps(answer, sort_keys=True) + "\n")
    return 0


def _log(package: ImagePackage, model: str) -> dict[str, Any]:
    from mlflow.exceptions import MlflowException

    try:
        return log_image_model(package, name=model, experiment=EXPERIMENT).to_dict()
    except MlflowException as error:
        said = (error.message or "").strip().splitlines() or [type(error).__name__]
        raise StackctlError(
            f"MLflow did not take the network: {said[0][:300]}", "See `stackctl logs mlflow`."
        ) from error


def converted(folder: Path, source: str) -> ImagePackage:
    """Return the package of a checkpoint that was converted into ``folder``."""
    report = json.loads((folder / "report.json").read_text())
    origin, parity = report["source"], report["parity"]
    checkpoint = "+".join(str(origin[key]) for key in ("sha256", "twin_sha256", "denoise") if key in origin)
    upstream = parity["realesrganer_fp32"]
    params: dict[str, str | int | float | bool] = {
        "architecture": report["architecture"],
        "details": report["details"],
        "scale": report["scale"],
        "parameters": report["parameters"],
        "receptive_field": report["receptive_field"] or "unbounded",
        "checkpoint": origin["file"],
        "checkpoint_sha256": origin["sha256"],
        **{key: origin[key] for key in ("twin_sha256", "denoise") if key in origin},
        "onnx_sha256": report["onnx"]["sha256"],
        "opset": report["onnx"]["opset"],
        "torch": report["made_with"]["torch"],
        "golden_reference": "torch fp32",
        "parity_openvino_fp32_levels": parity["openvino_fp32"]["worst_levels"],
        "parity_realesrganer_levels": upstream["worst_levels"] if upstream else "not compared",
        "fidelity_bf16_psnr_db": report["fidelity"]["bf16"]["psnr_db"],
    }
    return ImagePackage(
        network=folder / "network.onnx",
        golden=folder / "golden",
        source=source,
        params=params,
        evaluation=report,
        description=f"{report['architecture']} x{report['scale']} ({report['details']}) from {origin['file']}.",
        checkpoint=checkpoint,
    )


def bare(onnx: Path, source: str, golden: Path) -> ImagePackage:
    """Return the package of an ONNX file; its golden pairs are written into ``golden``, answered by OpenVINO in fp32.

    Raises:
        StackctlError: it is no network from RGB to RGB at a whole scale, or it does not answer with pixels.
    """
    from stackctl.imaging import ImagingError, Network

    try:
        network = Network.load(onnx, precision="fp32")
        _check_range(onnx, network.multiple, source)
        answers = [_answer(network, image, "fp32") for image in golden_inputs().values()]
    except ImagingError as error:
        raise StackctlError(
            f"{source} is no network for images: {error}",
            "It must turn N×3×H×W in [0, 1], H and W free, into N×3×(scale·H)×(scale·W).",
        ) from error
    pairs = list(zip(golden_inputs().values(), answers, strict=True))
    fidelity = {"bf16": {"psnr_db": _bf16_psnr(network, pairs), "measured_by": "openvino"}}
    write_pairs(pairs, golden, reference="openvino fp32", fidelity=fidelity)
    return ImagePackage(
        network=onnx,
        golden=golden,
        source=source,
        params={
            "scale": network.scale,
            "receptive_field": network.receptive_field or "unbounded",
            "golden_reference": "openvino fp32",
            "fidelity_bf16_psnr_db": fidelity["bf16"]["psnr_db"] or "not measured",
        },
        description=f"ONNX network x{network.scale} from {source}.",
    )


def _check_range(onnx: Path, multiple: int, source: str) -> None:
    """Refuse a network whose answers, before they are clamped, are no numbers or not in [0, 1].

    Its golden pairs are its own answers, so that nothing later would notice.
    """
    import numpy as np
    import openvino

    image = next(image for image in golden_inputs().values() if image.ndim == 3)
    rows, columns = (size // multiple * multiple for size in image.shape[:2])
    planes = image[:rows, :columns].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(onnx), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        raw = np.asarray(compiled(planes)[0])
    except RuntimeError as error:
        raise StackctlError(f"{source} is no network for images: OpenVINO cannot run it.") from error
    if not np.isfinite(raw).all():
        raise StackctlError(
            f"{source} answers with values that are no numbers: its weights are broken.", "Export the network again."
        )
    if np.mean((raw < -_BEYOND) | (raw > 1 + _BEYOND)) > _MOST_BEYOND:
        raise StackctlError(
            f"{source} answers between {raw.min():.4g} and {raw.max():.4g} where pixels lie between 0 and 1.",
            "Export the network so that it takes and gives RGB in [0, 1].",
        )


def _bf16_psnr(network: Any, pairs: list[tuple[Any, Any]]) -> float | None:
    """Return the worst pair's PSNR in bf16 in dB; None where this processor has no such arithmetic."""
    from stackctl.imaging import BadOption
    from stackctl.imaging.golden import difference

    try:
        found = [difference(_answer(network, given, "bf16"), expected)[1] for given, expected in pairs]
    except BadOption:
        return None
    return round(min(*found, 99.0), 2)


def _answer(network: Any, image: Any, precision: str) -> Any:
    import numpy as np
    from PIL import Image

    from stackctl.imaging import Options, upscale

    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "png")
    made, _ = upscale(encoded.getvalue(), network, Options(format="png", precision=precision))
    with Image.open(io.BytesIO(made)) as opened:
        return np.asarray(opened, dtype=np.uint8).copy()


if __name__ == "__main__":
    sys.exit(main())
