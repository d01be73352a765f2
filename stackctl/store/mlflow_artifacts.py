"""An artifact repository for MLflow's server that keeps every byte on the way through the server.

With a plain ``s3://`` destination, MLflow's server (3.17, ``mlflow/server/handlers.py``) tells its clients to fetch
artifacts from presigned URLs, and gives no way to switch that off. Such a URL names the store as the server reaches it
(``http://store:9000``), which no client outside the stack's network can resolve: they hang in retries. This repository
speaks to the store with MLflow's own S3 code, but offers neither multipart transfers nor presigned URLs. MLflow finds
it by its scheme, through the entry point group ``mlflow.artifact_repository``.
"""

from __future__ import annotations

from typing import Any

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

SCHEME = "proxied-s3"


class ProxiedS3ArtifactRepository(ArtifactRepository):
    """Artifacts under ``proxied-s3://BUCKET/PREFIX``: the objects of ``s3://BUCKET/PREFIX``, never by presigned URL."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self._s3 = S3ArtifactRepository(artifact_uri.removeprefix("proxied-"))

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Store a file."""
        self._s3.log_artifact(local_file, artifact_path)  # type: ignore[no-untyped-call]

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Store a folder."""
        self._s3.log_artifacts(local_dir, artifact_path)  # type: ignore[no-untyped-call]

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """Return what lies directly under a path, as MLflow's ``FileInfo``."""
        found: list[Any] = self._s3.list_artifacts(path)  # type: ignore[no-untyped-call]
        return found

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete what lies under a path."""
        self._s3.delete_artifacts(artifact_path)  # type: ignore[no-untyped-call]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        self._s3._download_file(remote_file_path, local_path)  # type: ignore[no-untyped-call]  # noqa: SLF001
