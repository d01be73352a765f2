"""A folder upscaled by a network on this machine: what fails, dies or cannot be written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.golden import starter_pair
from support.pictures import encode, noise, pixels

from stackctl.errors import StackctlError, UsageError
from stackctl.lifecycle.upscale import How, Upscaled, plan
from stackctl.lifecycle.upscale_locally import MAX_DEATHS, LocalNetwork, locally

PYTHON = Path(sys.executable)


@pytest.fixture
def starter() -> LocalNetwork:
    from stackctl import checkpoints

    return LocalNetwork(Path(checkpoints.__file__).parent / "starter" / "v1" / "network.onnx", "starter-v1")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))


def run(tmp_path: Path, network: LocalNetwork, python: Path = PYTHON, how: How | None = None) -> list[Upscaled]:
    work = plan(str(tmp_path / "in"), str(tmp_path / "out"), how or How())
    return list(locally(work, network, python))


def inputs(tmp_path: Path, **files: bytes) -> None:
    for name, data in files.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.png").write_bytes(data)


def test_an_unreadable_image_is_named_and_the_others_are_upscaled(tmp_path: Path, starter: LocalNetwork) -> None:
    good = starter_pair(1)
    inputs(tmp_path, a=good.input, b=good.input[:60], c=b"", d=good.input)
    (tmp_path / "in" / "e.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "in" / "sub").mkdir()
    (tmp_path / "in" / "sub" / "a.png").write_bytes(good.input)
    found = run(tmp_path, starter)
    assert {Path(item.source).name for item in found if item.error} == {"b.png", "c.png"}
    written = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.*"))
    assert written == ["a_out.png", "d_out.png", "sub/a_out.png"]
    assert {item.version for item in found if not item.error} == {"starter-v1"}
    assert all(item.report["out_width"] == 4 * item.report["width"] for item in found if not item.error)


def test_options_reach_the_engine_wherever_it_is_called(
    tmp_path: Path, starter: LocalNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("raise ImportError('a file of the folder that the command was called in')\n")
    inputs(tmp_path, a=starter_pair(1).input)
    item = run(tmp_path, starter, how=How(outscale=2, image_format="webp", tile=16, precision="fp32"))[0]
    assert item.result == str(tmp_path / "out" / "a_out.webp")
    assert item.report["out_width"] == 2 * item.report["width"]
    assert item.report["tiles"] > 1
    with pytest.raises(UsageError, match="outscale"):
        run(tmp_path, starter, how=How(outscale=99))


def test_the_alpha_upsampler_is_honoured(tmp_path: Path, starter: LocalNetwork) -> None:
    inputs(tmp_path, a=encode(noise(24, 24, 4)))
    made = []
    for alpha in ("bicubic", "network"):
        item = run(tmp_path, starter, how=How(alpha=alpha, suffix=alpha))[0]
        made.append(pixels(Path(str(item.result)).read_bytes()))
    assert made[0].shape == (96, 96, 4)
    assert (made[0][:, :, :3] == made[1][:, :, :3]).all()
    assert (made[0][:, :, 3] != made[1][:, :, 3]).any()


def test_results_that_cannot_be_written_end_the_batch_with_a_sentence(tmp_path: Path, starter: LocalNetwork) -> None:
    inputs(tmp_path, a=starter_pair(1).input, b=starter_pair(1).input)
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        run(tmp_path, starter)


def test_a_network_that_is_none_is_said_with_its_file(tmp_path: Path) -> None:
    inputs(tmp_path, a=starter_pair(1).input)
    (tmp_path / "network.onnx").write_bytes(b"no network")
    with pytest.raises(StackctlError, match=r"network\.onnx"):
        run(tmp_path, LocalNetwork(tmp_path / "network.onnx", "broken"))


def test_a_process_that_dies_on_an_image_is_replaced_for_the_others(tmp_path: Path, starter: LocalNetwork) -> None:
    """A stand-in for the interpreter kills itself on every image named `kill…`, as the system does without memory."""
    good = starter_pair(1).input
    inputs(tmp_path, a=good, kill=good, z=good)
    found = run(tmp_path, starter, _deadly(tmp_path))
    assert [(Path(item.source).stem, item.error is None) for item in found] == [
        ("a", True),
        ("kill", False),
        ("z", True),
    ]
    assert "died" in str(found[1].error)


def test_a_process_that_dies_again_and_again_is_given_up(tmp_path: Path, starter: LocalNetwork) -> None:
    inputs(tmp_path, **{f"kill{number}": b"x" for number in range(MAX_DEATHS + 2)})
    found = run(tmp_path, starter, _deadly(tmp_path))
    assert len(found) == MAX_DEATHS + 2
    assert all(item.error for item in found)
    assert "Not tried" in str(found[-1].error)


def test_an_image_whose_event_was_lost_is_no_success(tmp_path: Path, starter: LocalNetwork) -> None:
    good = starter_pair(1).input
    inputs(tmp_path, a=good, garbled=good, z=good)
    found = run(tmp_path, starter, _deadly(tmp_path))
    assert {Path(item.source).stem: item.error is None for item in found} == {"a": True, "garbled": False, "z": True}


def test_an_interpreter_without_the_packages_is_quoted(tmp_path: Path, starter: LocalNetwork) -> None:
    inputs(tmp_path, a=starter_pair(1).input)
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho No module named openvino\nexit 1\n")
    bare.chmod(0o755)
    with pytest.raises(StackctlError, match="No module named openvino"):
        run(tmp_path, starter, bare)


def _deadly(tmp_path: Path) -> Path:
    program = tmp_path / "deadly.py"
    program.write_text(
        "import json, os, signal, sys\n"
        "for number, source, target in json.load(open(sys.argv[-1]))['images']:\n"
        "    print(json.dumps({'event': 'begin', 'number': number}), flush=True)\n"
        "    if 'kill' in source.rsplit('/', 1)[-1]:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if 'garbled' in source:\n"
        "        print('a warning without an end of line ', end='')\n"
        "    print(json.dumps({'event': 'done', 'number': number, 'result': target, 'report': {}}), flush=True)\n"
        "print(json.dumps({'event': 'end'}), flush=True)\n"
    )
    stand_in = tmp_path / "deadly"
    stand_in.write_text(f'#!/bin/sh\nexec {PYTHON} {program} "$@"\n')
    stand_in.chmod(0o755)
    return stand_in
