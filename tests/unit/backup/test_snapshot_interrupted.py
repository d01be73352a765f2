"""A backup that is killed anywhere leaves a snapshot that can be restored, and the next one works."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.backups import KILLED, Backed, restored, runs_in

from stackctl.backup.snapshot import STEPS
from stackctl.backup.verify import verify

PLACES = (*STEPS, "object:1", "object:3")


@pytest.mark.parametrize("step", PLACES)
def test_killed_at_any_step_the_latest_can_be_restored_and_the_next_backup_works(tmp_path: Path, step: str) -> None:
    backed = Backed(tmp_path)
    backed.log_run(1)
    backed.register(1)
    before, first = backed.contents(), backed.take()
    backed.log_run(2)
    backed.register(2)
    (backed.inbound / "photo.png").write_bytes(b"another photo")
    assert backed.take_and_die(step) == KILLED
    latest = backed.repository.latest()
    assert latest is not None
    assert verify(latest, recorded=backed.repository.marks.recorded(latest.id)).problems == ()
    assert restored(latest) == (before if latest.id == first.id else backed.contents())
    assert (backed.repository.root / "latest").exists()
    last = backed.take()
    assert restored(last) == backed.contents()
    assert backed.repository.partial() == []
    assert (backed.repository.root / "latest").resolve() == last.folder.resolve()
    assert verify(last).problems == ()


def test_killed_in_the_first_backup_of_all_the_next_one_works(tmp_path: Path) -> None:
    backed = Backed(tmp_path)
    backed.log_run(1)
    assert backed.take_and_die("flushed") == KILLED
    assert backed.repository.latest() is None
    assert restored(backed.take()) == backed.contents()


CHANGES = st.sampled_from(["run", "version", "replace", "delete object", "photo", "delete photo", "move photo"])
ROUNDS = st.lists(st.tuples(st.lists(CHANGES, max_size=4), st.sampled_from((None, *PLACES))), min_size=1, max_size=4)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROUNDS)
def test_any_changes_and_kills_in_any_order_end_right(rounds: list[tuple[list[str], str | None]]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="stackctl-test-"))
    try:
        backed = Backed(folder)
        taken: dict[str, tuple[dict[str, bytes], set[str]]] = {}
        runs: set[str] = set()
        for number, (changes, step) in enumerate(rounds, 1):
            for index, change in enumerate(changes):
                _change(backed, change, 10 * number + index, runs)
            now = (backed.contents(), set(runs))
            if step is None:
                taken[backed.take().id] = now
            else:
                backed.take_and_die(step)
                taken.update({each.id: now for each in backed.repository.snapshots() if each.id not in taken})
            snapshots = backed.repository.snapshots()
            assert [snapshot.id for snapshot in snapshots] == list(taken)
            for snapshot in snapshots:
                assert (restored(snapshot), runs_in(snapshot)) == taken[snapshot.id]
                assert verify(snapshot).damaged == ()
    finally:
        shutil.rmtree(folder)


def _change(backed: Backed, change: str, number: int, runs: set[str]) -> None:
    objects = backed.shelf.objects
    photos = sorted(backed.inbound.iterdir())
    match change:
        case "run":
            runs.add(backed.log_run(number))
        case "version":
            backed.register(number)
        case "replace" if objects:
            objects[min(objects)] = f"replaced {number}".encode()
        case "delete object" if objects:
            del objects[max(objects)]
        case "photo":
            (backed.inbound / f"{number}.png").write_bytes(f"photo {number}".encode())
        case "delete photo" if photos:
            photos[0].unlink()
        case "move photo" if photos:
            photos[-1].rename(backed.inbound / f"moved-{number}.png")
        case _:
            pass
