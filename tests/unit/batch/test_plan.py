"""The plan: what is missing or changed and nothing else, the most expensive first, and nothing of it in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.pictures import encode, noise

from stackctl.batch.listing import Settled, header_probe, inputs
from stackctl.batch.manifest import Manifest, Record, file_of, others_of
from stackctl.batch.plan import ImageTask, Known, Plan, Planned
from stackctl.errors import UsageError
from stackctl.store.files import Files
from stackctl.store.places import Listed


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Manifest.open(tmp_path / "m.sqlite")


def image(name: str, size: int = 100, stamp: str = "1") -> Listed:
    return Listed(name, size, stamp)


def made(task: ImageTask, recipe: str = "r", **changes: Any) -> Record:
    record = Record(
        task.name, task.output_stem, task.size, task.stamp, recipe, "m", "done", "sha256:in",
        f"{task.output_stem}.png", "sha256:out", 7, "9", run="R",
    )  # fmt: skip
    return replace(record, **changes)


def plan(
    manifest: Manifest, found: Iterable[Listed], results: Iterable[Listed] = (), recipe: str = "r", **options: Any
) -> Plan:
    return Plan.make(manifest, found, results, recipe, folder=manifest.file.parent, **options)


def all_of(planned: Plan) -> dict[str, ImageTask]:
    batch = planned.next_batch(1e12, 1000)
    planned.close()
    return {task.name: task for task in batch.images} if batch else {}


def done(manifest: Manifest, *names: str) -> list[Listed]:
    """Make the results of these inputs, and return the listing of the output place."""
    manifest.append([made(task) for task in all_of(plan(manifest, map(image, names))).values()])
    return [Listed(f"{name.rpartition('.')[0]}_out.png", 7, "9") for name in names]


def test_an_input_is_skipped_once_its_result_is_there_and_pending_until_then(manifest: Manifest) -> None:
    assert set(all_of(plan(manifest, [image("a.png"), image("b.png")]))) == {"a.png", "b.png"}
    results = done(manifest, "a.png", "b.png")
    again = plan(manifest, [image("a.png"), image("b.png"), image("c.png")], results)
    assert replace(again.planned, cost=0) == Planned(total=3, pending=1, skipped=2, known_bad=0, orphans=0, cost=0)
    assert set(all_of(again)) == {"c.png"}
    assert set(all_of(plan(manifest, [image("a.png"), image("b.png")], results[:1]))) == {"b.png"}


@pytest.mark.parametrize(
    ("found", "result", "recipe", "known"),
    [
        (image("a.png", stamp="2"), Listed("a_out.png", 7, "9"), "r", True),
        (image("a.png"), Listed("a_out.png", 7, "10"), "r", True),
        (image("a.png", size=101, stamp="2"), Listed("a_out.png", 7, "9"), "r", False),
        (image("a.png"), Listed("a_out.png", 8, "10"), "r", False),
        (image("a.png"), Listed("a_out.png", 7, "9"), "other", False),
        (image("a.png"), Listed("other.png", 7, "9"), "r", False),
    ],
)
def test_a_change_makes_an_input_pending_and_says_what_is_on_hand_where_only_a_stamp_moved(
    manifest: Manifest, found: Listed, result: Listed, recipe: str, known: bool
) -> None:
    done(manifest, "a.png")
    task = all_of(plan(manifest, [found], [result], recipe))["a.png"]
    assert task.known == (Known("sha256:in", "a_out.png", "sha256:out") if known else None)


def test_a_bad_image_is_left_alone_until_it_or_the_recipe_changes_or_somebody_asks(manifest: Manifest) -> None:
    task = all_of(plan(manifest, [image("a.png")]))["a.png"]
    manifest.append([made(task, status="quarantined", output="", output_size=0, output_stamp="", code="corrupt_image")])
    assert plan(manifest, [image("a.png")]).planned.known_bad == 1
    assert plan(manifest, [image("a.png")], retry_failed=True).planned.pending == 1
    assert plan(manifest, [image("a.png")], recipe="other").planned.pending == 1
    assert plan(manifest, [image("a.png", stamp="2")]).planned.pending == 1


def test_results_whose_inputs_are_gone_are_counted(manifest: Manifest) -> None:
    results = [*done(manifest, "a.png", "b.png"), Listed("somebody's.png", 1, "1")]
    assert plan(manifest, [image("a.png")], results).planned.orphans == 1


def test_a_name_once_given_stays_whatever_comes_later(manifest: Manifest) -> None:
    done(manifest, "a.jpg")
    tasks = all_of(plan(manifest, [image("a.jpg"), image("a.png"), image("b.png")]))
    assert {task.name: task.output_stem for task in tasks.values()} == {
        "a.jpg": "a_out",
        "a.png": "a_png_out",
        "b.png": "b_out",
    }
    other = all_of(plan(manifest, [image("a.jpg"), image("a.png")], suffix="_x2"))
    assert [other[name].output_stem for name in ("a.jpg", "a.png")] == ["a_jpg_x2", "a_png_x2"]
    assert all_of(plan(manifest, [image("a.png"), image("a.jpg")]))["a.jpg"].output_stem == "a_out"


def test_runs_with_two_suffixes_do_not_forget_each_other(manifest: Manifest) -> None:
    results = done(manifest, "a.png")
    manifest.append([made(all_of(plan(manifest, [image("a.png")], suffix="x2"))["a.png"])])
    both = [*results, Listed("a_x2.png", 7, "9")]
    for suffix in ("out", "x2"):
        assert plan(manifest, [image("a.png")], both, suffix=suffix).planned.skipped == 1


def test_a_name_of_any_bytes_is_planned_like_others(manifest: Manifest) -> None:
    odd = os.fsdecode(b"\xff\xfe.png")
    done(manifest, odd)
    result = Listed(odd.removesuffix(".png") + "_out.png", 7, "9")
    assert plan(manifest, [image(odd)], [result]).planned.skipped == 1


def test_batches_take_the_largest_first_within_a_budget_and_what_is_put_back_comes_again(manifest: Manifest) -> None:
    sizes = {f"{number}.bmp": number * 300 for number in range(1, 11)}
    planned = plan(manifest, [image(name, size) for name, size in sizes.items()])
    assert planned.remaining() == (10, 5500)
    first = planned.next_batch(1900, 100)
    second = planned.next_batch(1900, 1)
    assert first is not None
    assert second is not None
    assert ([task.name for task in first.images], first.cost, first.number) == (["10.bmp", "9.bmp"], 1900, 1)
    assert ([task.name for task in second.images], second.number) == (["8.bmp"], 2)
    cheapest = planned.next_batch(1, 1, cheapest=True)
    assert cheapest is not None
    assert [task.name for task in cheapest.images] == ["1.bmp"]
    planned.put_back(["9.bmp", "1.bmp"])
    assert planned.remaining() == (8, 5500 - 1900 - 800 + 900)
    third = planned.next_batch(1, 100)
    assert third is not None
    assert [task.name for task in third.images] == ["9.bmp"]
    seen = []
    while batch := planned.next_batch(1e9, 3):
        seen += [task.name for task in batch.images]
    assert seen == [f"{number}.bmp" for number in range(7, 0, -1)]
    assert planned.remaining() == (0, 0)


def test_costs_are_pixels_by_the_header_else_by_what_images_of_that_ending_had(
    manifest: Manifest, tmp_path: Path
) -> None:
    place = Files(tmp_path / "in")
    for kind in ("png", "jpeg", "webp"):
        place.write(f"{kind}.{kind}", encode(noise(400, 300, seed=1), kind))
    place.write("wrong.png", b"x" * 100)
    planned = plan(manifest, place.list(), probe=header_probe(place))
    assert planned.planned.cost == 3 * 120_000 + 70
    task = all_of(plan(manifest, [image("a.png", 100)]))["a.png"]
    manifest.append([made(task, pixels=5000)])
    assert plan(manifest, [image("x.PNG", 10)]).planned.cost == 500


def test_a_plan_leaves_nothing_on_the_disk_even_if_it_is_never_closed(manifest: Manifest) -> None:
    plan(manifest, [image("a.png")])
    assert [file.name for file in manifest.file.parent.iterdir()] == ["m.sqlite"]


def test_results_below_their_inputs_are_no_inputs_and_inputs_below_results_are_refused(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/out/a_out.png", "in/outer/b.png"):
        Files(tmp_path).write(name, b"x")
    inbound, outbound = Files(tmp_path / "in"), Files(tmp_path / "in" / "out")
    assert sorted(found.name for found in inputs(inbound, outbound)) == ["a.png", "outer/b.png"]
    for other in (inbound, Files(tmp_path)):
        with pytest.raises(UsageError, match="among their inputs"):
            inputs(inbound, other)


def test_an_input_counts_once_it_was_the_same_in_two_listings(tmp_path: Path) -> None:
    settled = Settled(tmp_path / "seen.sqlite")
    polls = [
        [image("a.png", 1)],
        [image("a.png", 2), image("b.png")],
        [image("a.png", 2), image("b.png", stamp="2")],
        [image("a.png", 2), image("b.png", stamp="2")],
    ]
    seen = [[found.name for found in settled.filter(poll)] for poll in polls]
    assert seen == [[], [], ["a.png"], ["a.png", "b.png"]]
    assert list(tmp_path.iterdir()) == []


def test_inputs_of_two_folders_never_share_a_result_in_the_folder_that_both_go_to(tmp_path: Path) -> None:
    first = Manifest.open(file_of(tmp_path, "a", "out"))
    mine = all_of(plan(first, [image("x.png"), image("y.png")]))
    assert {task.output_stem for task in mine.values()} == {"x_out", "y_out"}
    second = Manifest.open(file_of(tmp_path, "b", "out"))
    file_of(tmp_path, "killed before it began", "out").touch()
    for _ in range(2):  # a name that was given stays
        theirs = all_of(plan(second, [image("x.png"), image("z.png")], others=others_of(second.file)))
        assert {task.output_stem for task in theirs.values()} == {"x_png_out", "z_out"}
    assert others_of(Manifest.open(file_of(tmp_path, "a", "elsewhere")).file) == []
