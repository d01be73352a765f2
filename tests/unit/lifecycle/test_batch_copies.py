"""Folders that only pass through the store: what is brought for a run, and what is left there after it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.local_stack import make_local_stack

from stackctl.batch import alone, elsewhere
from stackctl.batch.listing import Settled
from stackctl.batch.order import Order, OrderedModel
from stackctl.batch.runs import COPIES, Run, Runs, hold
from stackctl.errors import StackctlError
from stackctl.lifecycle.batch_carrier import Carrier, bring_earlier, remember_route
from stackctl.lifecycle.batch_copies import bring_inputs
from stackctl.lifecycle.batch_places import Route
from stackctl.lifecycle.batch_transfer import push
from stackctl.stack import Stack


@dataclass
class Scene:
    """Folders of a person, the store that stands between them, and runs."""

    stack: Stack
    folder: Path
    pushed: list[str] = field(default_factory=list)

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def runs(self) -> Runs:
        return Runs(self.folder / "batch")

    @property
    def path(self) -> Route:
        store = self.folder / "store" / ".host"
        return Route(str(store / "in"), str(store / "out"), str(self.folder / "bad"), self.photos, self.results)

    def in_store(self) -> list[str]:
        """Return the images that lie in the store."""
        store = self.folder / "store" / ".host"
        return sorted(str(file.relative_to(store)) for file in store.rglob("*") if file.is_file())

    def begin(self, **options: Any) -> Run:
        """Begin a run, as ``launch`` does."""
        run, path = self.runs.create(), self.path
        for folder in (path.input, path.output, path.quarantine):
            Path(folder).mkdir(parents=True, exist_ok=True)
        model = OrderedModel("m", "1", "sha256:ab")
        order = Order(run.id, "2026-11-21", path.input, path.output, path.quarantine, model, workers=1, **options)
        if not order.dry_run:
            (run.folder / COPIES).touch()
        bring_inputs(self.stack, order, path, run, silent)
        (run.folder / "order.json").write_text(order.to_json())
        remember_route(run, path)
        return run

    def run(self, **options: Any) -> dict[str, Any]:
        """Bring a run to its end and return what it found to do."""
        run = self.begin(**options)
        self.pushed = self.in_store()
        planned = alone.manage_workers(run.folder)
        for file in (run.folder / alone.BATCHES).glob("*.json"):
            alone.process_batch(file)
        Carrier(self.stack, run).rest(silent)
        assert not (run.folder / COPIES).exists()
        assert not list(run.folder.glob("*elsewhere*"))
        return planned


def silent(_subject: str, _what: str) -> None:
    """Draw nothing."""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(make_local_stack(tmp_path / "stack"), tmp_path)
    (made.photos / "sub").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "sub/c.png"):
        (made.photos / name).write_bytes(name.encode())
    return made


def counts(planned: dict[str, Any]) -> tuple[int, int, int]:
    return planned["total"], planned["pending"], planned["skipped"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_after_a_run_nothing_is_left_in_the_store_and_the_next_one_brings_and_does_what_changed(scene: Scene) -> None:
    assert counts(scene.run()) == (3, 3, 0)
    first = contents(scene.results)
    assert first == {"a_out.png": b"a.png", "b_out.jpg": b"b.jpg", "sub/c_out.png": b"sub/c.png"}
    assert scene.in_store() == []

    assert counts(scene.run()) == (3, 0, 3)
    assert scene.pushed == []
    assert contents(scene.results) == first

    (scene.photos / "a.png").write_bytes(b"another photo")
    (scene.photos / "new.png").write_bytes(b"a new one")
    (scene.results / "b_out.jpg").unlink()
    (scene.results / "sub" / "c_out.png").write_bytes(b"cropped by hand")
    assert counts(scene.run()) == (4, 3, 1)
    assert scene.pushed == ["in/a.png", "in/b.jpg", "in/new.png"]
    assert contents(scene.results) == {
        "a_out.png": b"another photo",
        "b_out.jpg": b"b.jpg",
        "new_out.png": b"a new one",
        "sub/c_out.png": b"cropped by hand",
    }
    assert scene.in_store() == []
    (scene.photos / "b.jpg").unlink()
    assert counts(scene.run()) == (3, 0, 3)


def test_a_dry_run_counts_what_lies_in_the_folder_and_brings_nothing(scene: Scene) -> None:
    run = scene.begin(dry_run=True)
    assert scene.in_store() == []
    listed = {image.name: image.stamp for image in elsewhere.read(run.folder / elsewhere.INPUTS)}
    assert listed == {"a.png": "", "b.jpg": "", "sub/c.png": ""}
    scene.run()
    run = scene.begin(dry_run=True)
    assert all(image.stamp for image in elsewhere.read(run.folder / elsewhere.INPUTS))
    assert len(list(elsewhere.read(run.folder / elsewhere.RESULTS))) == 3


def test_a_run_that_watches_brings_what_is_new_and_not_again_what_was_done_before_it(scene: Scene) -> None:
    scene.run()
    run = scene.begin(watch=True)
    settled = Settled(run.folder / "settling.sqlite")
    (scene.photos / "late.png").write_bytes(b"late")
    for _ in range(2):
        push(scene.stack, scene.photos, scene.path.input, scene.folder / "batch" / "transfers", silent, settled=settled)
    assert scene.in_store() == ["in/late.png"]
    settled.close()


def killed(scene: Scene) -> Run:
    """Return a run whose coordinator and command line were killed when its results lay in the store."""
    run = scene.begin()
    for name in ("a", "c"):
        Path(scene.path.output, f"{name}_out.png").write_bytes(b"a result")
    (run.folder / "lock").touch()
    return run


def test_what_a_killed_run_left_in_the_store_is_brought_and_deleted_by_the_next_command(scene: Scene) -> None:
    run = killed(scene)
    scene.results.mkdir()
    bring_earlier(scene.stack, scene.runs, silent)
    assert sorted(contents(scene.results)) == ["a_out.png", "c_out.png"]
    assert scene.in_store() == []
    assert not (run.folder / COPIES).exists()


def test_a_result_that_its_folder_does_not_take_stays_in_the_store_and_fails_whoever_brings_it(scene: Scene) -> None:
    run = killed(scene)
    (scene.results / "a_out.png").mkdir(parents=True)
    with pytest.raises(StackctlError, match=r"The results lie in .*a_out.png stays behind"):
        Carrier(scene.stack, run).rest(silent)
    assert "out/a_out.png" in scene.in_store()
    assert (scene.results / "c_out.png").is_file()
    (scene.results / "a_out.png").rmdir()
    bring_earlier(scene.stack, scene.runs, silent)
    assert (scene.results / "a_out.png").is_file()
    assert scene.in_store() == []


def test_an_image_that_cannot_be_brought_is_told_to_its_run(scene: Scene) -> None:
    (scene.photos / "loop.png").symlink_to("loop.png")
    (why,) = elsewhere.left_behind(scene.begin().folder)
    assert "loop.png stays behind" in why


def test_results_stay_in_the_store_while_their_folder_is_not_there(scene: Scene) -> None:
    run = killed(scene)
    bring_earlier(scene.stack, scene.runs, silent)
    assert len([name for name in scene.in_store() if name.startswith("out/")]) == 2
    scene.runs.prune(0)
    assert run.folder.is_dir(), "it knows where they belong"


@pytest.mark.parametrize("live", [lambda run: hold(run.folder), lambda _run: None], ids=["runs", "is about to begin"])
def test_copies_that_another_run_needs_stay(scene: Scene, live: Callable[[Run], int | None]) -> None:
    scene.results.mkdir()
    run = killed(scene)
    other = scene.runs.create()
    other = Run(other.folder.rename(other.folder.with_name(f"20261120-080501-{other.id[-4:]}")))  # brought images long
    order = json.loads((run.folder / "order.json").read_text())
    (other.folder / "order.json").write_text(json.dumps({**order, "output": "/elsewhere"}))
    held = live(other)
    Carrier(scene.stack, run).rest(silent)
    assert "in/a.png" in scene.in_store()
    (other.folder / "events.jsonl").write_text('{"event": "end", "status": "ok", "exit": 0}\n')
    if held is not None:
        os.close(held)
    Carrier(scene.stack, run).rest(silent)
    assert scene.in_store() == []
