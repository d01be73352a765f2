"""What the model server is told by its environment, read once when it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stackctl.errors import UsageError
from stackctl.models.targets import PRODUCTION, Target, target_of
from stackctl.serving.memory import Memory
from stackctl.stack import Stack

MIB = 1024 * 1024


@dataclass(frozen=True)
class ServingSettings:
    """Settings of one model server; times are in seconds, sizes in bytes.

    Attributes:
        stack: the stack this server belongs to (its name, model, MLflow and credentials).
        target: what the server follows: production or staging.
        memory: what its processes may use together.
        webhook_secret: file with the secret of MLflow's webhook, or None.
        host: address to listen on.
        port: port to listen on.
        cache: folder of downloaded versions, of compiled networks and of the last-known-good record.
        runtime: folder in which the private socket folder is made (Unix sockets need a short path).
        concurrency: requests that may compute at the same time.
        queue: requests that may wait beside them; more are answered "busy".
        max_bytes: longest request body.
        timeout: longest computation of one request; then its process is killed and replaced.
        load_timeout: longest preparation of one version.
        grace: how long the previous version stays loaded after a flip.
        drain: how long requests in flight may take to finish when the server stops (both engines wait 30 s).
        poll: pause between two looks at the registry.
        poll_prepared: the same while a candidate is prepared, so that a promotion is live at once.
        retry: pause before a Production version that failed is tried again.
    """

    stack: Stack
    cache: Path
    target: Target = PRODUCTION
    memory: Memory = field(default_factory=Memory)
    webhook_secret: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8888
    runtime: Path | None = None
    concurrency: int = 2
    queue: int = 32
    max_bytes: int = 32 * MIB
    timeout: float = 60.0
    load_timeout: float = 150.0  # less than a promotion waits for it (models.promotion.Deadlines), which tells why then
    grace: float = 30.0
    drain: float = 20.0
    poll: float = 2.0
    poll_prepared: float = 0.2
    retry: float = 30.0

    @property
    def model(self) -> str:
        """The registered model's name."""
        return self.stack.settings.model

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> ServingSettings:
        """Read the settings from ``STACKCTL_*`` variables.

        Raises:
            UsageError: a variable has a value that cannot be used; the message names it.
            StackctlError: a variable that must be there is missing.
        """
        environ = os.environ if environ is None else environ
        cache = environ.get("STACKCTL_SERVING_CACHE")
        if not cache:
            raise UsageError(
                "The environment variable STACKCTL_SERVING_CACHE is not set.", "Start services with `stackctl up`."
            )
        runtime, secret = (environ.get(f"STACKCTL_{name}") for name in ("SERVING_RUNTIME", "WEBHOOK_SECRET_FILE"))
        return cls(
            stack=Stack.from_env(environ),
            cache=Path(cache).resolve(),
            target=target_of(environ.get("STACKCTL_ROLE") or PRODUCTION.name),
            memory=Memory.read(environ),
            webhook_secret=Path(secret) if secret else None,
            host=environ.get("STACKCTL_SERVING_HOST") or cls.host,
            port=int(_number(environ, "STACKCTL_SERVING_PORT", cls.port)),
            runtime=Path(runtime) if runtime else None,
            concurrency=int(_number(environ, "STACKCTL_SERVING_CONCURRENCY", cls.concurrency, lowest=1)),
            queue=int(_number(environ, "STACKCTL_SERVING_QUEUE", cls.queue)),
            max_bytes=int(_number(environ, "STACKCTL_SERVING_MAX_BYTES", cls.max_bytes, lowest=1024)),
            timeout=_number(environ, "STACKCTL_SERVING_TIMEOUT", cls.timeout, lowest=0.1),
            load_timeout=_number(environ, "STACKCTL_SERVING_LOAD_TIMEOUT", cls.load_timeout, lowest=1),
            grace=_number(environ, "STACKCTL_SERVING_GRACE", cls.grace),
            drain=_number(environ, "STACKCTL_SERVING_DRAIN", cls.drain),
            poll=_number(environ, "STACKCTL_SERVING_POLL", cls.poll, lowest=0.05),
            poll_prepared=_number(environ, "STACKCTL_SERVING_POLL_PREPARED", cls.poll_prepared, lowest=0.05),
            retry=_number(environ, "STACKCTL_SERVING_RETRY", cls.retry, lowest=0.1),
        )


def _number(environ: Mapping[str, str], name: str, default: float, *, lowest: float = 0) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"{name} is {text!r}; it takes a number, {lowest:g} or more.") from None
    if value < lowest:
        raise UsageError(f"{name} is {text}; it takes {lowest:g} or more.")
    return value
