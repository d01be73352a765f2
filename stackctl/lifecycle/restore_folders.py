"""The folders of a stack in a restore whose own process may only read them: put into place by whoever restores.

Under Docker that process is another user's, in a container. What it left is copied out of the snapshot and written by
the command line, so that it belongs to the person who called it. Interrupted and called again it ends right.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from stackctl.backup import restore_folders as folders
from stackctl.backup.manifest import FILE, HEADER
from stackctl.backup.repository import Snapshot
from stackctl.backup.restore_places import Only
from stackctl.engines import Engine, Progress
from stackctl.errors import StackctlError
from stackctl.stack import Stack


def put_left(
    stack: Stack,
    engine: Engine,
    snapshot: str,
    only: str | None,
    left: Sequence[str],
    progress: Progress,
    note: Callable[[str], None],
) -> folders.Counts:
    """Put what a restore left into place, and return by folder what became of its files.

    Args:
        stack: whose folders.
        engine: hands the snapshot out.
        snapshot: its id, or its folder.
        only: the part of it that is restored.
        left: the parts of the snapshot that were left, as paths below its folder; none: nothing is to do.
        progress: told how far it is.
        note: told what this person may not write either.

    Raises:
        StackctlError: a file is damaged or cannot be written.
    """
    if not left:
        return {}
    scratch = stack.state / "restoring"  # on the disk that has to have room for it anyway
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        found = Snapshot.load(engine.snapshot_out(snapshot, scratch, (HEADER, FILE, *left)))
        counts, still = folders.put_folders(
            stack.home, _kept(stack), found, cast("Only | None", only), _told(progress), left
        )
    except OSError as error:
        raise StackctlError(
            f"The stack's folders could not be restored: {error}.",
            "Mend that; then `stackctl restore` goes on, or `stackctl restore --undo` goes back.",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if still:
        hint = "`stackctl restore --into DIR` writes them into a folder"
        note(f"{', '.join(still)} were left alone: you may not write there. {hint}.")
    return counts


def bring_back(stack: Stack) -> int:
    """Put the files that a restore replaced back into their place, and return how many."""
    count = folders.bring_back(stack.home, _kept(stack))
    forget_kept(stack)
    return count


def forget_kept(stack: Stack) -> None:
    """Delete what a restore replaced: it has succeeded."""
    shutil.rmtree(_kept(stack), ignore_errors=True)


def _kept(stack: Stack) -> Path:
    return stack.state / "replaced"


def _told(progress: Progress) -> Callable[..., None]:
    def tell(event: str, **fields: Any) -> None:
        if event == "step":
            progress(str(fields["name"]), f"apply: {fields['done']} of {fields['total']}")

    return tell
