"""``stackctl up`` and ``restart``: from a folder to running, healthy services that serve what is in Production."""

from __future__ import annotations

import time
from collections.abc import Sequence

from stackctl.engines import Engine, Progress
from stackctl.errors import StackctlError
from stackctl.lifecycle.migration import prepare_migration, remember
from stackctl.lifecycle.open_restore import refuse_half
from stackctl.lifecycle.preflight import preflight
from stackctl.lifecycle.status import StackStatus, status
from stackctl.scaffold.secret_files import add_missing
from stackctl.stack import Stack
from stackctl.stack.environment import webhook_urls

LOAD_SECONDS = 120.0
"""How long a model server that just started may take to load the version that is in Production."""
POLL_SECONDS = 0.3
CONFIG_FILES = {"docker": "compose.yaml", "local": "supervisord.conf"}
WEBHOOK_KEY = "webhook_key"
"""The secret that MLflow encrypts webhooks' secrets with, as the services' configuration names it."""
WEBHOOK = "stackctl-"
"""How the names of the webhooks begin that are made here."""


def up(stack: Stack, engine: Engine, progress: Progress, *, backup: bool = True) -> StackStatus:
    """Check the machine, make what services start from, start them in order, and return how they are.

    Where MLflow would change its database's schema, a snapshot is taken first (``backup=False`` goes without).

    Raises:
        StackctlError: a restore was interrupted.
        MissingPrerequisite: the machine lacks something (nothing was started).
        Unhealthy: a service did not become healthy; what runs is left running.
    """
    refuse_half(stack)
    add_missing(stack.home / "secrets")
    preflight(stack, engine)
    engine.prepare(progress)
    prepare_migration(stack, engine, progress, backup=backup)
    engine.up([service.name for service in stack.services], progress)
    remember(stack)
    _expect_backups(stack, progress)
    _have_servers_woken(stack, progress)
    return _settled(stack, engine, progress)


def restart(stack: Stack, engine: Engine, services: Sequence[str], progress: Progress) -> StackStatus:
    """Restart services (none named: all) and return how the stack is once they are healthy again.

    Where MLflow would change its database's schema, a snapshot is taken first, and all services are restarted.

    Raises:
        StackctlError: a restore was interrupted.
        Unhealthy: a service did not become healthy.
    """
    refuse_half(stack)
    mlflow = not services or "mlflow" in services
    if mlflow and prepare_migration(stack, engine, progress) is not None:
        services = ()  # all of them were stopped for it
    engine.restart(services, progress)
    _have_servers_woken(stack, progress)
    return _settled(stack, engine, progress)


def _have_servers_woken(stack: Stack, progress: Progress) -> None:
    """Have MLflow call each model server when an alias changes; they poll as well, so nothing depends on it."""
    if stack.settings.mlflow.kind != "bundled":
        progress("webhook", "none: MLflow is not the stack's own; the model servers poll it")
        return
    config = stack.home / CONFIG_FILES[stack.settings.engine]
    if WEBHOOK_KEY not in config.read_text():  # MLflow would lose the webhooks' secrets at its next start
        progress("webhook", f"none: {config.name} was made before there were any; the model servers poll MLflow")
        return
    from stackctl.models.rest import Rest
    from stackctl.models.webhooks import ensure_webhook, remove_webhooks

    rest = Rest(stack.endpoints.registry)
    names = {f"{WEBHOOK}{service}": url for service, url in webhook_urls(stack).items()}
    try:
        for name, url in names.items():
            if (outcome := ensure_webhook(rest, name, url, stack.secret("webhook_secret"))) != "unchanged":
                progress("webhook", f"{name} {outcome}")
        remove_webhooks(rest, WEBHOOK, but=frozenset(names))
    except StackctlError as error:
        progress("webhook", f"not set up, the model servers poll all the same: {error.message}")
    finally:
        rest.close()


def _expect_backups(stack: Stack, progress: Progress) -> None:
    """Note in MLflow since when backups are expected: until one is there, their absence is measured from then."""
    from stackctl.backup.freshness import ensure
    from stackctl.models.rest import Rest

    rest = Rest(stack.endpoints.mlflow, stack.mlflow_token())
    try:
        ensure(rest, stack.name)
    except StackctlError as error:
        progress("backup", f"MLflow does not hold the age of backups: {error.message}")
    finally:
        rest.close()


def _settled(stack: Stack, engine: Engine, progress: Progress) -> StackStatus:
    """Return the stack's status once each model server has loaded what it follows, or says why it cannot."""
    deadline = time.monotonic() + LOAD_SECONDS
    while True:
        report = status(stack, engine)
        servers = [server for server in (report.model, report.staging) if server is not None]
        loading = [server for server in servers if server.production and server.served is None and not server.error]
        if not loading or time.monotonic() > deadline:
            return report
        for server in loading:
            progress("serving", f"loading version {server.production} for {server.target}")
        time.sleep(POLL_SECONDS)
