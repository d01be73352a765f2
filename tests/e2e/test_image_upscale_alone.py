"""Upscaling on this machine without any stack: a folder, an interrupt in the middle of it, and real weights."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from support.cli import HEAVY, Cli, loaded_by
from support.pictures import encode, noise
from support.waiting import PATIENCE, eventually

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
    done = (tmp_path / "out").rglob
    eventually(lambda: len(list(done("*_out.png"))) >= 2, "two results", log=log.read_text, running=running, pause=0.01)
    running.send_signal(signal.SIGINT)
    assert running.wait(PATIENCE) == 130
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
    words = ("image", "upscale", "-n", weights, image)
    first = Cli(cwd=tmp_path).json(*words, tmp_path / "first")["results"][0]
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "torch-0-py3-none-any.whl").touch()  # of which no environment can be made
    without_torch = Cli(cwd=tmp_path, env={"STACKCTL_WHEELHOUSE": str(tmp_path / "wheels")})
    second = without_torch.json(*words, tmp_path / "second")["results"][0]
    assert first["report"]["out_width"] == 4 * 48
    assert Path(first["result"]).read_bytes() == Path(second["result"]).read_bytes()


def test_the_command_itself_loads_neither_the_engine_nor_mlflow(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(noise(16, 16, seed=1)))
    words = ("-q", "image", "upscale", "-n", "starter", "a.png", "out")
    assert loaded_by(*words, cwd=tmp_path) & HEAVY == set()
