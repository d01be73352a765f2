"""``image upscale`` on the command line: upstream's flags, what is refused, and what a person sees of a folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.cli import Cli
from support.golden import starter_pair
from support.pseudo_terminal import typist
from typer.testing import CliRunner

from stackctl import process
from stackctl.cli.app import app
from stackctl.errors import UsageError


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(cwd=tmp_path, env={"STACKCTL_CACHE": str(tmp_path / "cache")})


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        (folder / name).write_bytes(starter_pair(1).input)
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def test_upstreams_command_line_works_as_it_is(cli: Cli, inputs: Path, tmp_path: Path) -> None:
    done = cli.run(
        *("image", "upscale", "-n", "starter-v1", "-i", inputs / "a.png", "-o", "results", "-s", "2", "-t", "32"),
        *("--tile_pad", "10", "--pre_pad", "0", "--suffix", "big", "--fp32", "--alpha_upsampler", "realesrgan"),
        *("--ext", "jpg", "-g", "0"),
    )
    assert done.stdout.splitlines() == ["results/a_big.jpg"]
    assert (tmp_path / "results" / "a_big.jpg").is_file()
    for flag in ("--tile_pad", "--pre_pad", "--gpu-id"):
        assert f"{flag} is not needed" in done.stderr


def test_a_folder_goes_on_past_a_broken_image_and_names_it_at_the_end(cli: Cli, inputs: Path, tmp_path: Path) -> None:
    done = cli.run("image", "upscale", "-n", "starter", inputs, "results", check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["results/a_out.png", "results/sub/b_out.png"]
    last = done.stderr.splitlines()[-2:]
    assert last[0] == "2 upscaled, 1 failed"
    assert "broken.jpg" in last[1]
    document = cli.json("image", "upscale", "-n", "starter", inputs, "results", codes=(1,))
    assert [bool(item["error"]) for item in document["results"]] == [False, True, False]
    assert document["results"][0]["report"]["out_width"] == 192


@pytest.mark.serial
def test_a_terminal_shows_a_bar_with_rate_time_and_failures(inputs: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "stackctl", "image", "upscale", "-n", "starter", str(inputs), "results"]
    with typist(words, cwd=tmp_path, env={"STACKCTL_CACHE": str(tmp_path / "cache"), "NO_COLOR": ""}) as person:
        assert person.exit_status() == 1
    assert "3/3" in person.seen
    assert "images/s" in person.seen
    assert "1 failed" in person.seen
    assert "2 upscaled, 1 failed" in person.seen


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.png", "out", "--face_enhance"), "GFPGAN"),
        (("a.png",), "OUT is missing"),
        (("a.png", "out", "-i", "b.png"), "twice"),
        (("a.png", "out", "-dn", "0.5"), "network on this machine"),
        (("a.png", "out", "--alpha_upsampler", "realesrgan"), "network on this machine"),
        (("a.png", "out", "-n", "starter", "--ext", "gif"), "gif"),
        (("s3://bucket/x", "out", "-n", "starter"), "object store"),
        (("inputs", "inputs", "-n", "starter", "--suffix", ""), "replace"),
        (("inputs", "out", "-n", "no-such-network"), "no-such-network"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(inputs.parent)
    outcome = CliRunner().invoke(app, ["image", "upscale", *words], standalone_mode=False)
    error = outcome.exception
    assert error is not None
    assert said in (error.message if isinstance(error, UsageError) else str(getattr(error, "format_message", str)()))


def test_errors_are_documents_under_json(cli: Cli, inputs: Path) -> None:
    done = cli.run("image", "upscale", "--json", inputs, "out", "--face_enhance", check=False)
    assert json.loads(done.stdout)["error"]["code"] == 2


def test_a_name_that_is_not_utf8_leaves_the_document_valid() -> None:
    words = [
        sys.executable,
        "-c",
        "from stackctl.cli.output import print_json; print_json({'name': 'a\\udcff', 'b': 'ä'})",
    ]
    out = "".join(process.lines(words))
    assert json.loads(out) == {"schema_version": 1, "name": "a\udcff", "b": "ä"}
