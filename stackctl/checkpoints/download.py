"""Fetch an official checkpoint, from upstream's release, a mirror or a folder: resumed, pinned, never half there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.checkpoints.catalogue import Checkpoint
from stackctl.distribution import cache_folder
from stackctl.errors import StackctlError, UsageError

if TYPE_CHECKING:
    import httpx

Note = Callable[[str], None]
NOTE_BYTES = 500_000
TRIES = 4
CONNECT_SECONDS = 20.0
READ_SECONDS = 60.0
PAUSE_SECONDS = 0.3
OFFLINE_HINT = "Name a folder or mirror that has the file: --from FOLDER|URL, or STACKCTL_WEIGHTS_DIR=FOLDER."


def weights_folder() -> Path:
    """Return the folder in the cache that keeps downloaded checkpoints."""
    return cache_folder() / "weights"


def fetch(entry: Checkpoint, *, source: str | None, note: Note) -> Path:
    """Return the file of an official checkpoint, whose SHA-256 has been checked.

    Args:
        entry: which one.
        source: a folder that has the file, or a URL: of the file itself (it ends in ``.pth``), or of what has it.
            None: ``STACKCTL_WEIGHTS_DIR``, else upstream's release.
        note: called with what happens, for a person.

    Raises:
        UsageError: ``source`` is a folder without the file, or no folder.
        StackctlError: it could not be downloaded, or is another file than the one that is pinned.
    """
    kept = weights_folder() / entry.file_name
    if kept.is_file() and sha256_of(kept) == entry.sha256:
        return kept
    place = source or os.environ.get("STACKCTL_WEIGHTS_DIR") or entry.url
    if "://" not in place:
        return _from_folder(entry, Path(place).expanduser())
    url = place if place.endswith(".pth") else f"{place.rstrip('/')}/{entry.file_name}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(kept.with_name(f".{kept.name}.lock"), note):
        if not (kept.is_file() and sha256_of(kept) == entry.sha256):
            _download(url, kept, entry.sha256, note)
    return kept


def sha256_of(file: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _from_folder(entry: Checkpoint, folder: Path) -> Path:
    file = folder if folder.suffix == ".pth" else folder / entry.file_name
    if not file.is_file():
        raise UsageError(f"There is no {file}.", f"Upstream's file is at {entry.url}.")
    found = sha256_of(file)
    if found != entry.sha256:
        raise StackctlError(
            f"{file} is not upstream's {entry.file_name}: its SHA-256 is {found[:12]}…, not {entry.sha256[:12]}….",
            f"To import another network, name its file: stackctl models import {file}.",
        )
    return file


def _download(url: str, target: Path, sha256: str, note: Note) -> None:
    """Download into ``target``.part, which an interrupted download leaves for the next one; then give it its name."""
    part = target.with_name(f"{target.name}.part")
    for _ in range(2):
        resumed = part.is_file() and part.stat().st_size > 0
        _transfer(url, part, note)
        found = sha256_of(part)
        if found == sha256:
            part.replace(target)
            return
        part.unlink()
        if not resumed:  # what was resumed may have been of another file: only a whole one is final
            break
        note("what had been downloaded earlier does not fit: downloading again")
    raise StackctlError(
        f"{url} is not the file that is pinned: its SHA-256 is {found[:12]}…, not {sha256[:12]}….",
        "The server, or something on the way, hands out another file. Try another place: --from FOLDER|URL.",
    )


def _transfer(url: str, part: Path, note: Note) -> None:
    """Append the rest of ``url`` to ``part``; a connection that breaks is taken up again where it broke."""
    import httpx

    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    failure: Exception | None = None
    with httpx.Client(timeout=timeout, follow_redirects=True, verify=_certificates()) as client:
        for attempt in range(TRIES):
            before = part.stat().st_size if part.is_file() else 0
            if attempt:
                time.sleep(PAUSE_SECONDS * attempt)
                note(f"connection lost, going on at {_megabytes(before)}" if before else "trying again")
            try:
                _once(client, url, part, note)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise UsageError(f"{url} is no URL.") from error
            except httpx.TransportError as error:
                failure = error
                if attempt and not part.is_file():  # nothing came, twice: there is nobody
                    break
                continue
            except OSError as error:
                raise StackctlError(
                    f"{part} cannot be written: {error.strerror}.", "Make room, or move STACKCTL_CACHE."
                ) from error
            return
    said = str(failure) or type(failure).__name__
    raise StackctlError(f"{url} could not be downloaded: {said}.", OFFLINE_HINT)


def _once(client: httpx.Client, url: str, part: Path, note: Note) -> None:
    begun = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begun}-"} if begun else {})
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == 416:  # the part is as long as the file, or longer: its SHA-256 decides
            return
        if answer.status_code not in {200, 206}:
            raise StackctlError(f"{url} answers {answer.status_code} {answer.reason_phrase}.", OFFLINE_HINT)
        begun = _start_of(answer) if answer.status_code == 206 else 0
        length = answer.headers.get("Content-Length", "")
        total = begun + int(length) if length.isdecimal() else None
        with part.open("r+b" if begun else "wb") as handle:
            handle.seek(begun)
            handle.truncate()
            done = said = begun
            for piece in answer.iter_bytes():
                handle.write(piece)
                done += len(piece)
                if done - said >= NOTE_BYTES or done == total:
                    said = done
                    note(_megabytes(done) + (f" of {_megabytes(total)}" if total else ""))
            handle.flush()
            os.fsync(handle.fileno())


def _start_of(answer: httpx.Response) -> int:
    """Return where a partial answer begins, from ``Content-Range: bytes 100-199/200`` (RFC 9110, 14.4)."""
    first = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else 0


def _certificates() -> ssl.SSLContext:
    names = ("STACKCTL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    return ssl.create_default_context(cafile=next((os.environ[name] for name in names if os.environ.get(name)), None))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


@contextlib.contextmanager
def _only_one(lock: Path, note: Note) -> Iterator[None]:
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("waiting: another command downloads it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
