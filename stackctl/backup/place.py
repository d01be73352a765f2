"""Where the process that takes backups finds what it needs: its environment, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stackctl.errors import StackctlError
from stackctl.stack import Stack
from stackctl.stack.backup_settings import BackupSettings

DEFAULT_PORT = 8891


@dataclass(frozen=True)
class Place:
    """The surroundings of a backup process, in its container or on this machine.

    Attributes:
        stack: the stack, as one of its services sees it.
        repository: folder of the snapshots.
        host: address that the scheduler's health is served at.
        port: port of the same.
    """

    stack: Stack
    repository: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT

    @property
    def settings(self) -> BackupSettings:
        """The settings ``backup`` of ``stack.yaml``."""
        return self.stack.settings.backup

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Place:
        """Read it from ``STACKCTL_*`` variables.

        Raises:
            StackctlError: a variable that must be there is missing.
        """
        environ = os.environ if environ is None else environ
        repository = environ.get("STACKCTL_BACKUP_REPOSITORY")
        if not repository:
            raise StackctlError(
                "The environment variable STACKCTL_BACKUP_REPOSITORY is not set.", "Start services with `stackctl up`."
            )
        return cls(
            Stack.from_env(environ),
            Path(repository),
            environ.get("STACKCTL_BACKUP_HOST") or "127.0.0.1",
            int(environ.get("STACKCTL_BACKUP_PORT") or DEFAULT_PORT),
        )
