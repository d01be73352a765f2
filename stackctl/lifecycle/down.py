"""``stackctl down`` and ``destroy``: on the settings' engine, and on another one that still holds something."""

from __future__ import annotations

import contextlib

from stackctl.engines import Engine, other_engines
from stackctl.errors import MissingPrerequisite
from stackctl.stack import Stack


def down(stack: Stack, engine: Engine) -> None:
    """Stop every service and keep all data."""
    for other in other_engines(stack):
        with contextlib.suppress(MissingPrerequisite):  # an engine that does not answer runs nothing
            other.down()
    engine.down()


def holdings(stack: Stack, engine: Engine, *, backups: bool) -> list[str]:
    """Return, in words, what ``destroy`` would delete."""
    found = engine.holdings(backups=backups)
    for other in other_engines(stack):
        with contextlib.suppress(MissingPrerequisite):
            found += other.holdings(backups=backups)
    return found


def destroy(stack: Stack, engine: Engine, *, backups: bool) -> None:
    """Stop every service and delete all that ``holdings`` names; ``backups``: also the stack's own snapshots."""
    for other in other_engines(stack):
        with contextlib.suppress(MissingPrerequisite):
            other.destroy(backups=backups)
    engine.destroy(backups=backups)
