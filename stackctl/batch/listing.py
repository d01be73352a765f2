"""Which images of a place are the inputs of a run, and how many pixels their headers announce."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from stackctl.batch.cost import HEADER
from stackctl.batch.ledger import raw, throwaway, translated
from stackctl.errors import UsageError
from stackctl.store.files import Files
from stackctl.store.places import Listed, Place


def inputs(inbound: Place, *others: Place, unreadable: Callable[[str], None] | None = None) -> Iterator[Listed]:
    """Yield the images of the input place, less those below the other places (of results, of the quarantine).

    ``unreadable`` is told of what is left out because it cannot be read; without it that raises.

    Raises:
        UsageError: one of the others is the input place, or the inputs lie below it.
    """
    source = inbound.base().rstrip("/") + "/"
    left_out = []
    for other in others:
        target = other.base().rstrip("/") + "/"
        if source.startswith(target):
            raise UsageError(f"The results in {other.url} would lie among their inputs.", "Choose another --output.")
        if target.startswith(source):
            left_out.append(target.removeprefix(source))
    below = tuple(left_out)
    found = inbound.list(unreadable)
    return (image for image in found if not image.name.startswith(below)) if below else found


def header_probe(place: Place) -> Callable[[str], int | None] | None:
    """Return what tells an input's pixels by its header; None where headers cannot be read cheaply (objects)."""
    if not isinstance(place, Files):
        return None

    def pixels(name: str) -> int | None:
        from stackctl import imaging

        try:
            with place.path(name).open("rb") as file:
                head = file.read(HEADER)
            if head.startswith(b"\x89PNG") and head[12:16] == b"IHDR":  # a whole check would want the whole file
                width, height = struct.unpack_from(">II", head, 16)
                return int(width * height)
            info = imaging.probe(head)
        except (OSError, struct.error, imaging.ImagingError):
            return None
        return info.width * info.height

    return pixels


class Settled:
    """Tells inputs that are complete from those that still grow: their size and stamp were equal in two listings."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with translated(file):
            self._connection = throwaway(
                file, "CREATE TABLE seen (name TEXT PRIMARY KEY, size INTEGER, stamp TEXT) WITHOUT ROWID;"
            )

    def filter(self, images: Iterable[Listed]) -> Iterator[Listed]:
        """Yield those images of a listing that were the same in the previous listing."""
        for image in images:
            with translated(self._file):
                moved = self._connection.execute(
                    "INSERT INTO seen VALUES (CAST(?1 AS TEXT), ?2, ?3) ON CONFLICT DO UPDATE "
                    "SET size = ?2, stamp = ?3 WHERE size <> ?2 OR stamp <> ?3 RETURNING 1",
                    (raw(image.name), image.size, image.stamp),
                ).fetchall()
            if not moved:
                yield image

    def close(self) -> None:
        """Forget the listings."""
        self._connection.close()
