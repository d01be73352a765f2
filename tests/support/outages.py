"""Services of a running stack, stopped or killed from outside while a scenario goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from support.cli import Cli
from support.waiting import eventually

from stackctl.engines.local import LocalEngine
from stackctl.process import run
from stackctl.stack import Stack


@contextmanager
def stopped(cli: Cli, engine: str, service: str) -> Iterator[None]:
    """Stop one service as if its machine had gone: its port refuses connections, and nothing restarts it."""
    if engine == "docker":
        container = container_of(cli, service)
        run(["docker", "stop", "-t", "2", container])
        try:
            yield
        finally:
            run(["docker", "start", container])
            _until_healthy(container)
        return
    client = LocalEngine(_stack(cli))._client()
    client.stop(service)
    try:
        yield
    finally:
        client.start(service)


def kill(cli: Cli, engine: str, service: str) -> None:
    """Kill a service's main process with SIGKILL; its engine restarts it."""
    if engine == "docker":
        container = container_of(cli, service)
        pid = run(["docker", "inspect", "-f", "{{.State.Pid}}", container]).stdout.strip()
        psutil.Process(int(pid)).kill()  # `docker kill` would count as stopped by hand
        return
    psutil.Process(LocalEngine(_stack(cli))._client().processes()[service].pid).kill()


def container_of(cli: Cli, service: str) -> str:
    """Return the container of a service."""
    stack = _stack(cli)
    labels = {"com.docker.compose.project": stack.project, "com.docker.compose.service": service}
    filters = [word for key, value in labels.items() for word in ("--filter", f"label={key}={value}")]
    [container] = run(["docker", "ps", "-aq", *filters]).stdout.split()
    return container


def _until_healthy(container: str) -> None:
    ask = ["docker", "inspect", "-f", "{{.State.Health.Status}}", container]
    eventually(lambda: run(ask).stdout.strip() == "healthy", f"the health of {container}", pause=0.2)


def _stack(cli: Cli) -> Stack:
    assert cli.folder is not None
    return Stack.from_folder(cli.folder)
