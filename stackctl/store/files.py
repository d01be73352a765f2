"""Images in a folder of this machine: streamed, read, and written so that a reader sees all of one or nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stackctl.errors import StackctlError
from stackctl.store.errors import FULL, GONE, SHORT, CannotWrite, NoSpace, NotFound, StoreGone
from stackctl.store.places import Listed, is_image

PARTIAL = ".partial-"
_TRIES = 3


@dataclass(frozen=True)
class Files:
    """Images in a folder of this machine, or a single file.

    Attributes:
        root: the folder or the file.
        address: what a person calls it, where that is not its path.
    """

    root: Path
    address: str = ""

    @property
    def url(self) -> str:
        """The ``s3://`` URL that the folder stands for, else its path."""
        return self.address or str(self.root)

    def names(self) -> list[str]:
        """Return the names of the images below the folder, sorted."""
        return sorted(image.name for image in self.list())

    def list(self, unreadable: Callable[[str], None] | None = None) -> Iterator[Listed]:
        """Yield the images below the folder as they are found; a single file is its own only image."""
        if self.root.is_file():
            yield _listed(self.root.name, self.root.stat())
            return
        for name, entry in _walk(self.root, unreadable):
            if is_image(name):
                gone = contextlib.suppress(FileNotFoundError)
                with gone, _left_out(unreadable), _reading(self.root, entry.path):
                    if (status := _file_status(entry)) is not None:
                        yield _listed(name, status)

    def read(self, name: str) -> bytes:
        """Return one image's bytes."""
        path = self.path(name)
        try:
            with _reading(self.root, path):
                return path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"There is no {path}.") from None

    def write(self, name: str, data: bytes) -> Listed:
        """Write a file that is absent (or old) or complete, also after a crash."""
        write_file(self.root / name, data)
        return self.stat(name) or Listed(name, len(data), "")

    def stat(self, name: str) -> Listed | None:
        """Return a file as it is listed; None where there is none."""
        path = self.path(name)
        try:
            with _reading(self.root, path):
                return _listed(name, path.stat())
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is fine."""
        with _writing(self.root / name):
            (self.root / name).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Delete the unfinished files of writers that are dead: a living one holds a lock on its own."""
        if not self.root.is_dir():
            return 0
        return sum(_abandoned(Path(entry.path)) for _, entry in _walk(self.root) if entry.name.startswith(PARTIAL))

    def path(self, name: str) -> Path:
        """Return where an image lies."""
        return self.root if self.root.is_file() else self.root / name

    def full(self, name: str) -> str:
        """Return the file's path."""
        return str(self.path(name))

    def base(self) -> str:
        """Return the real path of the folder or the file."""
        return os.path.realpath(self.root)

    def where(self, name: str) -> str:
        """Return the real folder and the name in it: a link there is itself replaced, not what it points to."""
        path = self.path(name)
        return str(Path(os.path.realpath(path.parent)) / path.name)

    def replaceable(self, name: str) -> set[str]:
        """Return the file and, where it is a link, what it points to."""
        return {self.where(name), os.path.realpath(self.path(name))}


def write_file(file: Path, data: bytes) -> None:
    """Write a file that is absent (or old) or complete, also after a crash, and safe on the disk.

    Raises:
        NoSpace: the disk is full.
        StoreGone: the disk or mount does not answer.
        CannotWrite: the file cannot be written; nothing is left of it.
    """
    with _writing(file):
        for left in reversed(range(_TRIES)):
            try:
                _write(file, data)
            except FileNotFoundError:  # another run swept the file between its creation and its lock
                if not left:
                    raise
            else:
                return


def _write(file: Path, data: bytes) -> None:
    _make_folder(file.parent)
    temporary = file.parent / f"{PARTIAL}{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the umask
    try:
        with os.fdopen(descriptor, "wb") as handle:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            handle.write(data)
            handle.flush()
            os.fsync(descriptor)
            temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(file.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they outlive a crash of the machine."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # network file systems that have no such thing
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(root: Path, unreadable: Callable[[str], None] | None = None) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (path below ``root``, entry) of everything but folders, in no order; links to folders are not followed.

    One open folder per level is all that is held in memory. ``unreadable`` is told of folders that are left out because
    they cannot be read; without it, and at ``root`` itself, that raises.
    """
    open_folders = [("", _scan(root, root))]
    try:
        while open_folders:
            prefix, entries = open_folders[-1]
            entry, folder = None, False
            with _left_out(unreadable if prefix else None), _reading(root, root / prefix):
                entry = next(entries, None)
                folder = entry is not None and entry.is_dir(follow_symlinks=False)
            if entry is None:
                entries.close()
                open_folders.pop()
            elif not folder:
                yield prefix + entry.name, entry
            elif not entry.name.startswith("."):
                with contextlib.suppress(FileNotFoundError), _left_out(unreadable):
                    open_folders.append((f"{prefix}{entry.name}/", _scan(root, Path(entry.path))))
    finally:
        for _, entries in open_folders:
            entries.close()


@contextlib.contextmanager
def _left_out(unreadable: Callable[[str], None] | None) -> Iterator[None]:
    """Tell of what cannot be read, where somebody is to be told, in place of raising."""
    try:
        yield
    except StoreGone:
        raise
    except StackctlError as error:
        if unreadable is None:
            raise
        unreadable(error.message)


def _scan(root: Path, folder: Path) -> os._ScandirIterator[str]:
    with _reading(root, folder):
        return os.scandir(folder)


def _file_status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return a file's status, None where it is none; a link that leads nowhere has its own: reading it says why."""
    try:
        return entry.stat() if entry.is_file() else None
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.EACCES} or not entry.is_symlink():
            raise
        return entry.stat(follow_symlinks=False)


def _listed(name: str, status: os.stat_result) -> Listed:
    return Listed(name, status.st_size, str(status.st_mtime_ns))


def _abandoned(file: Path) -> bool:
    """Delete an unfinished file unless its writer lives; return whether it was deleted."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def _reading(root: Path, path: Path | str) -> Iterator[None]:
    """Turn the system's errors into ours, but for a missing file below a folder that is there."""
    try:
        yield
    except FileNotFoundError:
        if not root.exists():
            raise StoreGone(f"{root} is not there any more.", "Is it mounted?") from None
        raise
    except OSError as error:
        if error.errno in SHORT:
            raise StoreGone(
                f"{path} cannot be read now: {error.strerror}.",
                "Something uses up the machine's open files or its memory.",
            ) from error
        if error.errno in GONE and not _answers(root):
            raise StoreGone(f"{root} does not answer: {error.strerror}.", "Is it mounted?") from error
        raise StackctlError(f"{path} cannot be read: {error.strerror}.") from error


def _answers(root: Path) -> bool:
    try:
        with os.scandir(root if root.is_dir() else root.parent) as entries:
            next(entries, None)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = f"{file} cannot be written: {error.strerror}."
        if error.errno in FULL:
            raise NoSpace(said, "Make room, or choose another folder.") from error
        if error.errno in GONE | SHORT:
            raise StoreGone(said, "Is it mounted?") from error
        raise CannotWrite(said, "Choose another folder.") from error
