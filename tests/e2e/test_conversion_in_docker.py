"""A checkpoint converted in the train image: the same command as without Docker, in a container that sees a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.image_stacks import stack_with

from stackctl.checkpoints.networks import prepare
from stackctl.engines.docker import DockerEngine
from stackctl.errors import StackctlError
from stackctl.imaging import Network, compare_golden
from stackctl.lifecycle.networks import run_by_engine

pytestmark = [pytest.mark.docker, pytest.mark.train, pytest.mark.slow]

SCRIPT = Path(__file__).parents[1] / "support" / "make_checkpoints.py"


def test_the_train_image_converts_a_checkpoint_and_refuses_a_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_folder: Path | None
) -> None:
    if shared_folder and (shared_folder / "wheels").is_dir():
        monkeypatch.setenv("STACKCTL_WHEELHOUSE", str(shared_folder / "wheels"))
    engine = DockerEngine(stack_with(tmp_path / "stack"))
    given = tmp_path / "given"
    given.mkdir()
    (given / "script.py").write_text(SCRIPT.read_text())
    engine.run_once("train", ["python", "{mount:/given}/script.py", "{mount:/given}"], mounts={given: "/given"})
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))
    said: list[str] = []

    made = prepare(str(given / "rrdb_x2.pth"), run=run_by_engine(engine), progress=lambda _, what: said.append(what))

    assert any(line.startswith("converting RRDBNet x2") for line in said)
    assert made.report["parity"]["realesrganer_fp32"]["worst_levels"] <= 1
    assert made.golden is not None
    assert compare_golden(made.golden, Network.load(made.path, precision="fp32")).passed
    with pytest.raises(StackctlError, match=r"bomb\.pth was refused"):
        prepare(str(given / "bomb.pth"), run=run_by_engine(engine), progress=lambda _, what: said.append(what))
    assert not (given / "ran").exists()
