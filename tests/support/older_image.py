"""MLflow's image with an older MLflow in it, as somebody makes it who wants to stay with that version."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stackctl.images.machine import Machine
from stackctl.process import run

# An MLflow of last year imports what SQLAlchemy 2.1 has no more.
DOCKERFILE = """\
ARG IMAGE
FROM ${IMAGE}
USER root
RUN --mount=type=secret,id=pip_conf \\
    --mount=type=secret,id=ca_bundle \\
    --mount=type=cache,id=stackctl-pip,target=/root/.cache/pip \\
    PIP_CONFIG_FILE=/run/secrets/pip_conf PIP_CACHE_DIR=/root/.cache/pip \\
       pip install --no-deps mlflow==VERSION mlflow-skinny==VERSION mlflow-tracing==VERSION 'sqlalchemy<2.1'
USER 1000:1000
"""


@contextmanager
def older_image(image: str, version: str) -> Iterator[str]:
    """Yield the name of an image that is ``image`` with another version of MLflow; its name goes away at the end."""
    reference, machine = f"stackctl-test/mlflow:{version}", Machine.read()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Dockerfile").write_text(DOCKERFILE.replace("VERSION", version))
        (folder / "pip_conf").write_text(machine.pip_conf)
        command = ["docker", "buildx", "build", "--builder=default", "--load", "--provenance=false"]
        command += [
            f"--tag={reference}",
            f"--build-arg=IMAGE={image}",
            f"--secret=id=pip_conf,src={folder / 'pip_conf'}",
        ]
        command += [f"--secret=id=ca_bundle,src={machine.ca_bundle}"] if machine.ca_bundle else []
        command += [f"--build-arg={key}={value}" for key, value in machine.proxies.items()]
        run([*command, folder])
    try:
        yield reference
    finally:
        run(["docker", "rmi", reference], check=False)
