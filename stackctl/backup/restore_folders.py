"""The folders of a stack in a restore: images, the pipeline, datasets. What they replace is kept until it succeeded.

Under Docker the process that restores sees them without being allowed to write: they are a person's, and it is another
user. It says which parts of the snapshot it left, and ``stackctl.lifecycle.restore_folders`` puts those into place as
that person. Everything here can be interrupted and done again.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from stackctl.backup import restore_objects as objects
from stackctl.backup.events import Events, bar
from stackctl.backup.repository import Snapshot
from stackctl.backup.restore_files import FolderPlace
from stackctl.backup.restore_places import Only, data_of, folders_of, links_of

DATA = "data"
Counts = dict[str, dict[str, int]]


def put_folders(
    home: Path,
    kept: Path,
    snapshot: Snapshot,
    only: Only | None,
    tell: Events,
    parts: Collection[str] | None = None,
) -> tuple[Counts, list[str]]:
    """Put a snapshot's folders into a stack's.

    Args:
        home: the stack's folder.
        kept: folder that receives what is replaced.
        snapshot: whose files.
        only: the part of it that is restored.
        tell: told how far it is.
        parts: paths below the snapshot's folder; None: all, else nothing but these.

    Returns:
        By folder what ``restore_objects.Put`` counts; and the parts that this process may not write.
    """
    counts: Counts = {}
    left: set[str] = set()
    for name, files in {DATA: data_of(snapshot, only), **folders_of(snapshot, only)}.items():
        wanted = [each for each in files if parts is None or _part(f"{name}/{each.key}") in parts]
        if not wanted:
            continue
        if not _writable(home / name):
            left |= {_part(f"{name}/{each.key}") for each in wanted}
            continue
        progress = bar(tell, name, len(wanted))
        put = objects.put_back(FolderPlace(home / name), wanted, _kept(kept, name), progress=progress)
        counts[name] = asdict(put)
    for path, target in links_of(snapshot, only).items():
        link = home / path
        if os.path.lexists(link):
            continue
        if _writable(link.parent):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        else:
            left.add(_part(path))
    return counts, sorted(left)


def bring_back(home: Path, kept: Path) -> int:
    """Put the files that a restore replaced back into their place, and return how many."""
    count = 0
    if _kept(kept, DATA).is_dir():
        count += objects.bring_back(FolderPlace(home / DATA), _kept(kept, DATA))
    for folder in sorted((kept / "folders").glob("*")):
        count += objects.bring_back(FolderPlace(home / folder.name), folder)
    return count


def _kept(kept: Path, name: str) -> Path:
    return kept / DATA if name == DATA else kept / "folders" / name


def _part(path: str) -> str:
    """Return the part of a snapshot to which a path of the stack belongs: ``data/inbound``, ``stack/pipeline``."""
    first, _, rest = path.partition("/")
    return f"{DATA}/{rest.partition('/')[0]}" if first == DATA else f"stack/{first}"


def _writable(folder: Path) -> bool:
    """Return whether this process may write there."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(nearest, os.W_OK) and not os.statvfs(nearest).f_flag & os.ST_RDONLY
