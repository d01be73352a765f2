"""Where memory ends, an image is refused by its kind of error and the process goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support import broken, pictures

from stackctl import process

PROGRAM = """
import json, resource, sys, warnings
from pathlib import Path
from stackctl.imaging import ImagingError, Limits, Network, Options, upscale

warnings.simplefilter("ignore")
network, folder, spare = Network.load(sys.argv[1], precision="fp32", threads=2), Path(sys.argv[2]), int(sys.argv[3])

def outcome(path, to):
    try:
        upscale(path.read_bytes(), network, Options(format=to, limits=Limits(max_input_pixels=100_000_000)))
    except ImagingError as error:
        return error.code
    return "ok"

formats = ("png", "jpeg", "webp", "tiff")
small = sorted(folder.glob("small*"))
warm = [outcome(path, to) for path in small for to in formats]
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + spare, taken + spare))
answers = {f"{path.name} {to}": outcome(path, to) for path in sorted(folder.iterdir()) for to in formats}
print(json.dumps({"warm": warm, "answers": answers, "after": [outcome(path, "png") for path in small]}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of small images, large ones, and broken ones that claim to be large."""
    large = np.repeat(np.repeat(pictures.noise(100, 100), 22, axis=0), 22, axis=1)  # 16 times as many bytes: 232 MB
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"):
        (tmp_path / f"large.{kind}").write_bytes(pictures.encode(large, kind))
        cut = pictures.encode(pictures.noise(60, 60), kind)
        (tmp_path / f"cut.{kind}").write_bytes(cut[: len(cut) // 2])
        (tmp_path / f"lying.{kind}").write_bytes(
            broken.resized_header(pictures.encode(pictures.noise(60, 60), kind), 9000, 9000)
        )
    (tmp_path / "large-16.png").write_bytes(pictures.encode_deep(large.astype(np.uint16) * 257))
    (tmp_path / "small.png").write_bytes(pictures.encode(pictures.noise(32, 32, 4)))
    (tmp_path / "small.jpg").write_bytes(pictures.encode(pictures.noise(32, 32), "JPEG"))
    return tmp_path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space are Linux's")
@pytest.mark.slow
def test_images_that_memory_does_not_suffice_for_are_too_large_and_the_next_one_is_answered(
    starter: Path, folder: Path
) -> None:
    done = process.run(
        [sys.executable, "-c", PROGRAM, str(starter / "v2" / "network.onnx"), str(folder), str(150 << 20)], timeout=300
    )
    said = json.loads(done.stdout)

    assert set(said["warm"]) == {"ok"} == set(said["after"])
    for name, code in said["answers"].items():
        if name.startswith("large"):
            assert code == "too_large", name
        elif name.startswith(("cut", "lying")):
            assert code in {"corrupt_image", "too_large", "unsupported_format", "bad_option"}, name
