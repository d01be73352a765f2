"""``stackctl up``: from a folder to running, healthy services."""

from __future__ import annotations

from stackctl.engines import Engine, Progress
from stackctl.lifecycle.preflight import preflight
from stackctl.lifecycle.status import StackStatus, status
from stackctl.stack import Stack


def up(stack: Stack, engine: Engine, progress: Progress) -> StackStatus:
    """Check the machine, make what services start from, start them in order, and return how they are.

    Raises:
        MissingPrerequisite: the machine lacks something (nothing was started).
        Unhealthy: a service did not become healthy; what runs is left running.
    """
    preflight(stack, engine)
    engine.prepare(progress)
    engine.up([service.name for service in stack.services], progress)
    return status(stack, engine)
