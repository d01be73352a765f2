"""Which images are written into the file that goes to a machine without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fake_docker import Engine
from support.image_stacks import stack_with

from stackctl.errors import StackctlError
from stackctl.images import images_of, save
from stackctl.images.builder import standing_references
from stackctl.images.catalogue import startable


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Engine(tmp_path)


def test_all_that_a_stack_can_start_is_saved_and_up_asks_for_less(engine: Engine, tmp_path: Path) -> None:
    stack, file, told = stack_with(tmp_path / "stack"), tmp_path / "images.tar", list[str]()

    def tell(subject: str, what: str) -> None:
        told.append(f"{subject} {what}")

    assert set(startable(stack)) - set(images_of(stack)) == {"worker"}
    references = {name: found[0] for name, found in standing_references(stack, (*startable(stack), "train")).items()}
    for name in images_of(stack):
        engine.add(references[name])
    with pytest.raises(StackctlError, match="worker") as refusal:  # or batches would fail on the other machine
        save(stack, file, (), tell)
    assert refusal.value.hint == "stackctl images build worker"
    assert save(stack, file, ["demo"], tell) == ["stackctl/base:bookworm", references["demo"]]

    engine.add(references["worker"])
    saved = save(stack, file, (), tell)
    assert saved == ["stackctl/base:bookworm", *(references[name] for name in startable(stack))]
    assert file.read_text().split() == saved
    assert [line for line in told if "left out" in line] == [told[-2]]

    engine.add(references["train"])
    assert references["train"] in save(stack, file, (), tell)
