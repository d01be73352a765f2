"""What an interrupted restore leaves for the next command: which snapshot it was, and that one goes on at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_snapshot import NOW, scene

from stackctl.backup.events import quiet
from stackctl.backup.restore_run import undo
from stackctl.errors import StackctlError, UsageError
from stackctl.lifecycle import open_restore
from stackctl.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    (tmp_path / "stack.yaml").write_text("name: small\nengine: local\nstore: {kind: folder}\n")
    return Stack.from_folder(tmp_path)


def test_a_restore_without_a_snapshot_goes_on_with_the_interrupted_one_not_with_the_newest(stack: Stack) -> None:
    assert open_restore.going_on(stack, None, "db") == (None, "db")
    open_restore.begin(stack, "OLD", "db")
    assert open_restore.going_on(stack, None, None) == ("OLD", "db")
    assert "OLD has not ended" in str(open_restore.sentence(stack))
    open_restore.applied(stack)
    assert open_restore.going_on(stack, None, "db") == ("OLD", "db")
    assert open_restore.going_on(stack, "OTHER", None) == ("OTHER", None)  # all of it leaves no halves
    with pytest.raises(UsageError, match="OLD"):
        open_restore.going_on(stack, None, "outbound")  # would call done what is half done
    open_restore.end(stack)
    assert open_restore.going_on(stack, None, None) == (None, None)


def test_a_second_restore_is_refused_while_one_is_at_work(stack: Stack) -> None:
    with (
        open_restore.alone(stack),
        pytest.raises(StackctlError, match="Another restore"),
        open_restore.alone(stack),
    ):
        pass
    with open_restore.alone(stack):
        pass


def test_half_a_kept_file_is_not_brought_back(tmp_path: Path) -> None:
    small = scene(tmp_path)
    half = small.live.kept / "objects" / "mlflow" / "1" / ".stackctl-keeping-x"
    half.parent.mkdir(parents=True)
    half.write_text("hal")
    undo(small.live, quiet)
    assert small.artifacts() == NOW
