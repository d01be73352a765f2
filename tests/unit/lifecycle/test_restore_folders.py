"""Folders that the process which restores may only read are put into place by whoever called it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from support.small_snapshot import Scene, contents_of, scene, write
from support.sudden_end import ends_at

from stackctl.backup.manifest import FILE, Entry, Manifest, sha256_of
from stackctl.backup.restore_folders import Counts
from stackctl.engines import Engine
from stackctl.errors import StackctlError
from stackctl.lifecycle.restore_folders import bring_back, forget_kept, put_left

PARTS = ("data/outbound", "stack/pipeline")
BEFORE = {"inbound/late.png": "late", "outbound/a.png": "a now"}
AFTER = {"inbound/late.png": "late", "outbound/a.png": "a then", "outbound/b.png": "b"}


class HandsOut:
    """Copies the parts of a snapshot that are asked for, as an engine does whose snapshots lie elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def snapshot_out(self, identity: str, scratch: Path, parts: Sequence[str] = ()) -> Path:
        for part in parts:
            source, target = self.folder / part, scratch / identity / part
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
        return scratch / identity


@pytest.fixture
def small(tmp_path: Path) -> Scene:
    return with_a_pipeline(scene(tmp_path))


def with_a_pipeline(small: Scene) -> Scene:
    """Add a folder of the stack to the snapshot."""
    file = small.snapshot.folder / "stack/pipeline/MLproject"
    write(small.snapshot.folder / "stack", {"pipeline/MLproject": "then"})
    manifest = Manifest.load(small.snapshot.folder / FILE)
    more = {"stack/pipeline/MLproject": Entry(sha256_of(file), 4)}
    (small.snapshot.folder / FILE).write_text(json.dumps(replace(manifest, files={**manifest.files, **more}).to_dict()))
    write(small.live.folder, {"pipeline/MLproject": "now"})
    return small


def put(small: Scene, left: Sequence[str] = PARTS) -> Counts:
    engine = cast("Engine", HandsOut(small.snapshot.folder))
    return put_left(small.live.stack, engine, small.snapshot.id, None, left, lambda _subject, _what: None, print)


def found(small: Scene) -> tuple[dict[str, str], str]:
    """Return the data folders and the pipeline."""
    home = small.live.folder
    return contents_of(home / "data"), (home / "pipeline/MLproject").read_text()


def test_they_are_as_in_the_snapshot_and_what_came_later_stays(small: Scene) -> None:
    counts = put(small)
    assert (counts["data"]["added"], counts["data"]["replaced"], counts["pipeline"]["replaced"]) == (1, 1, 1)
    assert found(small) == (AFTER, "then")
    forget_kept(small.live.stack)
    assert [file.name for file in small.live.stack.state.iterdir()] == []


def test_a_part_that_was_restored_already_is_left_alone(small: Scene) -> None:
    assert put(small, ()) == {}
    assert list(put(small, ("stack/pipeline",))) == ["pipeline"]
    assert found(small) == (BEFORE, "then")


def test_a_damaged_file_is_not_put_into_place(small: Scene) -> None:
    (small.snapshot.folder / "data/outbound/a.png").write_text("A then")
    with pytest.raises(StackctlError, match="is damaged"):
        put(small)
    assert found(small)[0]["outbound/a.png"] == "a now"


def test_a_sudden_end_anywhere_is_mended_by_the_next_call_and_can_be_undone(tmp_path: Path) -> None:
    for number in range(1, 1000, 4):
        small = with_a_pipeline(scene(tmp_path / str(number)))
        ended = ends_at(number, partial(put, small))
        if number % 8 == 1:
            put(small)
            assert found(small) == (AFTER, "then")
        bring_back(small.live.stack)
        data, pipeline = found(small)
        assert ({name: data[name] for name in BEFORE}, pipeline) == (BEFORE, "now")
        if ended:
            assert number > 8
            return
