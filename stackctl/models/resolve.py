"""Which version a person means by a word."""

from __future__ import annotations

from stackctl.errors import UsageError
from stackctl.models.registry import Registry
from stackctl.models.versions import ModelVersion


def resolve(registry: Registry, name: str, word: str) -> ModelVersion:
    """Return the version that ``word`` names: a number.

    Raises:
        UsageError: ``word`` is no number.
        UnknownModel: there is no such model.
        UnknownVersion: the model has no such version.
    """
    number = word.strip().removeprefix("v")
    if not number.isdecimal() or len(number) > 9 or int(number) < 1:
        raise UsageError(
            f"{word!r} is not a version: give its number, for instance 2.", f"See `stackctl models show {name}`."
        )
    return registry.version(name, str(int(number)))
