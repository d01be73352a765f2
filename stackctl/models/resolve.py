"""Which version a person means by a word."""

from __future__ import annotations

import re

from stackctl.errors import UsageError
from stackctl.models.registry import Registry, UnknownVersion
from stackctl.models.versions import ModelVersion

LATEST = "latest"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


def resolve(registry: Registry, name: str, word: str) -> ModelVersion:
    """Return the version that ``word`` names.

    It is a number (``2`` or ``v2``), ``latest`` (the highest number), ``@alias``, or the id of the run that logged it
    (the highest number, where it logged several).

    Raises:
        UsageError: ``word`` is none of these.
        UnknownModel: there is no such model.
        UnknownVersion: the model has no such version.
    """
    word = word.strip()
    if word.startswith("@") and len(word) > 1:
        return _by_alias(registry, name, word[1:])
    if word == LATEST:
        return _latest(registry, name)
    if _RUN_ID.fullmatch(word):
        return _by_run(registry, name, word)
    number = word.removeprefix("v")
    if not number.isdecimal() or len(number) > 9 or int(number) < 1:
        raise UsageError(
            f"{word!r} is not a version: give its number, latest, @alias or a run's id.",
            f"See `stackctl models show {name}`.",
        )
    return registry.version(name, str(int(number)))


def _by_alias(registry: Registry, name: str, alias: str) -> ModelVersion:
    model = registry.model(name)
    number = model.aliases.get(alias)
    if number is None:
        known = ", ".join(f"@{known} ({version})" for known, version in sorted(model.aliases.items())) or "none"
        raise UnknownVersion(
            f"{name} has no alias {alias}. Its aliases: {known}.", f"See `stackctl models show {name}`."
        )
    return registry.version(name, number)


def _latest(registry: Registry, name: str) -> ModelVersion:
    number = registry.model(name).latest
    if number is None:
        raise UnknownVersion(f"{name} has no versions.", "Bring one in with `stackctl models import starter`.")
    return registry.version(name, number)


def _by_run(registry: Registry, name: str, run_id: str) -> ModelVersion:
    found = [version for version in registry.versions(name) if version.run_id == run_id]
    if not found:
        raise UnknownVersion(
            f"{name} has no version that run {run_id} logged.", f"List them with `stackctl models show {name}`."
        )
    return found[0]
