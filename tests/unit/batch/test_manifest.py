"""The manifest: appended and never changed, whole groups or none, and it remembers whom images killed."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from stackctl.batch.manifest import FEARED, UNCHANGED, Manifest, Record, key
from stackctl.errors import StackctlError
from stackctl.store.errors import NoSpace

DONE = Record(
    "a.png", "a_out", 10, "1", "recipe", "sha256:m", "done", "sha256:i", "a_out.png", "sha256:o", 99, "2",
    seconds=1.5, pixels=100, out_pixels=1600, worker="w1", run="R1",
)  # fmt: skip
BAD = replace(
    DONE, status="quarantined", output="", output_digest="", output_size=0, code="corrupt_image", reason="It is."
)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Manifest.open(tmp_path / "manifests" / "m.sqlite")


def test_what_was_appended_is_there_after_a_crash_and_cannot_be_changed(manifest: Manifest) -> None:
    manifest.append([DONE])
    manifest.append([replace(DONE, stamp="5")])
    again = Manifest.open(manifest.file)  # as after kill -9: nothing was closed
    found = again.latest("a.png")
    assert found is not None
    assert found.at.startswith("2")
    assert replace(found, at="") == replace(DONE, stamp="5")
    other = sqlite3.connect(manifest.file)
    for statement in ("UPDATE records SET reason = ''", "DELETE FROM records"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            other.execute(statement)


def test_a_group_is_kept_whole_or_not_at_all_when_the_disk_is_full(manifest: Manifest) -> None:
    group = [replace(DONE, name=f"{number}.png", stem=f"{number}_out") for number in range(2000)]
    manifest.append(group[:10])
    manifest.started("x.png", "w1", "R1")
    (pages,) = manifest._connection.execute("PRAGMA page_count").fetchone()
    manifest._connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(NoSpace):
        manifest.append(group)
    assert manifest.summary("R1").done == 10
    manifest._connection.execute("PRAGMA max_page_count = 1000000")
    manifest.append(group)
    assert manifest.summary("R1").done == 2010
    manifest.suspect_started()
    assert manifest.suspected("x.png")


def test_deaths_are_counted_across_runs_until_a_record_of_the_image(manifest: Manifest) -> None:
    manifest.append([replace(DONE, name="b.png", stem="b_out")])
    assert manifest.died("a.png", "signal 9", "R1", "s1") == 1
    manifest.close()
    again = Manifest.open(manifest.file)
    assert again.died("a.png", "signal 9", "R2", "s1") == 2
    assert again.died("b.png", "signal 9", "R2", "s1") == 1
    again.append([replace(DONE, name="b.png", stem="b_out")])
    assert again.deaths("b.png", "s1") == 0
    assert again.died("a.png", "time-out", "R2", "s1") == 3
    assert again.deaths("a.png", "other content") == 0
    again.append([BAD])
    assert again.died("a.png", "signal 9", "R3", "s1") == 1


def test_images_in_work_when_everything_ended_are_suspected_and_no_others(manifest: Manifest) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        manifest.started(name, "w1", "R1", "s1")
    manifest.flush()
    manifest.append([DONE])
    manifest.died("b.png", "signal 9", "R1", "s1")
    manifest.started("e.png", "w1", "R1", "s1")  # on the disk with nothing yet
    again = Manifest.open(manifest.file)
    again.suspect_started()
    assert [name for name in "abcde" if again.suspected(f"{name}.png", "s1")] == ["c", "d"]
    assert again.deaths("c.png", "s1") == 0, "a suspicion is no death"
    assert not again.suspected("c.png", "other content")
    again.append([replace(DONE, name="c.png", stem="c_out")])
    assert not again.suspected("c.png", "s1")


def test_a_run_that_ends_as_it_was_meant_to_leaves_no_suspicion(manifest: Manifest) -> None:
    manifest.started("a.png", "w1", "R1", "s1")
    manifest.flush()
    manifest.started("b.png", "w1", "R1", "s1")
    manifest.forget_starts()
    assert not manifest.has_starts
    manifest.suspect_started()
    assert not any(manifest.suspected(name, "s1") for name in ("a.png", "b.png"))


def test_a_death_that_was_feared_counts_until_it_is_taken_back(manifest: Manifest) -> None:
    feared = manifest.charge("a.png", "alone", "R1", "s1")
    assert Manifest.open(manifest.file).deaths("a.png", "s1") == 1
    manifest.absolve(feared)
    assert manifest.deaths("a.png", "s1") == 0


def test_a_run_is_summed_up_and_only_that_run(manifest: Manifest) -> None:
    records = [replace(DONE, name=f"{n}.png", stem=f"{n}_out", seconds=float(n)) for n in range(10)]
    manifest.append([*records, replace(BAD, name="x.png", stem="x_out")])
    manifest.append([replace(DONE, name="y.png", stem="y_out", code=UNCHANGED), replace(DONE, name="0.png", run="R2")])
    summary = manifest.summary("R1")
    assert (summary.done, summary.unchanged, summary.quarantined) == (10, 1, 1)
    assert (summary.pixels, summary.out_pixels, summary.seconds) == (1000, 16000, 45.0)
    assert [record.name for record in manifest.slowest("R1", 2)] == ["9.png", "8.png"]
    assert [record.reason for record in manifest.quarantined("R1")] == ["It is."]
    assert [record.name for record in manifest.done("R1", 3)] == ["0.png", "4.png", "8.png"]
    assert len(manifest.done("R1", 100)) == 10
    assert manifest.summary("R3").done == 0
    assert manifest.done("R3", 3) == []
    manifest.append([replace(record, name="half.png", stem="half_out") for record in (BAD, DONE)])
    assert manifest.summary("R1").quarantined == len(list(manifest.quarantined("R1"))) == 1


def test_a_run_is_exported_as_lines_of_json(manifest: Manifest, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff.png")
    manifest.append([replace(DONE, name=f"{n}.png", stem=f"{n}_out") for n in range(2500)])
    manifest.append([replace(BAD, name=odd, stem=odd, reason=f"{odd} is odd.", run="R2")])
    assert manifest.export(tmp_path / "m.jsonl.gz", "R1") == 2500
    lines = gzip.decompress((tmp_path / "m.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line)["name"] for line in lines] == [f"{n}.png" for n in range(2500)]
    manifest.export(tmp_path / "m.jsonl.gz", "R2")
    assert Record(**json.loads(gzip.decompress((tmp_path / "m.jsonl.gz").read_bytes()))).name == odd
    assert manifest.latest(odd) is not None


def test_a_copy_leaves_the_manifest_as_it_is(manifest: Manifest, tmp_path: Path) -> None:
    manifest.append([DONE])
    with manifest.copy(tmp_path / "copy.sqlite") as copy:
        copy.append([BAD])
        assert copy.summary("R1").quarantined == 1
    assert manifest.summary("R1").quarantined == 0


def test_what_is_no_manifest_is_said_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "m.sqlite"
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(StackctlError, match="damaged") as damaged:
        Manifest.open(file)
    assert "mv " in str(damaged.value.hint)
    file.unlink()
    Manifest.open(file)._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StackctlError, match="newer stackctl"):
        Manifest.open(file)


def test_each_pair_of_places_has_a_manifest_of_its_own() -> None:
    assert len({key("a", "b"), key("b", "a"), key("a\nb", ""), key(os.fsdecode(b"\xff"), "b")}) == 4


def test_no_image_is_blamed_for_the_end_of_a_run_that_somebody_wanted(tmp_path: Path) -> None:
    with Manifest.open(tmp_path / "m.sqlite") as manifest:
        for run in ("cancelled", "crashed"):
            manifest.charge("a.png", FEARED, run, "1")
            manifest.started(f"{run}.png", "w", run, "1")
        manifest.died("a.png", "kills_worker", "cancelled", "1")
        manifest.suspect_started(lambda run: run == "cancelled")
        assert manifest.deaths("a.png", "1") == 2
        assert [manifest.suspected(f"{run}.png", "1") for run in ("cancelled", "crashed")] == [False, True]
