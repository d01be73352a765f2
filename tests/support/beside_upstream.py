"""A program for the environment that has torch and realesrgan: runs networks on every backend, says how they differ.

Usage: python beside_upstream.py FOLDER [CHECKPOINT]. Networks are upstream's architectures with seeded random weights,
or the checkpoint's. Prints one JSON object: network → figures.
"""

from __future__ import annotations

import json
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from realesrgan.archs.srvgg_arch import SRVGGNetCompact

from stackctl.imaging import Network, upscale

SIZES = ((1, 1), (37, 52), (64, 48))


def networks(checkpoint: str | None) -> dict[str, Any]:
    """Return name → torch network."""
    torch.manual_seed(5)
    made: dict[str, Any] = {
        "srvgg_random": SRVGGNetCompact(num_feat=16, num_conv=4, upscale=4),
        "rrdb_x4_random": RRDBNet(3, 3, scale=4, num_feat=16, num_block=2, num_grow_ch=8),
        "rrdb_x2_random": RRDBNet(3, 3, scale=2, num_feat=16, num_block=2, num_grow_ch=8),
    }
    with torch.no_grad():
        for name in ("rrdb_x4_random", "rrdb_x2_random"):
            made[name].conv_last.weight *= 8  # so that what the network answers is no flat grey
    if checkpoint:
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["params"]
        real = SRVGGNetCompact(num_feat=64, num_conv=16, upscale=4)
        real.load_state_dict({name: value.float() for name, value in weights.items()})
        made["real"] = real
    return made


def export(name: str, network: Any, folder: Path) -> tuple[Path, Path]:
    """Write the checkpoint and the ONNX file; return both paths."""
    checkpoint, graph = folder / f"{name}.pth", folder / f"{name}.onnx"
    torch.save({"params": network.state_dict()}, checkpoint)
    sides = {2: "height", 3: "width"}
    torch.onnx.export(
        network.eval(), (torch.zeros(1, 3, 16, 16),), str(graph), input_names=["image"], output_names=["upscaled"],
        dynamic_axes={"image": sides, "upscaled": {2: "out_height", 3: "out_width"}}, opset_version=17, dynamo=False,
    )  # fmt: skip
    return checkpoint, graph


def compare(checkpoint: Path, graph: Path) -> dict[str, Any]:
    """Return the largest differences in levels between upstream, torch and OpenVINO."""
    upstream = Network.load(checkpoint, backend="realesrgan")
    ours = {name: Network.load(graph, backend=name, precision="fp32") for name in ("openvino", "torch")}
    figures: dict[str, Any] = {
        "scale": [upstream.scale, *(network.scale for network in ours.values())],
        "halo": [upstream.halo, *(network.halo for network in ours.values())],
        "spread": 0, "openvino_torch": 0, "openvino_upstream": 0, "torch_upstream": 0, "deep": 0,
    }  # fmt: skip
    draw = np.random.default_rng(3)
    for height, width in SIZES:
        tile = np.repeat(np.repeat(draw.integers(0, 256, (height, width, 3), np.uint8), 2, 0), 2, 1)[:height, :width]
        tile = np.ascontiguousarray(tile)
        if min(height, width) % ours["openvino"].multiple:
            continue
        answers = {name: network.infer(tile).astype(int) for name, network in ours.items()}
        answers["upstream"] = upstream.infer(tile).astype(int)
        figures["spread"] = max(figures["spread"], int(np.ptp(answers["torch"])))
        for left, right in (("openvino", "torch"), ("openvino", "upstream"), ("torch", "upstream")):
            difference = int(np.abs(answers[left] - answers[right]).max())
            figures[f"{left}_{right}"] = max(figures[f"{left}_{right}"], difference)
        deep = {name: network.infer(tile.astype(np.uint16) * 257).astype(int) for name, network in ours.items()}
        figures["deep"] = max(figures["deep"], int(np.abs(deep["openvino"] - deep["torch"]).max()))
    tiles = [draw.integers(0, 256, (16, 16 + 2 * number, 3), np.uint8) for number in range(4)]
    alone = [ours["torch"].infer(tile) for tile in tiles]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ours["torch"].infer, tiles * 4))
    figures["threads_mix"] = not all(np.array_equal(one, other) for one, other in zip(alone * 4, together, strict=True))
    bf16 = Network.load(graph, backend="torch", precision="bf16")
    error = bf16.infer(tiles[0]).astype(float) - alone[0]
    figures["bf16_psnr"] = 10 * float(np.log10(255**2 / max(1e-9, float(np.mean(error**2)))))
    picture = draw.integers(0, 256, (37, 51, 3), np.uint8)  # odd: a network that folds pixels pads it
    whole = cv2.imdecode(np.frombuffer(upscale(_png(picture), ours["openvino"])[0], np.uint8), cv2.IMREAD_COLOR_RGB)
    assert whole is not None
    figures["padded"] = int(np.abs(whole.astype(int) - upstream.infer(picture)).max())
    return figures


def _png(levels: Any) -> bytes:
    return bytes(cv2.imencode(".png", np.ascontiguousarray(levels[:, :, ::-1]))[1])


def main() -> None:
    """Compare every network."""
    warnings.filterwarnings("ignore")
    folder, checkpoint = Path(sys.argv[1]), (sys.argv[2] if len(sys.argv) > 2 else None)
    figures = {name: compare(*export(name, network, folder)) for name, network in networks(checkpoint).items()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
