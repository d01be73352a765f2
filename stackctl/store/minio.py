"""The MinIO server's program: finding one, or building one from its last source commit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from stackctl import process
from stackctl.distribution import cache_folder
from stackctl.errors import MissingPrerequisite

MODULE = "github.com/minio/minio"
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
"""MinIO's last commit: its makers publish neither programs nor images any more."""


def find_minio() -> Path | None:
    """Return the ``minio`` program: the one on the PATH, else the one that ``build_minio`` made, else None."""
    on_path = shutil.which("minio")
    if on_path:
        return Path(on_path)
    built = built_path()
    return built if os.access(built, os.X_OK) else None


def built_path() -> Path:
    """Return where ``build_minio`` puts the program."""
    return cache_folder() / "bin" / VERSION / "minio"


def build_minio(progress: Callable[[str, str], None]) -> Path:
    """Build MinIO with go and return its path; one that is there already is left alone.

    go's own settings (``GOPROXY``, ``GOFLAGS``, ``SSL_CERT_FILE``) are honoured. It takes minutes.

    Raises:
        MissingPrerequisite: there is no go.
        ProcessFailed: the build failed; the message quotes go.
    """
    target = built_path()
    if os.access(target, os.X_OK):
        progress("store", f"MinIO is there: {target}")
        return target
    if shutil.which("go") is None:
        raise MissingPrerequisite(
            "MinIO is built with go, and there is no go on this machine.", "sudo apt-get install golang"
        )
    scratch = target.parent.with_name(f".{VERSION}.{os.getpid()}")
    progress("store", f"building MinIO {VERSION} with go (several minutes)")
    try:
        process.run(
            ["go", "install", "-trimpath", "-ldflags=-s -w", f"{MODULE}@{VERSION}"],
            env={"GOBIN": str(scratch), "CGO_ENABLED": "0"},
            on_line=lambda line: progress("store", line[:100]),
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        (scratch / "minio").replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    progress("store", f"built {target}")
    return target
