"""When backups run: the crontab line in its time zone, what was missed, what failed, and what the scheduler says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stackctl.backup.place import Place
from stackctl.backup.schedule import Schedule
from stackctl.backup.scheduler import Scheduler, SchedulerHealth, run_command
from stackctl.models.deployer_health import Health
from stackctl.stack import Settings, Stack

SATURDAY = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)
WEEKLY = "0 5 * * 6"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "zone", "after", "due"),
    [
        (WEEKLY, "UTC", "2026-11-20T12:00", "2026-11-21T05:00"),
        (WEEKLY, "UTC", "2026-11-21T05:00", "2026-11-28T05:00"),
        (WEEKLY, "Europe/Berlin", "2026-11-20T12:00", "2026-11-21T04:00"),
        (WEEKLY, "Europe/Berlin", "2026-07-03T12:00", "2026-07-04T03:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T01:00"),  # 02:30 does not exist that night
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:31", "2026-10-26T01:30"),  # and comes twice that one
    ],
)
def test_a_line_is_due_in_its_own_time_zone(line: str, zone: str, after: str, due: str) -> None:
    assert Schedule(line, zone).after(utc(after)) == utc(due)


class Bench:
    """A scheduler whose clock stands still unless it is moved, and whose backups end as they are told to."""

    def __init__(self, folder: Path, **backup: object) -> None:
        self.folder = folder
        self.backup = {"schedule": WEEKLY, **backup}
        self.now = SATURDAY - timedelta(days=3)
        self.exits: list[int] = []
        self.ran: list[datetime] = []
        self.start()

    def start(self) -> None:
        """Start the process (again)."""
        stack = Stack.from_env(
            {"STACKCTL_NAME": "mine", "STACKCTL_MODEL": "m", "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
        )
        settings = Settings.parse({"name": "mine", "backup": self.backup})
        place = Place(Stack(settings, stack.endpoints), self.folder)
        self.health = SchedulerHealth(self.folder)
        self.scheduler = Scheduler(place, self.health, now=lambda: self.now, execute=self._execute)

    def at(self, moment: datetime) -> list[str]:
        """Look at the clock at a moment and return what ran."""
        self.now = moment
        return self.scheduler.step()

    def _execute(self, _command: Sequence[str], _health: Health) -> int:
        self.ran.append(self.now)
        return self.exits.pop(0) if self.exits else 0


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_backup_runs_once_when_it_is_due_and_again_the_next_week(bench: Bench) -> None:
    assert bench.at(SATURDAY - timedelta(seconds=1)) == []
    assert bench.at(SATURDAY + timedelta(seconds=3)) == ["backup"]
    assert bench.at(SATURDAY + timedelta(days=6)) == []
    assert bench.at(SATURDAY + timedelta(days=7, seconds=3)) == ["backup"]


def test_what_was_missed_while_the_machine_was_off_is_made_up_for_once(bench: Bench) -> None:
    bench.now = SATURDAY + timedelta(days=20)
    bench.start()
    assert bench.at(bench.now) == ["backup"]
    assert bench.at(bench.now + timedelta(minutes=1)) == []


def test_a_restart_does_not_repeat_what_was_done(bench: Bench) -> None:
    bench.at(SATURDAY + timedelta(seconds=3))
    bench.start()
    assert bench.at(SATURDAY + timedelta(minutes=5)) == []


def test_a_new_schedule_does_not_catch_up_with_itself(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.now = SATURDAY + timedelta(hours=10)
    bench.backup["schedule"] = "0 6 * * *"
    bench.start()
    assert bench.at(bench.now) == []
    assert bench.at(SATURDAY + timedelta(days=1, hours=2)) == ["backup"]


def test_a_clock_that_is_set_back_neither_repeats_nor_stops_backups(bench: Bench) -> None:
    bench.at(SATURDAY + timedelta(days=7, seconds=3))
    assert bench.at(SATURDAY - timedelta(days=1)) == []
    assert bench.at(SATURDAY + timedelta(days=14, seconds=3)) == ["backup"]


def test_a_clock_that_was_a_year_ahead_stops_backups_no_longer_than_until_the_next_moment(bench: Bench) -> None:
    assert bench.at(SATURDAY + timedelta(days=365)) == ["backup"]
    assert bench.at(SATURDAY - timedelta(days=2)) == []
    assert bench.at(SATURDAY + timedelta(seconds=3)) == ["backup"]


def test_a_failed_backup_is_tried_again_twice_and_then_the_next_week(bench: Bench) -> None:
    bench.exits = [1, 1, 1, 0]
    moments = [SATURDAY + timedelta(minutes=minutes) for minutes in range(1, 200)]
    assert sum(bool(bench.at(moment)) for moment in moments) == 3
    assert bench.at(SATURDAY + timedelta(days=7, minutes=1)) == ["backup"]


def test_its_health_tells_the_live_schedule_the_last_run_and_the_snapshots(bench: Bench) -> None:
    for name in ("20261121T050000Z-ab12", "20261122T050000Z-cd34"):
        (bench.folder / "snapshots" / name).mkdir(parents=True)
    (bench.folder / "snapshots" / "20261121T050000Z-ab12" / "snapshot.json").touch()  # the other one lost its header
    bench.exits = [4]
    bench.at(SATURDAY + timedelta(seconds=3))
    document = bench.health.to_dict()
    assert document["schedules"]["backup"]["line"] == WEEKLY
    assert document["schedules"]["backup"]["last"] == {"at": "2026-11-21T05:00:03Z", "exit": 4}
    assert document["snapshots"] == ["20261121T050000Z-ab12"]


def test_a_repository_that_cannot_be_written_does_not_end_the_scheduler(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bench = Bench(tmp_path / "file")
    assert bench.at(SATURDAY + timedelta(seconds=3)) == ["backup"]


def test_a_command_runs_to_its_end_and_its_exit_status_counts() -> None:
    health = Health()
    assert run_command(["-c", "print('one line')"], health) == 0
    assert run_command(["-c", "raise SystemExit(4)"], health) == 4
