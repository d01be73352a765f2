"""Networks whose answers are no pictures, and names that MLflow does not take, are refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from stackctl.checkpoints.log_network import bare, main
from stackctl.errors import StackctlError


def network(folder: Path, gain: float) -> Path:
    """Return a network x1 that answers its input times ``gain``."""
    image = ops.parameter([1, 3, -1, -1], np.float32)
    weights = (np.eye(3, dtype=np.float32) * np.float32(gain)).reshape(3, 3, 1, 1)
    out = ops.convolution(image, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    ov.save_model(ov.Model([out], [image]), folder / "network.xml", compress_to_fp16=False)
    return folder / "network.xml"


@pytest.mark.parametrize(("gain", "said"), [(np.nan, "no numbers"), (255.0, "pixels lie between 0 and 1")])
def test_answers_that_are_no_pixels_are_refused(tmp_path: Path, gain: float, said: str) -> None:
    with pytest.raises(StackctlError, match=rf"mine\.onnx answers .*{said}"):
        bare(network(tmp_path, gain), "mine.onnx", tmp_path / "golden")
    assert not (tmp_path / "golden").exists()


def test_answers_that_leave_the_range_a_little_are_taken(tmp_path: Path) -> None:
    assert bare(network(tmp_path, 1.2), "mine.onnx", tmp_path / "golden").params["scale"] == 1


def test_what_mlflow_says_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nothing answers there
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    status = main(["--model", "mine", "--source", "mine.onnx", "--onnx", str(network(tmp_path, 1.0))])

    [line] = capsys.readouterr().out.splitlines()
    assert (status, json.loads(line)["error"]["message"][:32]) == (1, "MLflow did not take the network:")
