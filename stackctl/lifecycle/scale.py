"""``stackctl scale``: how many batch workers stand ready."""

from __future__ import annotations

from collections.abc import Sequence

from stackctl.engines import Engine, Progress, ServiceState
from stackctl.errors import UsageError
from stackctl.scaffold.secret_files import add_missing
from stackctl.stack import Stack


def scale(stack: Stack, engine: Engine, wanted: Sequence[str], progress: Progress) -> list[ServiceState]:
    """Do what ``SERVICE=NUMBER`` says, and return the services on demand as they are then.

    Raises:
        UsageError: it says something else, or the engine has nothing to scale.
        MissingPrerequisite: the stack's folder was made before there were batches.
    """
    numbers = dict(_number(word) for word in wanted)
    add_missing(stack.home / "secrets")
    for service, count in numbers.items():
        engine.scale(service, count, progress)
    return engine.on_demand()


def _number(word: str) -> tuple[str, int]:
    service, sign, number = word.partition("=")
    if not service or not sign or not number.isascii() or not number.isdigit():
        raise UsageError(f"`{word}` names no service and number.", "For instance: stackctl scale worker=4.")
    return service, int(number)
