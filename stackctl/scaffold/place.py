"""Where a new stack may go, and putting it there whole or not at all."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stackctl.errors import StackctlError, UsageError
from stackctl.stack.stack import SETTINGS_FILE, UNUSABLE


def refuse_taken(folder: Path) -> None:
    """Refuse a destination that is no new or empty folder.

    Raises:
        UsageError: it is a stack already, something else lies there, or no stack could run under that path.
    """
    if any(character in str(folder.resolve()) for character in UNUSABLE):
        raise UsageError(
            f"A stack cannot run in {str(folder.resolve())!r}: its path has a quote, a backslash or a line break.",
            "Name another folder.",
        )
    try:
        folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UsageError(f"{folder} cannot be a folder: {error.strerror}.", "Name another one.") from error
    if (folder / SETTINGS_FILE).is_file():
        raise UsageError(f"{folder} is already a stack.", f"Start it: stackctl -C {shlex.quote(str(folder))} up")
    if folder.is_dir():
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; nothing was overwritten.", "Name a folder that is new or empty.")
    elif folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there and is no folder.", "Name a folder that is new or empty.")
    elif not _nearest(folder).is_dir():
        raise UsageError(f"{_nearest(folder)} is no folder.", "Name a folder that is new or empty.")


@contextlib.contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """Make a temporary folder on the file system of ``folder`` and remove it afterwards, with all that was left in it.

    Raises:
        UsageError: nothing can be written there.
    """
    try:
        temporary = Path(tempfile.mkdtemp(dir=_nearest(folder), prefix=".stackctl-init-"))
    except OSError as error:
        raise UsageError(f"Nothing can be written into {_nearest(folder)}: {error.strerror}.") from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_into_place(source: Path, folder: Path) -> None:
    """Make ``source`` the content of ``folder``, which is new or empty; on a failure nothing of it stays there.

    Raises:
        UsageError: the folder was filled by somebody else in the meantime.
        StackctlError: it cannot be written.
    """
    try:
        if folder.is_dir():
            _fill(source, folder)
            return
        made = [parent for parent in folder.parents if not parent.exists()]
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.rename(folder)
        except OSError:
            for parent in made:
                with contextlib.suppress(OSError):
                    parent.rmdir()
            refuse_taken(folder)
            raise
    except OSError as error:
        raise StackctlError(
            f"The stack cannot be put into {folder}: {error.strerror}.", "Nothing was changed."
        ) from error


def _fill(source: Path, folder: Path) -> None:
    """Move the entries one by one: the folder may be a mount, or the working directory of the person's shell."""
    if any(entry.name != source.parent.name for entry in folder.iterdir()):
        raise UsageError(f"{folder} is not empty any more; nothing was overwritten.")
    moved: list[Path] = []
    try:
        # The settings file last: until it is there the folder is no stack.
        for entry in sorted(source.iterdir(), key=lambda entry: entry.name == SETTINGS_FILE):
            entry.rename(folder / entry.name)
            moved.append(folder / entry.name)
    except BaseException:
        for entry in moved:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        raise


def _nearest(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
