"""Upscaling on this machine without any stack: a folder, an interrupt in the middle of it, and real weights."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import pytest
from support.cli import Cli
from support.pictures import encode, noise

from stackctl import process
from stackctl.store.files import PARTIAL

WEIGHTS = "weights/realesr-animevideov3.fp16.pth"


@pytest.mark.slow
def test_an_interrupted_folder_leaves_whole_images_only_and_the_next_call_finishes_it(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    names = [f"sub/{number:02}.png" if number % 2 else f"{number:02}.png" for number in range(12)]
    for number, name in enumerate(names):
        (tmp_path / "in" / name).write_bytes(encode(noise(200, 200, seed=number)))
    words = ["image", "upscale", "-n", "starter", str(tmp_path / "in"), str(tmp_path / "out")]
    log = tmp_path / "log"
    running = process.start([sys.executable, "-m", "stackctl", *words], cwd=tmp_path, log=log)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "out").rglob("*_out.png"))) < 2:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 130
    written = list((tmp_path / "out").rglob("*.png"))
    assert 2 <= len(written) < len(names)
    assert not [file for file in written if file.name.startswith(PARTIAL)]
    assert all(file.read_bytes().endswith(b"IEND\xaeB`\x82") for file in written)
    document = Cli(cwd=tmp_path).json(*words, "--ext", "webp")
    assert len(document["results"]) == len(names)
    assert {Path(item["result"]).suffix for item in document["results"]} == {".webp"}


@pytest.mark.slow
@pytest.mark.train
def test_a_checkpoint_of_upstream_is_converted_once_and_then_needs_no_torch(
    tmp_path: Path, shared_folder: Path | None
) -> None:
    weights = shared_folder / WEIGHTS if shared_folder else None
    if weights is None or not weights.is_file():
        pytest.skip("the sample weights are not at hand")
    image = tmp_path / "a.png"
    image.write_bytes(encode(noise(64, 48, seed=1)))
    cli = Cli(cwd=tmp_path)
    words = ("image", "upscale", "-n", weights, image)
    first = cli.json(*words, tmp_path / "first")["results"][0]
    began = time.monotonic()
    second = cli.json(*words, tmp_path / "second")["results"][0]
    assert time.monotonic() - began < 20
    assert first["report"]["out_width"] == 4 * 48
    assert Path(first["result"]).read_bytes() == Path(second["result"]).read_bytes()


def test_the_command_itself_loads_neither_the_engine_nor_mlflow(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(noise(16, 16, seed=1)))
    program = (
        "import atexit, json, sys\n"
        "heavy = ('cv2', 'numpy', 'openvino', 'mlflow', 'torch')\n"
        "atexit.register(lambda: print(json.dumps([name for name in heavy if name in sys.modules])))\n"
        "from stackctl.cli import main\n"
        "main(['-q', 'image', 'upscale', '-n', 'starter', 'a.png', 'out'])\n"
    )
    done = process.run([sys.executable, "-c", program], cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[-1]) == []
