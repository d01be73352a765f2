"""Choose the engine that a stack's settings name."""

from __future__ import annotations

from typing import assert_never

from stackctl.engines.protocol import Engine
from stackctl.stack import Stack


def engine_of(stack: Stack) -> Engine:
    """Return the engine that runs ``stack``."""
    match stack.settings.engine:
        case "docker":
            from stackctl.engines.docker import DockerEngine

            return DockerEngine(stack)
        case "local":
            from stackctl.engines.local import LocalEngine

            return LocalEngine(stack)
        case other:
            assert_never(other)
