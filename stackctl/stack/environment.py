"""The environment of a stack's services, derived from ``stack.yaml``: the one place where a setting becomes a variable.

Both engines start the same commands with these variables. Compose reads them from ``.env`` (written by
``write_dotenv``), supervisord from its own environment. No value here is secret.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from stackctl.stack.stack import Stack

HEADER = "# Derived from stack.yaml by every stackctl command: edit that file. Nothing in here is secret.\n"
SERVERS = ("serving", "serving-staging")
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "WHEN_REQUIRED",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "WHEN_REQUIRED",
}


def shared_environment(stack: Stack) -> dict[str, str]:
    """Return the variables that mean the same under every engine."""
    settings = stack.settings
    return {
        "STACKCTL_NAME": settings.name,
        "STACKCTL_MODEL": settings.model,
        "STACKCTL_BIND": "127.0.0.1",
        "STACKCTL_MLFLOW_PORT": str(settings.ports.mlflow),
        "STACKCTL_STORE_PORT": str(settings.ports.store),
        "STACKCTL_STORE_CONSOLE_PORT": str(settings.ports.store_console),
        "STACKCTL_SERVING_PORT": str(settings.ports.serving),
        "STACKCTL_SERVING_STAGING_PORT": str(settings.ports.serving_staging),
        "STACKCTL_DEPLOYER_PORT": str(settings.ports.deployer),
        "STACKCTL_DEMO_PORT": str(settings.ports.demo),
        "STACKCTL_BACKUP_PORT": str(settings.ports.backup),
        "STACKCTL_BACKUP": settings.backup.model_dump_json(),
        "STACKCTL_BACKUP_MAX_AGE_DAYS": f"{settings.backup.max_age_days:g}",
        "STACKCTL_BUCKETS": ",".join(bucket for _, bucket in settings.buckets),
        "STACKCTL_BUCKET_MLFLOW": settings.buckets.mlflow,
        "STACKCTL_STORE_REGION": settings.store.region,
        "STACKCTL_MLFLOW_PUBLIC_URL": stack.endpoints.mlflow,
        "STACKCTL_MLFLOW_ALLOWED_HOSTS": ",".join(_allowed_hosts(stack)),
        "STACKCTL_MLFLOW_CORS_ORIGINS": ",".join(
            f"http://{host}:{settings.ports.mlflow}" for host in ("localhost", "127.0.0.1")
        ),
        "STACKCTL_DEPLOY_POLICY": settings.deploy.policy,
        "STACKCTL_DEPLOY_METRIC": settings.deploy.metric,
        "STACKCTL_DEPLOY_MIN_DELTA": repr(settings.deploy.min_delta),
        "STACKCTL_DEPLOY_DIRECTION": settings.deploy.direction,
    }


def docker_environment(stack: Stack, images: dict[str, str]) -> dict[str, str]:
    """Return what Compose interpolates; ``images`` maps store, mlflow, serving, demo to image references."""
    settings = stack.settings
    bundled_mlflow = settings.mlflow.kind == "bundled"
    profiles = [
        name
        for name, wanted in (
            ("bundled-store", settings.store.kind == "minio"),
            ("bundled-mlflow", bundled_mlflow),
            ("staging", settings.serving.staging),
            ("deployer", settings.deploy.policy == "auto"),
            ("backup", settings.backup.schedule is not None),
        )
        if wanted
    ]
    files = ["compose.yaml"]
    if settings.gpu == "all":
        files.append("compose.gpu.yaml")
    if (stack.home / "secrets" / "mlflow_token").is_file():
        files.append("compose.token.yaml")
    copies = _keys_of_copies(stack)
    if copies:
        files.append("compose.copies.yaml")
    if (stack.home / "compose.override.yaml").is_file():
        files.append("compose.override.yaml")
    return {
        "COMPOSE_PROJECT_NAME": stack.project,
        "COMPOSE_PROFILES": ",".join(profiles),
        "COMPOSE_FILE": ":".join(files),
        **shared_environment(stack),
        "STACKCTL_STORE_ENDPOINT": "http://store:9000"
        if settings.store.kind == "minio"
        else settings.store.endpoint or "",
        "STACKCTL_MLFLOW_URI": "http://mlflow:5000" if bundled_mlflow else stack.endpoints.mlflow,
        "STACKCTL_REGISTRY_URI": "" if bundled_mlflow else stack.endpoints.registry,
        "STACKCTL_MLFLOW_ARTIFACTS": _bucket_of_artifacts(stack),
        "STACKCTL_SERVING_STAGING_URL": "http://serving-staging:8888" if settings.serving.staging else "",
        **copies,
        "STACKCTL_BACKUP_VOLUME": settings.backup.target or "backup-data",
        **{f"STACKCTL_IMAGE_{name.upper()}": reference for name, reference in sorted(images.items())},
        **({"STACKCTL_IMAGE_BACKUP": images["drill"]} if "drill" in images else {}),
        **{f"STACKCTL_MEMORY_{name.upper()}": limit for name, limit in settings.memory},
        "STACKCTL_GO_MEMORY_STORE": _go_memory(settings.memory.store),
    }


def local_environment(stack: Stack) -> dict[str, str]:
    """Return what supervisord interpolates and hands to the local engine's processes."""
    settings = stack.settings
    artifacts = f"{stack.var / 'artifacts'}" if settings.store.kind == "folder" else _bucket_of_artifacts(stack)
    environment = {
        **shared_environment(stack),
        **QUIET,
        "STACKCTL_FOLDER": str(stack.home),
        "STACKCTL_SECRETS": str(stack.home / "secrets"),
        "STACKCTL_STORE_ENDPOINT": stack.endpoints.store or "",
        "STACKCTL_MLFLOW_ARTIFACTS": artifacts,
        "MLFLOW_TRACKING_URI": stack.endpoints.mlflow,
        "AWS_DEFAULT_REGION": settings.store.region,
        "STACKCTL_SERVING_MEMORY": settings.memory.serving,  # Docker enforces it; here the model server does
        "STACKCTL_SERVING_URL": stack.endpoints.serving,
        "STACKCTL_SERVING_STAGING_URL": stack.endpoints.serving_staging or "",
        "STACKCTL_DEMO_STAGING_SERVER": stack.endpoints.serving_staging or "",
        "STACKCTL_WORKER_CACHE": str(stack.var / "batch" / "cache"),
        "STACKCTL_BACKUP_REPOSITORY": str(stack.repository),
        "STACKCTL_BACKUP_STACK": str(stack.home),
        "STACKCTL_BACKUP_DATABASES": str(stack.var / "mlflow"),
        "STACKCTL_BACKUP_ARTIFACTS": artifacts if settings.store.kind == "folder" else "",
    }
    if stack.endpoints.registry != stack.endpoints.mlflow:
        environment["MLFLOW_REGISTRY_URI"] = stack.endpoints.registry
    if stack.endpoints.store:
        environment["MLFLOW_S3_ENDPOINT_URL"] = stack.endpoints.store
        environment["AWS_SHARED_CREDENTIALS_FILE"] = str(stack.home / "secrets" / "s3_credentials")
    if (stack.home / "secrets" / "webhook_secret").is_file():
        environment["STACKCTL_WEBHOOK_SECRET_FILE"] = str(stack.home / "secrets" / "webhook_secret")
    if (stack.home / "secrets" / "mlflow_token").is_file():
        environment["STACKCTL_MLFLOW_TOKEN_FILE"] = str(stack.home / "secrets" / "mlflow_token")
    return environment


def write_dotenv(folder: Path, environment: dict[str, str]) -> Path:
    """Write ``.env`` into ``folder`` if its content changed, and return its path."""
    file = folder / ".env"
    text = HEADER + "".join(f"{name}='{_quoted(value)}'\n" for name, value in environment.items())
    if file.is_file() and file.read_text() == text:
        return file
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".env.")
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(file)
    return file


def webhook_urls(stack: Stack) -> dict[str, str]:
    """Return where MLflow reaches each model server to wake it: service name to URL."""
    ports = {service.name: service.port for service in stack.services if service.name in SERVERS}
    if stack.settings.engine == "docker":
        return {name: f"http://{name}:8888/webhook" for name in ports}
    return {name: f"http://127.0.0.1:{port}/webhook" for name, port in ports.items()}


def _go_memory(limit: str) -> str:
    """Return Go's soft memory limit for a container's hard one: 70 % of it."""
    mebibytes = int(limit[:-1]) * (1024 if limit.endswith("g") else 1)
    return f"{mebibytes * 7 // 10}MiB"


def _bucket_of_artifacts(stack: Stack) -> str:
    """Return MLflow's destination in the store; the scheme is that of ``stackctl.store.mlflow_artifacts``."""
    return f"proxied-s3://{stack.settings.buckets.mlflow}"


def _keys_of_copies(stack: Stack) -> dict[str, str]:
    """Return the files that second copies of snapshots need and that are there; none where no copies are wanted."""
    if not any(place for _, place in stack.settings.backup.copies):
        return {}
    keys = {
        "STACKCTL_BACKUP_SSH_KEY": "backup_ssh_key",
        "STACKCTL_BACKUP_KNOWN_HOSTS": "backup_known_hosts",
        "STACKCTL_RESTIC_PASSWORD": "restic_password",
        "STACKCTL_RESTIC_CREDENTIALS": "restic_credentials",
    }
    return {name: f"./secrets/{file}" for name, file in keys.items() if (stack.home / "secrets" / file).is_file()}


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _allowed_hosts(stack: Stack) -> list[str]:
    """Return the Host headers MLflow accepts: it matches ports exactly, so each name stands with and without one."""
    names = ["localhost", "127.0.0.1", "[::1]", "mlflow", "host.docker.internal", *stack.settings.mlflow.allowed_hosts]
    return [form for name in names for form in (name, f"{name}:*")]
