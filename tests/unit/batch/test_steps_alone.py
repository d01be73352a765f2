"""A run split into batches, and batches worked on without a cluster."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from stackctl.batch import alone, steps
from stackctl.batch.manifest import Manifest
from stackctl.batch.order import Order, OrderedModel
from stackctl.batch.runs import Runs, state_of
from stackctl.errors import StackctlError, UsageError
from stackctl.store.errors import StoreGone

RUN = "20261121-080501-ab12"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Return the folder of a run over 9 images of very different sizes that are left as they are."""
    folder = tmp_path / "batch" / "runs" / RUN
    folder.mkdir(parents=True)
    for name in ("in/sub", "out", "bad"):
        (tmp_path / name).mkdir(parents=True)
    for number in range(9):
        side = 2 ** (number + 1)
        picture = np.full((side, side, 3), number, np.uint8)
        cv2.imwrite(str(tmp_path / "in" / ("sub" if number % 2 else ".") / f"{number}.png"), picture)
    inbound, outbound, bad = (str(tmp_path / name) for name in ("in", "out", "bad"))
    order = Order(RUN, "2026-11-21T08:05:01Z", inbound, outbound, bad, OrderedModel("m", "1", "sha256:ab"), workers=2)
    (folder / "order.json").write_text(order.to_json())
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.png"))}


def test_batches_worked_on_alone_make_every_result_once(run_folder: Path, tmp_path: Path) -> None:
    planned = alone.manage_workers(run_folder)
    files = sorted((run_folder / alone.BATCHES).glob("*.json"))
    assert (planned["pending"], planned["batches"], planned["workers"]) == (9, len(files), 2)
    assert len(files) > 1
    assert len(json.loads(files[0].read_text())["images"]) == 1  # the most expensive one alone
    assert state_of(Runs(tmp_path / "batch").find(RUN)).phase == "done"
    for file in [*reversed(files), files[0]]:  # one of them twice, as after a crash
        figures = alone.process_batch(file)
        assert figures["done"] + figures["unchanged"] == figures["images"]
    made = {name.replace("_out.png", ".png"): data for name, data in contents(tmp_path / "out").items()}
    assert made == contents(tmp_path / "in")
    (manifest_file,) = (tmp_path / "batch" / "manifests").glob("*.sqlite")
    with Manifest.open(manifest_file) as manifest:
        assert manifest.summary(RUN).done >= 9
    assert alone.manage_workers(run_folder)["pending"] == 0


def test_a_bad_image_is_quarantined_and_taken_out_once_it_is_good(run_folder: Path, tmp_path: Path) -> None:
    from stackctl.batch.task import Upscaled

    good = contents(tmp_path / "in")["0.png"]
    alone.manage_workers(run_folder)
    (file,) = [each for each in (run_folder / alone.BATCHES).glob("*.json") if '"0.png"' in each.read_text()]

    def broken(_image: object, data: bytes) -> Upscaled:
        if data == good:
            raise ValueError("no good")
        return Upscaled(data, "png", 1, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stackctl.batch.task.unscaled", broken)
        assert alone.process_batch(file)["quarantined"] == 1
    assert (tmp_path / "bad" / "0.png").exists()
    assert alone.process_batch(file)["quarantined"] == 0
    assert not (tmp_path / "bad" / "0.png").exists()


def test_no_batch_is_worked_on_while_a_run_holds_the_results(run_folder: Path, tmp_path: Path) -> None:
    alone.manage_workers(run_folder)
    (lock,) = (tmp_path / "batch" / "manifests").glob("output-*.lock")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StackctlError, match="A run works on"):
            alone.process_batch(next((run_folder / alone.BATCHES).glob("*.json")))


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 9}', '{"schema_version": 1, "images": [{"name": 1}]}'])
def test_what_is_no_batch_is_refused_by_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "0001.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"0001\.json"):
        alone.read_batch(file)


def test_steps_are_noted_once_each_and_a_line_cut_short_is_none(tmp_path: Path) -> None:
    for digest in ("old", "new"):
        with steps.step(steps.PREPARE_MODEL, tmp_path) as done:
            done.params["digest"] = digest
    with (tmp_path / steps.FILE).open("a") as file:
        file.write('{"name": "prepare-envir')
    (found,) = steps.recorded(tmp_path)
    assert (found.name, found.params) == (steps.PREPARE_MODEL, {"digest": "new"})
    assert found.metrics["seconds"] == found.ended - found.began


def quarantining(run_folder: Path, **order: object) -> Path:
    """Split a run whose images are all bad, and return its most expensive batch of one image."""
    file = run_folder / "order.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **order}))
    for image in Path(json.loads(file.read_text())["input"]).rglob("*.png"):
        image.write_bytes(b"")
    alone.manage_workers(run_folder)
    return min((run_folder / alone.BATCHES).glob("*.json"))


def nothing_works(_image: object, _data: bytes) -> object:
    raise ValueError("no good")


def test_a_batch_ends_as_a_run_does_by_its_error_threshold_and_by_what_is_left(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stackctl.batch.task.unscaled", nothing_works)
    batch = quarantining(run_folder)
    images = len(alone.read_batch(batch))
    assert alone.process_batch(batch)["quarantined"] == images
    quarantining(run_folder, error_threshold="99%", retry_failed=True)
    with pytest.raises(alone.BatchFailed, match="more than --error-threshold allows") as failed:
        alone.process_batch(batch)
    assert failed.value.figures["quarantined"] == images
    assert failed.value.code == 1

    def gone(_image: object, _data: bytes) -> object:
        raise StoreGone("The disk went away.")

    monkeypatch.setattr("stackctl.batch.task.Workbench._try", gone)
    others = [file for file in (run_folder / alone.BATCHES).glob("*.json") if file != batch]
    with pytest.raises(alone.BatchFailed, match=r"images are left. The disk went away."):
        alone.process_batch(others[0])
    assert alone.unfinished(run_folder)
