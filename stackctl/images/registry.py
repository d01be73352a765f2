"""Image registries: whether one answers, pulling from it, pushing to it."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable

from stackctl.errors import StackctlError, Unhealthy, UsageError
from stackctl.images import client
from stackctl.stack import Stack

Progress = Callable[[str, str], None]

PROBE_SECONDS = 4.0
PULL_SECONDS = 900.0
_DOCKER_HUB = "registry-1.docker.io"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def registry_of(stack: Stack | None) -> str | None:
    """Return the registry that images are taken from before they are built, or None.

    It is ``STACKCTL_REGISTRY`` or the stack's setting: a host, an optional port and path:
    ``registry.example.org/team``.
    """
    value = os.environ.get("STACKCTL_REGISTRY") or (stack.settings.images.registry if stack else None)
    return checked(value) if value else None


def checked(value: str) -> str:
    """Return a registry's address in the form that image names have.

    Raises:
        UsageError: it is no such address.
    """
    address = value.removesuffix("/")
    if "://" in address or not address or address != address.strip() or " " in address:
        raise UsageError(
            f"{value} is not the address of a registry.",
            "Write HOST[:PORT][/PATH], for instance registry.example.org/team.",
        )
    return address


def host_of(reference: str) -> str:
    """Return the host (and port) of the registry that an image's name stands for."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else _DOCKER_HUB


def answers(host: str, seconds: float = PROBE_SECONDS) -> bool:
    """Return whether a registry speaks at ``host`` within ``seconds``, name lookup included; any HTTP status counts.

    Certificates are not judged here: pulling does that. Plain HTTP is tried on loopback only, where Docker allows it.
    """
    schemes = ["https"]
    if host in _LOOPBACK or host.rpartition(":")[0] in _LOOPBACK:
        schemes.insert(0, "http")
    # A thread, because nothing else bounds the time that a name lookup takes.
    answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
    probe = threading.Thread(
        target=lambda: answer.put(any(_speaks(f"{scheme}://{host}/v2/", seconds) for scheme in schemes)), daemon=True
    )
    probe.start()
    try:
        return answer.get(timeout=seconds)
    except queue.Empty:
        return False


def pull(reference: str, source: str, progress: Progress) -> client.Present | None:
    """Pull one of our images from the registry ``source`` and give it its own name; None when it is not there."""
    remote = f"{source}/{reference}"
    progress(reference, f"looking in {source}")
    completed = client.docker(["pull", "--quiet", remote], timeout=PULL_SECONDS, check=False)
    if completed.returncode != 0:
        client.require_engine()
        return None
    _rename(remote, reference)
    return client.inspect([reference]).get(reference)


def push(references: Iterable[str], target: str, progress: Progress) -> list[str]:
    """Push images under ``target`` and return their names there.

    Raises:
        Unhealthy: no registry answers there.
        StackctlError: an image is not here, or the registry refuses it.
    """
    target = checked(target)
    host = host_of(f"{target}/x")
    if not answers(host):
        raise Unhealthy(f"No registry answers at {host}.", f"Check the address, or log in first: docker login {host}.")
    pushed = []
    for reference in references:
        remote = f"{target}/{reference}"
        progress(reference, f"pushing to {target}")
        client.docker(["tag", reference, remote])
        try:
            client.docker(["push", "--quiet", remote])
        except StackctlError as error:
            raise StackctlError(
                f"{reference} could not be pushed to {target}: {error.message}", f"Log in first? docker login {host}"
            ) from error
        finally:
            client.docker(["rmi", "--no-prune", remote], check=False)
        pushed.append(remote)
    return pushed


def _rename(remote: str, reference: str) -> None:
    client.docker(["tag", remote, reference])
    client.docker(["rmi", "--no-prune", remote], check=False)


def _speaks(url: str, seconds: float) -> bool:
    import http.client  # here, because `status` has no use for these and pays for every import
    import ssl
    import urllib.error
    import urllib.request

    unjudged = ssl.create_default_context()
    unjudged.check_hostname = False
    unjudged.verify_mode = ssl.CERT_NONE
    try:
        urllib.request.urlopen(url, timeout=seconds, context=unjudged).close()  # noqa: S310 - http or https, see answers
    except urllib.error.HTTPError:
        return True
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return True
