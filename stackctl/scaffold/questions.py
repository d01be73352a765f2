"""The template's questions, and the answers given to them before anybody is asked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stackctl.distribution import carried
from stackctl.errors import UsageError

DETAILS = ("exposure", "gpu", "port_", "memory_", "bucket_", "base_image", "image_registry")
"""Questions that most people leave at their defaults: one prompt offers to skip them all."""


class Prompts(Protocol):
    """Asks a person at a terminal."""

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question; the default is no."""
        ...

    def hidden(self, question: str, *, optional: bool = False) -> str:
        """Ask for a secret without showing it; an ``optional`` one may be empty."""
        ...


def questions() -> dict[str, dict[str, Any]]:
    """Return the template's questions in order: name and what ``copier.yml`` says of it."""
    from ruamel.yaml import YAML

    document = YAML(typ="safe").load(carried("template") / "copier.yml")
    return {key: dict(value) for key, value in document.items() if not key.startswith("_")}


def read_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Return the answers of ``--data KEY=VALUE`` options.

    Raises:
        UsageError: one is not of that form.
    """
    answers: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError("--data takes KEY=VALUE.", "For instance: --data name=my-stack --data port_demo=8080")
        answers[key.strip()] = value.strip()
    return answers


def read_data_file(file: Path) -> dict[str, Any]:
    """Return the answers of a ``--data-file``: a YAML mapping of question to answer.

    Raises:
        UsageError: it cannot be read, or is no mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe").load(file)
    except OSError as error:
        raise UsageError(f"The data file {file} cannot be read: {error.strerror}.") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The data file {file} is not readable as YAML.", "Write one `question: answer` per line."
        ) from error
    if not isinstance(document, dict):
        raise UsageError(f"The data file {file} is no mapping.", "Write one `question: answer` per line.")
    return {str(key): value for key, value in document.items()}


def check(data: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``data`` with whole numbers where the template wants them.

    Raises:
        UsageError: a key is no question, or a value has the wrong type; the message never quotes the value,
            which may be a secret in the wrong place.
    """
    checked: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            guess = f" Did you mean {close[0]}?" if close else ""
            raise UsageError(f"The template has no question {key!r}.{guess}", f"The questions are: {', '.join(known)}.")
        if known[key].get("type") == "int":
            if isinstance(value, bool) or not str(value).strip().isascii() or not str(value).strip().isdigit():
                raise UsageError(
                    f"{key} must be a whole number.", f"For instance: --data {key}={known[key].get('default')}"
                )
            checked[key] = int(str(value))
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            checked[key] = str(value)
        else:
            raise UsageError(f"{key} must be a text.", f'Put it in quotes in the data file, for instance {key}: "…"')
    return checked


def details(
    known: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], offered: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the default answers of the detail questions that were not answered yet."""
    return {
        key: offered.get(key, question["default"])
        for key, question in known.items()
        if key.startswith(DETAILS) and key not in given
    }
