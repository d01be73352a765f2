"""A whole backup: what is taken, verified, told, pinged and pruned, and what happens when part of it fails."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.backups import Backed
from support.stack_runs import MemoryRuns

from stackctl.backup import freshness, pings, untold
from stackctl.backup.ask import _parsed, answer
from stackctl.backup.events import Hooks, nothing
from stackctl.backup.job import Outcome, run
from stackctl.backup.place import Place
from stackctl.errors import UsageError
from stackctl.stack import Settings, Stack


@dataclass
class Scene:
    """A stack's data, an MLflow that hears of backups, and somebody who is pinged."""

    backed: Backed
    mlflow: MemoryRuns
    address: str
    settings: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stack(self) -> Stack:
        stack = Stack.from_env({"STACKCTL_NAME": "mine", "STACKCTL_MODEL": "m", "MLFLOW_TRACKING_URI": self.address})
        backup = {"ping_url": f"{self.address}/ping/1", **self.settings}
        return Stack(Settings.parse({"name": "mine", "backup": backup}), stack.endpoints)

    def backup(self, hooks: Hooks = nothing) -> Outcome:
        """Take a backup."""
        return run(self.stack, self.backed.sources, self.backed.repository, self._hear, hooks)

    def ask(self, *words: str) -> dict[str, Any]:
        """Ask the repository."""
        place = Place(self.stack, self.backed.repository.root)
        return answer(place, _parsed(words), self._hear)

    def notes(self) -> str:
        """Return what was noted and warned of."""
        return "\n".join(str(event["text"]) for event in self.events if event["event"] in {"note", "warning"})

    def _hear(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(pings, "_PAUSE", 0.0)
    backed = Backed(tmp_path)
    backed.log_run(1)
    backed.register(1)
    mlflow = MemoryRuns()
    with ExitStack() as ends:
        yield Scene(backed, mlflow, ends.enter_context(mlflow.served()))


def test_a_backup_is_taken_verified_told_and_pinged(scene: Scene) -> None:
    outcome = scene.backup()
    assert outcome.exit == 0
    assert outcome.snapshot in scene.backed.repository.marks.verified()
    tags = scene.mlflow.tags()
    assert (tags["stackctl.backup.outcome"], tags["stackctl.backup.snapshot"]) == ("verified", outcome.snapshot)
    assert {"seconds", "bytes", "new_bytes"} <= {each["key"] for each in scene.mlflow.runs[0]["data"]["metrics"]}
    assert scene.mlflow.pings == [("/1/start", ""), ("/1", f"snapshot {outcome.snapshot}")]
    assert scene.events[-1]["event"] == "end"
    assert scene.events[-1]["status"] == "ok"


def test_a_store_that_is_gone_fails_it_loudly_and_leaves_what_there_was(scene: Scene) -> None:
    before = scene.backup().snapshot
    scene.backed.shelf.gone = True
    outcome = scene.backup()
    assert (outcome.exit, outcome.snapshot) == (1, None)
    assert scene.mlflow.tags()["stackctl.backup.outcome"] == "failed"
    assert scene.mlflow.pings[-1][0] == "/1/fail"
    assert scene.events[-1]["message"] == scene.mlflow.pings[-1][1]
    assert [snapshot.id for snapshot in scene.backed.repository.snapshots()] == [before]


def test_an_mlflow_that_is_away_hears_of_it_later(scene: Scene) -> None:
    scene.mlflow.away = True
    assert scene.backup().exit == 0
    assert "MLflow was not told of it yet" in scene.notes()
    assert untold.deliver(scene.backed.repository, scene.stack) is not None
    scene.mlflow.away = False
    assert untold.deliver(scene.backed.repository, scene.stack) is None
    assert untold.deliver(scene.backed.repository, scene.stack) is None
    assert [scene.mlflow.tags(number)["stackctl.backup.outcome"] for number in range(len(scene.mlflow.runs))] == [
        "verified"
    ]


def test_a_restored_mlflow_hears_of_the_snapshots_that_are_younger_than_its_database(scene: Scene) -> None:
    repository = scene.backed.repository
    scene.backup()
    spoilt, right = str(scene.backup().snapshot), str(scene.backup().snapshot)
    del scene.mlflow.runs[1:]  # the database of the first snapshot does not have them
    repository.marks.mark_damaged(spoilt, ["stack/stack.yaml"], datetime.now(UTC))
    assert untold.remind(repository, scene.stack) is None
    tags = [scene.mlflow.tags(number) for number in range(len(scene.mlflow.runs))]
    heard = {each["stackctl.backup.snapshot"]: each["stackctl.backup.outcome"] for each in tags}
    assert heard[spoilt] == "damaged"
    assert heard[right] == "verified"
    count = len(scene.mlflow.runs)
    assert untold.remind(repository, scene.stack) is None
    assert len(scene.mlflow.runs) == count


def test_a_target_that_is_gone_is_told_although_nothing_can_be_kept_there(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "backups").touch()
    assert scene.backup().exit == 1
    assert scene.mlflow.tags()["stackctl.backup.outcome"] == "failed"


def test_a_disk_that_fills_up_at_any_moment_ends_in_a_sentence_and_a_ping(scene: Scene) -> None:
    for step in ("databases", "marked", "verified"):

        def full(done: str, step: str = step) -> None:
            if done == step:
                raise OSError(28, "No space left on device")

        outcome = scene.backup(full)
        assert (outcome.exit, scene.mlflow.pings[-1][0]) == (1, "/1/fail")
        assert re.search("is full|No space left on device", str(outcome.message))
        assert scene.mlflow.tags()["stackctl.backup.outcome"] == "failed"
    assert scene.backup().exit == 0


def test_a_snapshot_that_is_not_what_was_written_counts_for_nothing_and_nothing_is_deleted(scene: Scene) -> None:
    scene.settings = {"keep_last": 1, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    first = scene.backup().snapshot

    def flip(step: str) -> None:
        if step == "marked":
            file = scene.backed.repository.snapshots()[-1].folder / "db" / "mlflow.db"
            file.chmod(0o600)
            file.write_bytes(b"\0" + file.read_bytes()[1:])

    outcome = scene.backup(flip)
    assert outcome.exit == 3
    assert scene.mlflow.tags()["stackctl.backup.outcome"] == "damaged"
    assert scene.mlflow.pings[-1][0] == "/1/fail"
    assert [snapshot.id for snapshot in scene.backed.repository.snapshots()] == [first, outcome.snapshot]


def test_a_second_copy_that_fails_fails_the_backup_but_not_the_snapshot(scene: Scene, tmp_path: Path) -> None:
    scene.settings = {"copies": {"rsync": "nobody@127.0.0.1:1:/there"}}
    outcome = scene.backup()
    assert outcome.exit == 1
    assert outcome.message is not None
    assert "The snapshot is there and verified, but" in outcome.message
    assert outcome.snapshot in scene.backed.repository.marks.verified()
    assert scene.mlflow.tags()["stackctl.backup.outcome"] == "verified"
    assert scene.mlflow.pings[-1][0] == "/1/fail"


def test_two_at_once_are_one_backup_and_one_refusal_that_alarms_nobody(scene: Scene) -> None:
    scene.backed.repository.prepare()
    with scene.backed.repository.lock("backup"):
        outcome = scene.backup()
    assert outcome.exit == 1
    assert "Another command works" in str(outcome.message)
    assert (scene.mlflow.runs, scene.mlflow.pings) == ([], [("/1/start", "")])


def test_old_snapshots_go_only_after_a_new_one_is_verified(scene: Scene) -> None:
    scene.settings = {"keep_last": 2, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    ids = [scene.backup().snapshot for _ in range(4)]
    assert [snapshot.id for snapshot in scene.backed.repository.snapshots()] == ids[2:]
    assert [event["snapshot"] for event in scene.events if event["event"] == "removed"] == ids[:2]


def test_a_source_that_was_emptied_stops_deletion_until_a_person_accepts_it(scene: Scene) -> None:
    scene.settings = {"keep_last": 1, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    (scene.backed.inbound / "large").write_bytes(bytes(5_000_000))
    full = scene.backup().snapshot
    (scene.backed.inbound / "large").unlink()
    for _ in range(2):
        assert scene.backup().exit == 0
        assert "nothing was deleted: the source shrank" in scene.notes()
    assert full in [snapshot.id for snapshot in scene.backed.repository.snapshots()]
    assert scene.ask("prune", "--dry-run")["refused"] is not None
    newest = scene.backed.repository.snapshots()[-1].id
    assert full in scene.ask("prune", "--accept")["removed"]
    assert [snapshot.id for snapshot in scene.backed.repository.snapshots()] == [newest]


def _lose_photos(backed: Backed) -> None:
    for photo in backed.inbound.iterdir():
        photo.unlink()


def _lose_runs(backed: Backed) -> None:
    with backed.sql() as connection:
        connection.execute("DELETE FROM tags")
        connection.execute("DELETE FROM runs")


def _lose_objects(backed: Backed) -> None:
    backed.shelf.objects = {key: data for key, data in backed.shelf.objects.items() if "/models/" in key}


def _lose_pipeline(backed: Backed) -> None:
    (backed.folder / "stack" / "pipeline" / "MLproject").unlink()


@pytest.mark.parametrize(
    ("lose", "what"),
    [
        (_lose_photos, "fewer files in data/inbound"),
        (_lose_runs, "fewer runs in db"),
        (_lose_objects, "fewer files in objects/mlflow"),
        (_lose_pipeline, "fewer files in stack/pipeline"),
    ],
)
def test_one_part_that_was_emptied_stops_deletion_though_all_the_rest_is_there(
    scene: Scene, lose: Callable[[Backed], None], what: str
) -> None:
    scene.settings = {"keep_last": 1, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    for number in range(2, 8):
        scene.backed.log_run(number)
    scene.backed.register(2, "large")
    scene.backed.shelf.objects["0/models/notes"] = bytes(2_000_000)
    full = scene.backup().snapshot
    lose(scene.backed)
    assert scene.backup().exit == 0
    assert what in scene.notes()
    assert scene.backed.repository.snapshots()[0].id == full


def test_what_a_person_accepted_says_nothing_of_a_repository_that_was_lost_since(scene: Scene) -> None:
    scene.settings = {"keep_last": 1, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    for _ in range(3):
        scene.backup()
    scene.ask("prune", "--accept")
    shutil.rmtree(scene.backed.repository.home)
    full = scene.backup().snapshot
    _lose_photos(scene.backed)
    scene.backup()
    assert scene.backed.repository.snapshots()[0].id == full


def test_what_a_person_accepted_stays_accepted_when_that_snapshot_is_gone(scene: Scene) -> None:
    full = scene.backup().snapshot
    _lose_photos(scene.backed)
    less = str(scene.backup().snapshot)
    scene.ask("prune", "--accept")
    scene.backup()
    with scene.backed.repository.lock("test"):
        scene.backed.repository.remove(less)
    assert scene.backed.repository.snapshots()[0].id == full
    assert scene.ask("prune", "--dry-run")["refused"] is None


def test_a_damaged_snapshot_takes_no_place_and_is_named_until_it_goes(scene: Scene) -> None:
    scene.settings = {"keep_last": 2, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    first, second = (str(scene.backup().snapshot) for _ in range(2))
    scene.backed.repository.marks.mark_damaged(second, ["data/inbound/photo.png"], datetime.now(UTC))
    third = str(scene.backup().snapshot)
    states = {each["id"]: each["state"] for each in scene.ask("list")["snapshots"]}
    assert states == {first: "verified", second: "damaged", third: "verified"}
    fourth = str(scene.backup().snapshot)
    assert [each.id for each in scene.backed.repository.snapshots()] == [third, fourth]
    removed = {each["snapshot"]: each["damaged"] for each in scene.events if each["event"] == "removed"}
    assert removed == {first: False, second: True}


def test_the_repository_answers_what_there_is_and_whether_it_is_right(scene: Scene) -> None:
    name = str(scene.backup().snapshot)
    listed = scene.ask("list")
    assert [each["id"] for each in listed["snapshots"]] == [name]
    assert listed["snapshots"][0]["verified"]
    assert "last verified" in listed["snapshots"][0]["keep"]
    shown = scene.ask("show", name[:10])
    assert (shown["id"], shown["counts"]["objects/mlflow"]["files"]) == (name, 3)
    with pytest.raises(UsageError, match="There is no snapshot nothing"):
        scene.ask("show", "nothing")
    file = scene.backed.repository.find(name).folder / "data" / "inbound" / "photo.png"
    file.chmod(0o600)
    file.write_bytes(b"a phot0")
    verdict = scene.ask("verify")
    assert not verdict["ok"]
    assert "photo.png" in verdict["snapshots"][0]["problems"][0]
    assert scene.mlflow.tags()["stackctl.backup.outcome"] == "damaged"
    assert scene.ask("list")["snapshots"][0]["damaged"] == ["data/inbound/photo.png"]


def test_once_all_that_is_left_is_damaged_no_deleted_snapshot_counts_as_verified(scene: Scene) -> None:
    scene.settings = {"keep_last": 1, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    scene.backup()
    left = str(scene.backup().snapshot)
    assert [each.id for each in scene.backed.repository.snapshots()] == [left]
    file = scene.backed.repository.find(left).folder / "data" / "inbound" / "photo.png"
    file.chmod(0o600)
    file.write_bytes(b"a phot0")
    assert not scene.ask("verify")["ok"]
    found = freshness.read(scene.mlflow.rest(), "mine", timedelta(days=8), datetime.now(UTC) + timedelta(days=9))
    assert (found.newest_verified, found.problem) == (None, "there is no verified backup")
    assert str(found.note).startswith(f"the snapshot {left} is damaged")


def test_a_wrong_clock_never_costs_a_snapshot(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.settings = {"keep_last": 1, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    first = scene.backup().snapshot

    class EightDaysBack(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromtimestamp(datetime.now(UTC).timestamp() - 8 * 86400, tz)

    monkeypatch.setattr("stackctl.backup.job.datetime", EightDaysBack)
    second = scene.backup().snapshot
    assert {snapshot.id for snapshot in scene.backed.repository.snapshots()} == {first, second}
