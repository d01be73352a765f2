"""What a snapshot is taken of: databases, buckets, folders, settings and secrets, as this process sees them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stackctl.errors import StackctlError
from stackctl.stack import Settings, Stack
from stackctl.stack.stack import SETTINGS_FILE
from stackctl.store.urls import ObjectStore, open_store

DATABASES = ("mlflow.db", "basic_auth.db")
"""MLflow's databases; the second is there where MLflow asks for passwords."""
STACK_FILES = (
    SETTINGS_FILE,
    ".copier-answers.yml",
    "compose.yaml",
    "compose.override.yaml",
    "supervisord.conf",
    "pipeline/",
)
"""What of a stack's folder is always in a snapshot."""
DATA = "data"


@dataclass(frozen=True)
class Bucket:
    """A bucket: its name, what it is for (``mlflow``, ``inbound``, …), and its objects, or the folder in its place."""

    name: str
    role: str
    store: ObjectStore | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Folder:
    """A folder of the stack: its path in the stack and in the snapshot, and where it lies."""

    name: str
    path: Path


@dataclass(frozen=True)
class Sources:
    """Everything that belongs to a stack and can be lost.

    Attributes:
        stack_name: the stack.
        databases: MLflow's databases; the first is the one with runs and models. None: MLflow is elsewhere.
        buckets: the artifact bucket first.
        folders: data folders.
        stack: the stack's folder, for its settings; None: there is none here.
        stack_files: what of it is taken; folders end with a slash.
        secrets: the folder of secrets.
        recipients: age recipients that may read the secrets; none: they are left out.
        mlflow: URL of MLflow, which is asked for its version; None: it is not asked.
    """

    stack_name: str
    databases: tuple[Path, ...] = ()
    buckets: tuple[Bucket, ...] = ()
    folders: tuple[Folder, ...] = ()
    stack: Path | None = None
    stack_files: tuple[str, ...] = STACK_FILES
    secrets: Path | None = None
    recipients: tuple[str, ...] = ()
    mlflow: str | None = None

    @property
    def artifacts(self) -> str | None:
        """The name of the artifact bucket."""
        return next((bucket.name for bucket in self.buckets if bucket.role == "mlflow"), None)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Sources:
        """Read them from the environment of the backup's processes.

        ``STACKCTL_BACKUP_STACK`` is the stack's folder, ``STACKCTL_BACKUP_DATABASES`` that of MLflow's databases,
        ``STACKCTL_BACKUP_ARTIFACTS`` that of the artifacts where the object store is a folder, ``STACKCTL_SECRETS``
        that of the secrets; the store and MLflow are named as for every service (``stackctl.stack.environment``).

        Raises:
            StackctlError: a variable that must be there is missing, or the stack's settings cannot be read.
        """
        environ = os.environ if environ is None else environ
        try:
            folder = Path(environ["STACKCTL_BACKUP_STACK"])
            databases = Path(environ["STACKCTL_BACKUP_DATABASES"])
        except KeyError as error:
            raise StackctlError(
                f"The environment variable {error.args[0]} is not set.", "Start backups with `stackctl backup`."
            ) from error
        settings = Settings.load(folder / SETTINGS_FILE)
        stack = Stack.from_env(environ)
        include = settings.backup.include
        inside = tuple(name for name in include if Path(name).parts[0] == DATA)
        secrets = environ.get("STACKCTL_SECRETS")
        return cls(
            stack_name=stack.name,
            databases=_databases(databases) if settings.mlflow.kind == "bundled" else (),
            buckets=_buckets(stack, settings, environ),
            folders=tuple(Folder(name, folder / name) for name in inside),
            stack=folder,
            stack_files=(*STACK_FILES, *(f"{name.rstrip('/')}/" for name in include if name not in inside)),
            secrets=Path(secrets) if secrets else None,
            recipients=tuple(settings.backup.encrypt_to),
            mlflow=stack.endpoints.mlflow,
        )


def _databases(folder: Path) -> tuple[Path, ...]:
    main, *others = (folder / name for name in DATABASES)
    return (main, *(other for other in others if other.is_file()))


def _buckets(stack: Stack, settings: Settings, environ: Mapping[str, str]) -> tuple[Bucket, ...]:
    names = {role: str(name) for role, name in settings.buckets}
    bundled = settings.mlflow.kind == "bundled"
    if settings.store.kind == "folder":
        artifacts = environ.get("STACKCTL_BACKUP_ARTIFACTS")
        return (Bucket(names["mlflow"], "mlflow", folder=Path(artifacts)),) if artifacts and bundled else ()
    roles = ["mlflow"] if bundled else []
    roles += [
        role for role in names if role not in {"mlflow", "backup"} and f"{DATA}/{role}" in settings.backup.include
    ]
    return tuple(Bucket(names[role], role, store=open_store(stack, f"s3://{names[role]}")) for role in roles)
