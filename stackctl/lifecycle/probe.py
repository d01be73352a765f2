"""Health probes of services: one HTTP request each, in parallel, with a deadline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stackctl.stack import Service

PROBE_SECONDS = 3.0


@dataclass(frozen=True)
class Health:
    """What a service answered: whether it is well, if not, why, and the body of its answer."""

    ok: bool
    detail: str | None = None
    body: bytes = b""


def probe(service: Service, *, timeout: float = PROBE_SECONDS) -> Health:
    """Ask a service for its health on loopback; ``timeout`` in seconds."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=timeout)
    try:
        connection.request("GET", service.health)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
    except TimeoutError:
        return Health(False, f"no answer within {timeout:.0f} s")
    except (OSError, http.client.HTTPException) as error:
        return Health(False, "nothing listens" if isinstance(error, ConnectionRefusedError) else str(error))
    finally:
        connection.close()
    return Health(True, body=body) if status == http.HTTPStatus.OK else Health(False, f"answers HTTP {status}")


def probe_all(services: Iterable[Service]) -> dict[str, Health]:
    """Probe services at the same time; returns health by service name."""
    wanted = list(services)
    if not wanted:
        return {}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(wanted)) as pool:
        return dict(zip((service.name for service in wanted), pool.map(probe, wanted), strict=True))
