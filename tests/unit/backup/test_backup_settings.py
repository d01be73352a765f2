"""Settings of backups that cannot be used are refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import UsageError
from stackctl.lifecycle.backup import compare
from stackctl.stack import Settings, Stack


@pytest.mark.parametrize(
    ("backup", "said"),
    [
        ({"schedule": "every saturday"}, "backup.schedule: 'every saturday' is no crontab line of five fields"),
        ({"schedule": "0 25 * * 6"}, "backup.schedule: '0 25 * * 6' is no crontab line that ever comes true"),
        ({"timezone": "Mars"}, "backup.timezone: 'Mars' is no time zone, for instance Europe/Berlin"),
        ({"target": "here"}, "backup.target: 'here' is not the absolute path of a folder"),
        ({"keep_within": ""}, "backup.keep_within: '' is not a duration, for instance 2m15d"),
        ({"encrypt_to": ["me"]}, "backup.encrypt_to.0: 'me' is not an age recipient"),
        ({"copies": {"rsync": "nas:backups"}}, "backup.copies.rsync: 'nas:backups' is not a place for rsync"),
        ({"drill_ping_url": "hc.example.org"}, "backup.drill_ping_url: 'hc.example.org' is not an address"),
        ({"include": ["../others"]}, "backup.include.0: '../others' is not a folder of the stack"),
        ({"keep_last": 0, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}, "backup: an empty retention policy"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(backup: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        Settings.parse({"name": "mine", "backup": backup})
    assert f"\n  {said}" in refused.value.message


def test_a_stack_without_the_section_has_no_schedule_and_that_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text("name: mine\n")
    assert str(compare(Stack.from_folder(tmp_path), None).problem).startswith("no backup is scheduled")
    (tmp_path / "stack.yaml").write_text("name: mine\nbackup: {keep_last: 3}\n")
    assert Stack.from_folder(tmp_path).settings.backup.schedule == "0 5 * * 6", "only the line was deleted"
