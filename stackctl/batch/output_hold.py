"""One run at a time in each place of results, also where one place lies within another."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from stackctl.batch.manifest import key
from stackctl.batch.order import Order
from stackctl.errors import StackctlError


@contextlib.contextmanager
def held(folder: Path, base: str, order: Order) -> Iterator[None]:
    """Hold a place of results for a run.

    Args:
        folder: where the locks of all places lie.
        base: the place, whatever it was called by (``Place.base``).
        order: of the run.

    Raises:
        StackctlError: another run works on it, on a part of it or around it; the message names that run.
    """
    file = lock_of(folder, base)
    with (folder / "outputs.lock").open("a") as one_at_a_time:  # of two that begin at once one sees the other
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        for other in sorted(folder.glob("output-*.lock")):
            run, place = _holder(other)
            if run is not None and (other == file or _overlap(base, place)):
                where = "" if other == file else f", and {place} and {base} lie in one another"
                raise StackctlError(
                    f"The run {run} works on {order.shown('output') if other == file else place} now{where}.",
                    f"See `stackctl batch status {run}`.",
                )
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _take(handle, order)
            with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
                os.ftruncate(handle, 0)
                os.pwrite(handle, os.fsencode(f"{order.run}\n{base}"), 0)
        except BaseException:
            os.close(handle)
            raise
    try:
        yield
    finally:
        os.close(handle)


def lock_of(folder: Path, base: str) -> Path:
    """Return the file that whoever writes to a place of results locks."""
    return folder / f"output-{key('', base)}.lock"


def _take(handle: int, order: Order) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # batches that are processed one by one share it
        raise StackctlError(
            f"Batches are processed into {order.shown('output')} now.", "See `stackctl batch list`."
        ) from None


def _holder(file: Path) -> tuple[str | None, str]:
    """Return the run that holds a lock, and its place; None where no run does."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, ""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        run, _, place = os.fsdecode(os.pread(handle, 10_000, 0)).partition("\n")
        return run.strip() or "another one", place
    finally:
        os.close(handle)
    return None, ""


def _overlap(one: str, other: str) -> bool:
    first, second = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return bool(other) and (first.startswith(second) or second.startswith(first))
