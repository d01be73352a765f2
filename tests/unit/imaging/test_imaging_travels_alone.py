"""A copy of the package under another name, with nothing of the product beside it, answers the same."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from support import pictures

from stackctl import imaging, process
from stackctl.imaging import Network, upscale

PROGRAM = """
import sys
from pathlib import Path
from travelled_imaging import Network, Options, upscale

assert not any(name == "stackctl" or name.startswith("stackctl.") for name in sys.modules)
network, source, target = map(Path, sys.argv[1:])
target.write_bytes(upscale(source.read_bytes(), Network.load(network, precision="fp32"), Options())[0])
assert not any(name == "stackctl" or name.startswith("stackctl.") for name in sys.modules)
assert not {"torch", "onnx", "mlflow"} & set(sys.modules)
"""


def test_a_renamed_copy_answers_the_same_bytes(starter: Path, network: Network, tmp_path: Path) -> None:
    shutil.copytree(Path(imaging.__file__).parent, tmp_path / "travelled_imaging")
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    source.write_bytes(pictures.encode(pictures.noise(20, 24)))

    process.run(
        [sys.executable, "-c", PROGRAM, str(starter / "v2" / "network.onnx"), str(source), str(target)], cwd=tmp_path
    )

    assert target.read_bytes() == upscale(source.read_bytes(), network)[0]
