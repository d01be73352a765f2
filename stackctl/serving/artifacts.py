"""Brings the files of a model version to this machine, all of them or none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from stackctl.serving.errors import Refused

if TYPE_CHECKING:
    import httpx

PROXIED = "mlflow-artifacts"
DEEPEST = 16
TIMEOUT_SECONDS = 60.0
TRIES = 3


def fetch(source: str, folder: Path, *, tracking_uri: str, token: str | None = None) -> None:
    """Download the files under ``source`` into ``folder``, which appears only when it is complete.

    Raises:
        Refused: they cannot be had; the reason says why.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".partial-{os.getpid()}-{folder.name}")
    try:
        if urlsplit(source).scheme == PROXIED:
            _fetch_proxied(source, partial, tracking_uri, token)
        else:
            _fetch_with_mlflow(source, partial)
        if not (partial / "MLmodel").is_file():
            raise Refused(f"There is no model at {source}: the file MLmodel is missing.", transient=True)
        partial.replace(folder)
    except OSError as error:
        if folder.is_dir():  # another process was faster with the same files
            return
        raise Refused(f"The files of {source} cannot be stored: {error}.", transient=True) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fetch_proxied(source: str, partial: Path, tracking_uri: str, token: str | None) -> None:
    import httpx

    parts = urlsplit(source)
    base = f"{urlsplit(tracking_uri).scheme}://{parts.netloc}" if parts.netloc else tracking_uri.rstrip("/")
    url = f"{base}/api/2.0/mlflow-artifacts/artifacts"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx.HTTPTransport(retries=TRIES)
    try:
        with httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS, transport=transport) as client:
            _fetch_folder(client, url, parts.path.strip("/"), partial, DEEPEST)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise Refused(
            f"MLflow's artifact store answered {status} for {error.request.url.path}.", transient=True
        ) from error
    except httpx.HTTPError as error:
        raise Refused(
            f"The files of {source} could not be downloaded ({error.__class__.__name__}: {error}).", transient=True
        ) from error


def _fetch_folder(client: httpx.Client, url: str, path: str, target: Path, depth: int) -> None:
    if depth == 0:
        raise Refused(f"The artifact folder {path} is nested too deeply.")
    answer = client.get(url, params={"path": path}).raise_for_status()
    target.mkdir()
    for entry in answer.json().get("files", []):
        name = str(entry["path"]).rstrip("/").rsplit("/", 1)[-1]
        if name in ("", ".", "..") or "\0" in name:
            raise Refused(f"The artifact store lists a file of the name {name!r} in {path}.")
        if entry.get("is_dir"):
            _fetch_folder(client, url, f"{path}/{name}", target / name, depth - 1)
        else:
            _fetch_file(client, f"{url}/{quote(f'{path}/{name}')}", target / name)


def _fetch_file(client: httpx.Client, url: str, target: Path) -> None:
    with client.stream("GET", url) as answer, target.open("xb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_bytes():
            file.write(chunk)


def _fetch_with_mlflow(source: str, partial: Path) -> None:
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    partial.mkdir()
    try:
        found = Path(mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=str(partial)))
    except (MlflowException, OSError) as error:
        raise Refused(f"The files of {source} could not be downloaded: {error}", transient=True) from error
    if found != partial and found.is_relative_to(partial):
        inner = partial.with_name(f"{partial.name}-inner")
        found.replace(inner)
        shutil.rmtree(partial)
        inner.replace(partial)


def remove(folder: Path) -> None:
    """Remove a version's files, so that the next download starts afresh."""
    gone = folder.with_name(f".removed-{os.getpid()}-{folder.name}")
    folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)
