"""Choose the engine that a stack's settings name."""

from __future__ import annotations

import shutil
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


def other_engines(stack: Stack) -> list[Engine]:
    """Return the engines, beside the one that the settings name, that may still hold services of this stack.

    A person may change ``engine`` in ``stack.yaml`` while services run. Under Docker ``.env`` is written, on the local
    engine a note of supervisord's place: without these there is nothing to look for.
    """
    if stack.settings.engine == "docker":
        from stackctl.engines.local import LocalEngine
        from stackctl.engines.supervisor_config import may_run

        return [LocalEngine(stack)] if may_run(stack) else []
    from stackctl.engines.docker import DockerEngine

    return [DockerEngine(stack)] if (stack.home / ".env").is_file() and shutil.which("docker") else []
