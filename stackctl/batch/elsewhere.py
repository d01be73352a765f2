"""Images of a run that the store does not hold: whoever started the run has them, and their results, in folders.

The copies through which such folders travel are deleted once they are done. The plan of a later run counts what these
lists name as if the store listed it, so that nothing is done twice; no worker ever reads it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from stackctl.store.places import Listed

INPUTS = "inputs-elsewhere.jsonl"
RESULTS = "results-elsewhere.jsonl"
BEHIND = "left-behind.json"


def write(file: Path, images: Iterable[Listed]) -> None:
    """Write a list, one image a line."""
    with file.open("w") as lines:
        for image in images:
            lines.write(json.dumps([image.name, image.size, image.stamp]) + "\n")


def read(file: Path) -> Iterator[Listed]:
    """Yield the images of a list; none where nobody wrote it."""
    with contextlib.suppress(FileNotFoundError), file.open() as lines:
        for line in lines:
            yield Listed(*json.loads(line))


def leave_behind(run_folder: Path, why: list[str]) -> None:
    """Write down why images could not be brought for a run: it has not done what it was asked for then."""
    if why:
        (run_folder / BEHIND).write_text(json.dumps(why))


def left_behind(run_folder: Path) -> list[str]:
    """Return why images could not be brought for a run."""
    with contextlib.suppress(FileNotFoundError):
        return list(json.loads((run_folder / BEHIND).read_text()))
    return []


def joined(listed: Iterable[Listed], file: Path, *, first: bool = False) -> Iterator[Listed]:
    """Return what the store lists and then what only the list names; of two of the same name a plan takes the first.

    Args:
        listed: what the store lists.
        file: the list.
        first: the list comes first: it knows better, as it does where nothing was brought.
    """
    return chain(read(file), listed) if first else chain(listed, read(file))
