"""What must be true before services start, told in one go and not one failure at a time."""

from __future__ import annotations

import shutil

from stackctl.engines import Engine, other_engines
from stackctl.engines.protocol import Problem
from stackctl.errors import MissingPrerequisite
from stackctl.scaffold.ports import is_free
from stackctl.stack import Stack

LEAST_FREE_DISK = 2 * 1024**3
"""Bytes: databases, artifacts and logs of a first day; images are counted by the engine that builds them."""


def preflight(stack: Stack, engine: Engine) -> None:
    """Check engine, ports and disk.

    Raises:
        MissingPrerequisite: something is missing; the message lists all of it, each with the command that mends it.
    """
    problems = [*engine.preflight(), *secret_problems(stack), *other_engine_problems(stack)]
    problems += port_problems(stack, engine) if not problems else []
    problems += disk_problems(stack)
    if problems:
        lines = "\n".join(
            f"  {problem.what}" + (f"\n    → {problem.fix}" if problem.fix else "") for problem in problems
        )
        raise MissingPrerequisite(f"{stack.name} cannot start:\n{lines}", "Mend these, then run `stackctl up` again.")


def port_problems(stack: Stack, engine: Engine) -> list[Problem]:
    """Return the ports that something else uses."""
    ours = {state.name for state in engine.states() if state.state != "stopped"}
    found = []
    for service in stack.services:
        if service.name in ours:
            continue
        wanted = {service.port_setting: service.port}
        if service.name == "store":
            wanted["store_console"] = stack.settings.ports.store_console
        for name, port in wanted.items():
            if not is_free(port):
                holder = _holder(port)
                found.append(
                    Problem(
                        f"port {port} for {name} is taken" + (f" by {holder}" if holder else ""),
                        f"stop what uses it, or change ports.{name} in stack.yaml",
                    )
                )
    return found


def secret_problems(stack: Stack) -> list[Problem]:
    """Return the secrets that services need and that are not there."""
    folder = stack.home / "secrets"
    return [
        Problem(f"the secret {folder / name} is missing", "restore it from your backup, or make a new stack")
        for name in stack.secret_names
        if not (folder / name).is_file()
    ]


def other_engine_problems(stack: Stack) -> list[Problem]:
    """Return that the stack still runs on another engine than its settings name by now."""
    return [
        Problem(f"the stack still runs on the {other.name} engine", "stackctl down")
        for other in other_engines(stack)
        if any(state.state != "stopped" for state in other.states())
    ]


def disk_problems(stack: Stack) -> list[Problem]:
    """Return a problem when the stack's disk is nearly full."""
    free = shutil.disk_usage(stack.home).free
    if free >= LEAST_FREE_DISK:
        return []
    return [Problem(f"only {free / 1024**3:.1f} GiB are free under {stack.home} (2 GiB are needed)", "free some space")]


def _holder(port: int) -> str | None:
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return None
    return None
