"""Images between a folder of this machine and a store; here the store is a folder too."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.local_stack import make_local_stack

from stackctl.batch.listing import Settled
from stackctl.batch.runs import Runs
from stackctl.lifecycle.batch_carrier import Carrier, remember_route, route_of
from stackctl.lifecycle.batch_places import Route
from stackctl.lifecycle.batch_transfer import pull, pull_quarantine, push
from stackctl.stack import Stack
from stackctl.store.places import open_place


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return make_local_stack(tmp_path / "stack")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.jpg", "notes.txt", ".hidden.png"):
        (folder / name).write_bytes(name.encode())
    return folder


def silent(_subject: str, _what: str) -> None:
    """Draw nothing."""


def test_only_images_that_are_new_or_changed_are_brought(stack: Stack, photos: Path, tmp_path: Path) -> None:
    told: list[str] = []

    def bring() -> int:
        return push(stack, photos, "s3://backup/p", tmp_path / "records", lambda _subject, what: told.append(what))

    assert bring() == 2
    there = stack.var / "store" / "backup" / "p"
    assert sorted(file.relative_to(there).as_posix() for file in there.rglob("*.*")) == ["a.png", "sub/b.jpg"]
    assert bring() == 0
    assert told[-1] == "0 brought to s3://backup/p, 2 there already"
    (photos / "a.png").write_bytes(b"another photo")
    (there / "sub" / "b.jpg").unlink()
    assert bring() == 2
    assert (there / "a.png").read_bytes() == b"another photo"


def test_an_image_that_was_renamed_leaves_no_ghost_where_the_store_only_stands_for_its_folder(
    stack: Stack, photos: Path, tmp_path: Path
) -> None:
    for url in ("s3://backup/.host/0123", "s3://inbound"):
        push(stack, photos, url, tmp_path / "records", silent)
    (photos / "a.png").rename(photos / "z.png")
    for url in ("s3://backup/.host/0123", "s3://inbound"):
        push(stack, photos, url, tmp_path / "records", silent)
    assert open_place("s3://backup/.host/0123", stack).names() == ["sub/b.jpg", "z.png"]
    assert open_place("s3://inbound", stack).names() == ["a.png", "sub/b.jpg", "z.png"]  # others bring images there too


def test_while_files_arrive_only_those_that_stand_still_are_brought(stack: Stack, photos: Path, tmp_path: Path) -> None:
    settled = Settled(tmp_path / "settled.sqlite")

    def bring() -> int:
        return push(stack, photos, "s3://backup/p", tmp_path / "records", silent, settled=settled)

    assert bring() == 0
    (photos / "a.png").write_bytes(b"half of it, and then more")
    assert bring() == 1
    assert bring() == 1
    assert bring() == 0


def test_a_result_that_is_gone_from_the_folder_is_brought_again_and_one_that_was_edited_is_left_alone(
    stack: Stack, photos: Path, tmp_path: Path
) -> None:
    push(stack, photos, "s3://outbound", tmp_path / "records", silent)
    results = tmp_path / "results"
    assert pull(stack, "s3://outbound", results, tmp_path / "records", silent) == 2
    (results / "a.png").unlink()
    (results / "sub" / "b.jpg").write_bytes(b"cropped by hand")
    assert pull(stack, "s3://outbound", results, tmp_path / "records", silent) == 1
    assert (results / "sub" / "b.jpg").read_bytes() == b"cropped by hand"


def test_what_a_run_leaves_in_the_store_is_brought_by_whoever_follows_it_last(
    stack: Stack, photos: Path, tmp_path: Path
) -> None:
    run = Runs(stack.var / "batch").create()
    results, bad = tmp_path / "results", tmp_path / "bad"
    way = Route("s3://inbound", "s3://outbound", "s3://quarantine", None, results, bad)
    remember_route(run, way)
    assert route_of(run) == way
    push(stack, photos, "s3://outbound", tmp_path / "records", silent)
    reasons = stack.home / "data" / "quarantine"
    reasons.mkdir(parents=True)
    (reasons / "x.jpg.json").write_text("{}")
    Carrier(stack, run).rest(silent)
    assert (results / "a.png").is_file()
    assert (bad / "x.jpg.json").read_text() == "{}"
    (results / "a.png").unlink()
    Carrier(stack, run).rest(silent)
    assert not (results / "a.png").exists(), "a person may take results away afterwards"


def test_what_is_quarantined_is_brought_also_where_results_lie_in_a_folder_already(
    stack: Stack, tmp_path: Path
) -> None:
    run = Runs(stack.var / "batch").create()
    bad = tmp_path / "bad"
    remember_route(run, Route(str(tmp_path), str(tmp_path / "out"), "s3://quarantine", None, None, bad))
    reasons = stack.home / "data" / "quarantine"
    reasons.mkdir(parents=True)
    (reasons / "x.jpg.json").write_text("{}")
    Carrier(stack, run).rest(silent)
    assert (bad / "x.jpg.json").read_text() == "{}"
    gone = Runs(stack.var / "batch").create()
    remember_route(gone, Route(str(tmp_path), str(tmp_path / "out"), "s3://nowhere", None, None, bad))
    Carrier(stack, gone).rest(silent)  # no reason to fail a run that did its work


def test_of_a_quarantine_on_this_machine_only_what_was_brought_before_is_deleted(stack: Stack, tmp_path: Path) -> None:
    here, there = tmp_path / "quarantine", stack.home / "data" / "quarantine"
    for folder, name in (
        (here, "mine.png"),
        (there, "sub/bad.png"),
        (there, "sub/bad.png.json"),
        (there, "edited.png"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())

    def bring() -> set[str]:
        pull_quarantine(stack, "s3://quarantine", here, tmp_path / "records")
        return {file.relative_to(here).as_posix() for file in here.rglob("*.*")}

    assert bring() == {"mine.png", "sub/bad.png", "sub/bad.png.json", "edited.png"}
    (here / "edited.png").write_bytes(b"mended by hand")
    for file in list(there.rglob("*.*")):
        file.unlink()
    assert bring() == bring() == {"mine.png", "edited.png"}
