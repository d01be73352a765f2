"""The services of a stack, in the order in which they start."""

from __future__ import annotations

from dataclasses import dataclass

from stackctl.stack.settings import Settings

OPTIONAL = ("store", "mlflow", "serving-staging", "deployer", "backup")
"""Services that some settings leave out."""

ON_DEMAND = {"scheduler": "Batch scheduler", "worker": "Batch workers"}
"""Services that `up` leaves alone, with their titles: batches start them where containers run."""


@dataclass(frozen=True)
class Service:
    """One service.

    Attributes:
        name: its name under every engine.
        title: what a person calls it.
        port: its port on the host.
        health: path that answers 200 when the service runs.
        open_path: path a person wants to see in a browser, or None.
    """

    name: str
    title: str
    port: int
    health: str
    open_path: str | None = None

    @property
    def port_setting(self) -> str:
        """The name of its port under ``ports`` in ``stack.yaml``."""
        return self.name.replace("-", "_")


def services_of(settings: Settings) -> tuple[Service, ...]:
    """Return the long-running services that these settings ask for, in start order."""
    ports = settings.ports
    wanted: list[Service] = []
    if settings.store.kind == "minio":
        wanted.append(Service("store", "Object store", ports.store, "/minio/health/live"))
    if settings.mlflow.kind == "bundled":
        wanted.append(Service("mlflow", "MLflow", ports.mlflow, "/health", "/"))
    wanted.append(Service("serving", "Model server", ports.serving, "/model", "/model"))
    if settings.serving.staging:
        wanted.append(Service("serving-staging", "Staging server", ports.serving_staging, "/model", "/model"))
    if settings.deploy.policy == "auto":
        wanted.append(Service("deployer", "Deployer", ports.deployer, "/health", "/health"))
    wanted.append(Service("demo", "Demo", ports.demo, "/healthz", "/"))
    if settings.backup.schedule is not None:
        wanted.append(Service("backup", "Backup", ports.backup, "/health", "/health"))
    return tuple(wanted)
