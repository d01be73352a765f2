"""Whatever fails, and however often a run is started again, the results end up as those of a calm run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.chaotic_batch import Chaos, CoordinatorDied, Kind, Scene

from stackctl.batch.events import read
from stackctl.batch.faults import NothingCanBeWritten
from stackctl.batch.manifest import Manifest
from stackctl.errors import StackctlError
from stackctl.store.files import Files

QUICK = "/dev/shm" if Path("/dev/shm").is_dir() else None  # every step is synced to the disk, hundreds of times
NAMES = ("a.png", "a.jpg", "b.png", "sub/a.png", "sub/c.png", "d.png", "bad.png", "kill.png", "e.png")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    scene = Scene(tmp_path_factory.mktemp("calm") / "scene", NAMES)
    assert scene.run() == "ok"
    return scene


def test_a_calm_run_does_each_image_once_and_quarantines_what_cannot_be_done(calm: Scene) -> None:
    assert set(calm.files("out")) == {
        "a_png_out.png",
        "a_jpg_out.png",
        "b_out.png",
        "d_out.png",
        "e_out.png",
        "sub/a_out.png",
        "sub/c_out.png",
    }
    assert set(calm.files("bad")) == {"bad.png", "bad.png.json", "kill.png", "kill.png.json"}
    assert set(calm.upscaled.values()) == {1}


EVENTS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(get_args(Kind))), max_size=6)


MOST_RUNS = (3, 2, 0)
"""How many runs may be killed beside no, one or two workers so that no image meets three deaths that count."""


def few_deaths(schedule: list[tuple[int, Kind]]) -> list[tuple[int, Kind]]:
    """Leave so few deaths that none can be an image's third one: by chance it would rightly be quarantined."""
    kept: list[tuple[int, Kind]] = []
    for event in schedule:
        kinds = [kind for _, kind in [*kept, event]]
        workers = kinds.count("worker") + kinds.count("zombie")
        if workers < len(MOST_RUNS) and kinds.count("coordinator") + kinds.count("machine") <= MOST_RUNS[workers]:
            kept.append(event)
    return kept


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=EVENTS)
def test_any_interleaving_of_crashes_and_reruns_ends_in_the_results_of_a_calm_run(
    calm: Scene, schedule: list[tuple[int, Kind]]
) -> None:
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        scene = Scene(Path(folder) / "scene", NAMES)
        chaos = Chaos(few_deaths(schedule))
        for _ in range(len(schedule) + 2):
            try:
                if scene.run(chaos) == "ok" and not chaos.schedule:
                    break
            except CoordinatorDied:
                visible = {name for name in scene.files("out") if "partial" not in name}
                assert all(scene.files("out")[name] == calm.files("out")[name] for name in visible)
        assert scene.run() == "ok"
        done = scene.upscaled.total()
        assert scene.files("out") == calm.files("out")
        assert scene.files("bad") == calm.files("bad")
        assert scene.run() == "ok"
        assert scene.upscaled.total() == done, "a run that has nothing to do upscaled something"


def test_an_image_is_given_up_at_the_third_death_it_caused_and_not_before(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", ["kill.png", *(f"{number}.png" for number in range(40))])
    assert scene.run() == "ok"
    events = [event for event, _ in read(scene.folder / "run" / "events.jsonl")]
    assert sum(event["event"] == "worker" for event in events) == 3
    [given_up] = [event for event in events if event.get("status") == "quarantined"]
    assert (given_up["name"], given_up["code"]) == ("kill.png", "kills_worker")
    assert "3 times" in given_up["reason"]
    assert len(scene.files("out")) == 40


def test_before_an_image_is_given_up_it_is_tried_last_with_nothing_beside_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", ["kill.png", *(f"{number}.png" for number in range(40))])
    assert scene.run() == "ok"
    told = [(event["event"], event.get("name")) for event, _ in read(scene.folder / "run" / "events.jsonl")]
    last_try = max(number for number, event in enumerate(told) if event == ("started", "kill.png"))
    assert {name for kind, name in told[:last_try] if kind == "image"} == {f"{number}.png" for number in range(40)}


def test_an_image_that_takes_the_whole_run_along_is_given_up_when_the_others_are_done(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", ["fatal.png", *(f"{number}.png" for number in range(9))])
    done: list[int] = []
    while len(done) < 10:
        try:
            assert scene.run() == "ok"
            break
        except CoordinatorDied:
            done.append(len(scene.files("out")))
    assert done[1:] == [9, 9, 9], "the first end of a run is no proof; then it is tried last, three times"
    [given_up] = [event for event, _ in read(scene.folder / "run" / "events.jsonl") if event.get("code")]
    assert (given_up["name"], given_up["code"]) == ("fatal.png", "kills_worker")
    assert "whole run ended" in given_up["reason"]
    assert "fatal.png" in scene.files("bad")


def test_an_image_that_was_in_work_when_the_machine_was_killed_three_times_is_done_all_the_same(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", ["fatal.png", "a.png"])
    scene.fatal = 3
    for _ in range(3):
        with pytest.raises(CoordinatorDied):
            scene.run()
    assert scene.run() == "ok"
    assert set(scene.files("out")) == {"fatal_out.png", "a_out.png"}
    assert not scene.files("bad")


def test_deaths_are_counted_across_runs(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", ["kill.png"])
    for _ in range(2):
        with Manifest.open(scene.folder / "manifest.sqlite") as manifest:
            stamp = str((scene.folder / "in" / "kill.png").stat().st_mtime_ns)
            manifest.died("kill.png", "kills_worker", "earlier", stamp)
    assert scene.run() == "ok"
    events = [event for event, _ in read(scene.folder / "run" / "events.jsonl")]
    assert sum(event["event"] == "worker" for event in events) == 1
    assert "kill.png" in scene.files("bad")


def test_an_image_that_was_mended_leaves_the_quarantine(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", ["bad.png", "a.png"])
    scene.run()
    (scene.folder / "in" / "good.png").write_bytes(b"good")
    bad = scene.folder / "in" / "bad.png"
    assert "bad.png" in scene.files("bad")
    with Manifest.open(scene.folder / "manifest.sqlite") as manifest:
        assert manifest.latest("bad.png") is not None
    mended = scene.folder / "in" / "a.png"
    (scene.folder / "bad" / "a.png").write_bytes(b"left from an earlier failure")
    with Manifest.open(scene.folder / "manifest.sqlite") as manifest:
        latest = manifest.latest("a.png")
        assert latest is not None
        manifest.append([latest.__class__(**{**latest.to_dict(), "status": "quarantined", "output": "", "at": ""})])
    mended.write_bytes(b"another content")
    bad.unlink()
    scene.run()
    assert "a.png" not in scene.files("bad")


def test_too_many_failures_end_the_run_and_keep_what_is_done(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", [*(f"bad{number}.png" for number in range(8)), *(f"z{i}.png" for i in range(8))])
    assert scene.run(error_threshold="2") == "threshold"
    with Manifest.open(scene.folder / "manifest.sqlite") as manifest:
        found = manifest.summary("run-1")
    assert found.quarantined > 2
    assert found.done == len(scene.files("out"))
    assert scene.run() == "ok"
    assert len(scene.files("out")) == 8


def test_a_run_that_is_stopped_keeps_what_is_done_and_the_next_one_does_the_rest(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", [f"{number:03}.png" for number in range(60)])
    assert scene.run(stopping=3) == "cancelled"
    first = len(scene.files("out"))
    assert 0 < first < 60
    assert scene.run() == "ok"
    assert len(scene.files("out")) == 60
    assert set(scene.upscaled.values()) == {1}


def test_a_store_that_stays_away_ends_the_run_with_a_sentence_after_the_limit(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", [f"{number}.png" for number in range(4)])
    chaos = Chaos([(0, "store")] * 5000)
    with pytest.raises(StackctlError, match=r"does not answer.*longer than 900 s"):
        scene.run(chaos)
    waits = [event["event"] for event, _ in read(scene.folder / "run" / "events.jsonl")]
    assert waits.count("waiting") == 1
    with Manifest.open(scene.folder / "manifest.sqlite") as manifest:
        manifest.suspect_started()
        found = Files(scene.folder / "in").list()
        assert not any(manifest.suspected(image.name, image.stamp) for image in found), "a run that ends blames nobody"
    assert scene.run() == "ok"
    assert len(scene.files("out")) == 4


def test_a_try_that_comes_to_nothing_is_no_death(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", ["a.png"])
    image = next(Files(scene.folder / "in").list())
    with Manifest.open(scene.folder / "manifest.sqlite") as manifest:
        for _ in range(2):
            manifest.died(image.name, "kills_worker", "earlier", image.stamp)
    with pytest.raises(StackctlError, match="does not answer"):
        scene.run(Chaos([(0, "store")] * 5000))
    with Manifest.open(scene.folder / "manifest.sqlite") as manifest:
        assert manifest.deaths(image.name, image.stamp) == 2
    assert scene.run() == "ok"
    assert set(scene.files("out")) == {"a_out.png"}


def test_a_place_that_takes_no_result_ends_the_run_at_once_and_keeps_what_is_done(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", [f"{number}.png" for number in range(30)])
    scene.writable = lambda _: len(scene.files("out")) < 5
    with pytest.raises(NothingCanBeWritten, match="Permission denied") as ended:
        scene.run()
    assert ended.value.code == 1
    assert "--output" in str(ended.value.hint)
    with Manifest.open(scene.folder / "manifest.sqlite") as manifest:
        assert manifest.summary("run-1").done == len(scene.files("out")) == 5
    assert not scene.files("bad")
    scene.writable = lambda _: True
    assert scene.run() == "ok"
    assert set(scene.upscaled.values()) <= {1, 2}
    assert len(scene.files("out")) == 30


def test_what_may_be_no_fault_of_an_image_is_tried_three_times_at_last_with_nothing_beside_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", ["odd.png", *(f"{number}.png" for number in range(9))])
    assert scene.run() == "ok"
    told = [event for event, _ in read(scene.folder / "run" / "events.jsonl")]
    [given_up] = [event for event in told if event.get("status") == "quarantined"]
    assert (given_up["name"], given_up["code"]) == ("odd.png", "internal")
    assert "3 times" in given_up["reason"]
    last_try = max(number for number, event in enumerate(told) if event["event"] == "started")
    assert sum(event["event"] == "image" for event in told[:last_try]) == 9
    assert "odd.png" in scene.files("bad")
    scene.odd = 4  # two tries of two
    assert scene.run(retry_failed=True) == "ok"
    assert len(scene.files("out")) == 10
    assert not scene.files("bad")


def test_where_image_after_image_fails_the_run_ends_and_no_image_is_given_up(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene", [f"odd{number}.png" for number in range(60)])
    with pytest.raises(StackctlError, match=r"Image after image fails: It did not work\."):
        scene.run()
    assert not scene.files("bad")
    scene.odd = 0
    assert scene.run() == "ok"
    assert len(scene.files("out")) == 60
