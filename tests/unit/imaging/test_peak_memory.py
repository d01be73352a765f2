"""What one image of 12 megapixels costs a fresh process in memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support import pictures

from stackctl import process
from stackctl.imaging import peak_bytes, probe

ROOT = Path(__file__).parents[3]
MEBIBYTE = 2**20
PROGRAM = """
import json, sys
from pathlib import Path
from stackctl.imaging import Network, Options, upscale

network, source, cache, outscale = sys.argv[1:]
given = Path(source).read_bytes()
loaded = Network.load(network, precision="fp32", cache_dir=cache)
made, report = upscale(given, loaded, Options(outscale=float(outscale)))
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({"given": len(given), "made": len(made), "peak": int(peak.split()[1]) * 1024, **report.to_dict()}))
"""


def run(network: Path, source: Path, cache: Path, outscale: float = 0) -> dict[str, Any]:
    """Return the report of a fresh process, its peak of memory, and the bytes that went in and came out."""
    arguments = [sys.executable, "-c", PROGRAM, str(network), str(source), str(cache), str(outscale)]
    done = process.run(arguments, env={"PYTHONPATH": str(ROOT)}, timeout=600)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("outscale", [0, 2])
def test_12_megapixels_need_little_beside_input_output_and_encoded_output(
    starter: Path, tmp_path: Path, outscale: float
) -> None:
    source = tmp_path / "large.png"
    levels = cv2.resize(pictures.noise(300, 400), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(source), np.ascontiguousarray(levels))

    done = run(starter / "v1" / "network.onnx", source, tmp_path, outscale)

    raw = done["out_width"] * done["out_height"] * 3
    assert (done["out_width"], done["out_height"]) == (int(4000 * (outscale or 4)), int(3000 * (outscale or 4)))
    band = 4000 * 4 * done["tile"][0] * 4 * 3 if outscale else 0  # of the network's own size, before it is resampled
    assert done["peak"] <= 4000 * 3000 * 3 + raw + done["made"] + band + 300 * MEBIBYTE
    assert done["peak"] <= peak_bytes(probe(source.read_bytes()), scale=4, halo=10, outscale=outscale)
