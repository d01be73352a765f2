"""One stack: every path, port, URL and credential is asked of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stackctl.errors import NotAStack, StackctlError
from stackctl.stack.services import Service, services_of
from stackctl.stack.settings import Settings

SETTINGS_FILE = "stack.yaml"
UNUSABLE = ('"', "'", "\\", "\n")
"""Characters that no folder of a stack may have in its path: supervisord's configuration cannot quote them."""


@dataclass(frozen=True)
class Endpoints:
    """URLs of the services, as the process that holds this object reaches them; None: the stack has none of it."""

    mlflow: str
    registry: str
    store: str | None
    serving: str
    demo: str
    serving_staging: str | None = None


@dataclass(frozen=True)
class Stack:
    """A stack, seen from its folder (``from_folder``) or from inside one of its services (``from_env``)."""

    settings: Settings
    endpoints: Endpoints
    folder: Path | None = None
    secrets_folder: Path | None = None

    @classmethod
    def from_folder(cls, folder: Path) -> Stack:
        """Read the stack in ``folder``.

        Raises:
            NotAStack: there is no ``stack.yaml`` in it.
            UsageError: ``stack.yaml`` cannot be used.
        """
        folder = folder.resolve()
        if not (folder / SETTINGS_FILE).is_file():
            raise NotAStack(
                f"{folder} is not a stack: it has no {SETTINGS_FILE}.",
                "Create one with `stackctl init`, or point to one with `stackctl -C DIR`.",
            )
        settings = Settings.load(folder / SETTINGS_FILE)
        return cls(settings, _host_endpoints(settings, os.environ), folder, folder / "secrets")

    @classmethod
    def find(cls, start: Path) -> Stack:
        """Read the stack whose folder is ``start`` or the nearest folder above it.

        Raises:
            NotAStack: there is none.
        """
        start = start.resolve()
        for folder in (start, *start.parents):
            pristine = ".stackctl" in folder.parts  # a stack's pristine render is no stack
            if (folder / SETTINGS_FILE).is_file() and not pristine:
                return cls.from_folder(folder)
        raise NotAStack(
            f"Neither {start} nor a folder above it is a stack.",
            "Create one with `stackctl init`, or point to one with `stackctl -C DIR`.",
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Stack:
        """Read the stack from a service's environment (see ``stackctl.stack.environment``).

        Raises:
            StackctlError: a variable that must be there is missing.
        """
        environ = os.environ if environ is None else environ
        try:
            settings = Settings.parse(
                {
                    "name": environ["STACKCTL_NAME"],
                    "model": environ["STACKCTL_MODEL"],
                    "deploy": _deploy(environ),
                    "store": {"region": environ.get("STACKCTL_STORE_REGION") or "us-east-1"},
                    "backup": json.loads(environ.get("STACKCTL_BACKUP") or "{}"),
                },
                source="environment",
            )
            tracking = environ["MLFLOW_TRACKING_URI"]
        except KeyError as error:
            raise StackctlError(
                f"The environment variable {error.args[0]} is not set.", "Start services with `stackctl up`."
            ) from error
        endpoints = Endpoints(
            mlflow=tracking,
            registry=environ.get("MLFLOW_REGISTRY_URI") or tracking,
            store=environ.get("STACKCTL_STORE_ENDPOINT"),
            serving=environ.get("STACKCTL_SERVING_URL", "http://serving:8888"),
            demo=environ.get("STACKCTL_DEMO_URL", "http://demo:8000"),
            serving_staging=environ.get("STACKCTL_SERVING_STAGING_URL") or None,
        )
        secrets = environ.get("STACKCTL_SECRETS")
        return cls(settings, endpoints, None, Path(secrets) if secrets else None)

    @property
    def name(self) -> str:
        """The stack's name."""
        return self.settings.name

    @property
    def project(self) -> str:
        """The name under which Docker Compose keeps the stack: ``COMPOSE_PROJECT_NAME`` where that is set."""
        return os.environ.get("COMPOSE_PROJECT_NAME") or self.settings.name

    @property
    def services(self) -> tuple[Service, ...]:
        """The long-running services, in start order."""
        return services_of(self.settings)

    @property
    def home(self) -> Path:
        """The stack's folder.

        Raises:
            NotAStack: this process has none (it is one of the stack's services).
        """
        if self.folder is None:
            raise NotAStack("A service of a stack has no stack folder.")
        return self.folder

    @property
    def var(self) -> Path:
        """Where the local engine keeps databases, artifacts, logs and pids."""
        return self.home / "var"

    @property
    def repository(self) -> Path:
        """Where the local engine keeps snapshots: ``backup.target``, else ``var/backups``."""
        return Path(self.settings.backup.target or self.var / "backups")

    @property
    def state(self) -> Path:
        """Where stackctl keeps what it must remember of this stack (the pristine render, locks)."""
        return self.home / ".stackctl"

    @property
    def servers(self) -> tuple[str, ...]:
        """URLs of every model server that follows Production."""
        return self.servers_for("production")

    def servers_for(self, target_name: str) -> tuple[str, ...]:
        """Return the URLs of every model server that follows a target: ``production`` or ``staging``."""
        servers = {"production": self.endpoints.serving, "staging": self.endpoints.serving_staging}
        url = servers.get(target_name)
        return (url,) if url else ()

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Names of the secrets that the stack's services cannot do without."""
        names = ["demo_secret_key"]
        if self.settings.store.kind == "minio":
            names += ["store_root_user", "store_root_password"]
        if self.settings.store.kind != "folder":
            names.append("s3_credentials")
        return tuple(names)

    def secret(self, name: str) -> str:
        """Return a secret's value.

        Raises:
            StackctlError: the secret is not there.
        """
        file = (self.secrets_folder or Path("/run/secrets")) / name
        try:
            return file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StackctlError(f"The secret {name} cannot be read from {file}.", "Run `stackctl doctor`.") from error

    def mlflow_token(self, environ: Mapping[str, str] | None = None) -> str | None:
        """Return the bearer token of an external MLflow server: ``MLFLOW_TRACKING_TOKEN``, the token file, or None."""
        environ = os.environ if environ is None else environ
        if token := environ.get("MLFLOW_TRACKING_TOKEN"):
            return token
        file = Path(environ["STACKCTL_MLFLOW_TOKEN_FILE"]) if environ.get("STACKCTL_MLFLOW_TOKEN_FILE") else None
        if file is None and self.secrets_folder is not None:
            file = self.secrets_folder / "mlflow_token"
        if file is None or not file.is_file():
            return None
        try:
            return file.read_text().strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise StackctlError(f"The MLflow token cannot be read from {file}.", "Write the token into it.") from error


def _deploy(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings ``deploy`` as the deployer finds them in its environment."""
    keys = ("policy", "metric", "min_delta", "direction")
    return {
        key: environ[f"STACKCTL_DEPLOY_{key.upper()}"] for key in keys if environ.get(f"STACKCTL_DEPLOY_{key.upper()}")
    }


def _host_endpoints(settings: Settings, environ: Mapping[str, str]) -> Endpoints:
    def local(port: int) -> str:
        return f"http://127.0.0.1:{port}"

    tracking = local(settings.ports.mlflow)
    registry = tracking
    if settings.mlflow.kind == "external" and settings.mlflow.tracking_uri:
        tracking = (environ.get("MLFLOW_TRACKING_URI") or settings.mlflow.tracking_uri).rstrip("/")
        registry = (environ.get("MLFLOW_REGISTRY_URI") or settings.mlflow.registry_uri or tracking).rstrip("/")
    store = {"minio": local(settings.ports.store), "s3": settings.store.endpoint, "folder": None}[settings.store.kind]
    staging = local(settings.ports.serving_staging) if settings.serving.staging else None
    return Endpoints(tracking, registry, store, local(settings.ports.serving), local(settings.ports.demo), staging)
