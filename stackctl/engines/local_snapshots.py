"""Snapshots of the local engine: plain folders of this machine, where every command finds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stackctl.stack import Stack


class LocalSnapshots:
    """Hands out snapshots and takes in those of others; see ``Engine``."""

    stack: Stack

    def snapshot_out(self, identity: str, scratch: Path, parts: Sequence[str] = ()) -> Path:  # noqa: ARG002 - no copy
        """Return the folder of a snapshot."""
        return self.stack.repository / "snapshots" / identity

    def snapshot_in(self, folder: Path) -> str:
        """Return how commands of this engine call the snapshot in a folder of this machine: by its path."""
        return str(folder.resolve())
