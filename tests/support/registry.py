"""A real image registry, Debian's ``docker-registry``, in a container on loopback."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.waiting import eventually

from stackctl.images import bootstrap
from stackctl.images.registry import answers
from stackctl.process import run

IMAGE = "stackctl-test/docker-registry:1"
CONFIG = """\
version: 0.1
storage: {filesystem: {rootdirectory: /srv}, delete: {enabled: true}}
http: {addr: ":5000"}
"""
DOCKERFILE = """\
FROM {base}
RUN apt-get update -qq && apt-get install --yes --no-install-recommends docker-registry && rm -rf /var/lib/apt/lists/*
COPY config.yml /etc/config.yml
CMD ["docker-registry", "serve", "/etc/config.yml"]
"""


@contextmanager
def running_registry() -> Iterator[str]:
    """Yield the address of a registry that answers; its content ends with it."""
    _build()
    container = run(["docker", "run", "--detach", "--publish", "127.0.0.1::5000", IMAGE]).stdout.strip()
    try:
        port = run(["docker", "port", container, "5000/tcp"]).stdout.strip().rpartition(":")[2]
        _await(f"127.0.0.1:{port}", container)
        yield f"127.0.0.1:{port}"
    finally:
        run(["docker", "rm", "--force", "--volumes", container], check=False)


def _build() -> None:
    if run(["docker", "image", "inspect", IMAGE], check=False).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Dockerfile").write_text(DOCKERFILE.format(base=bootstrap(None, lambda _subject, _what: None)[0]))
        (folder / "config.yml").write_text(CONFIG)
        run(["docker", "buildx", "build", "--builder=default", "--load", "--tag", IMAGE, folder])


def _await(address: str, container: str) -> None:
    eventually(
        lambda: answers(address), f"an answer of the registry at {address}", log=lambda: _log(container), pause=0.1
    )


def _log(container: str) -> str:
    done = run(["docker", "logs", container], check=False)
    return done.stdout + done.stderr
