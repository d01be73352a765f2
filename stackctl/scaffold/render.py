"""Rendering the template with copier: offline, without the person's copier settings."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stackctl.distribution import carried
from stackctl.errors import UsageError

ANSWERS_FILE = ".copier-answers.yml"


def render(
    folder: Path, answers: Mapping[str, Any], *, offered: Mapping[str, Any] | None = None, ask: bool = False
) -> dict[str, Any]:
    """Render the template into ``folder`` and return every answer it was rendered with.

    Args:
        folder: where to; it must not exist or be empty.
        answers: answers that are settled.
        offered: defaults that replace the template's own.
        ask: prompt for what ``answers`` leaves open; otherwise the defaults hold.

    Raises:
        UsageError: an answer cannot be used; the message names its question.
        KeyboardInterrupt: the person gave up while being asked.
    """
    import copier
    from copier.errors import CopierError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            copier.run_copy(
                str(carried("template")),
                folder,
                data=dict(answers),
                user_defaults=dict(offered or {}),
                defaults=not ask,
                settings=copier.Settings(),  # not the person's own: their defaults are for other templates
                quiet=True,
                unsafe=False,
                skip_tasks=True,
            )
        except (CopierError, ValueError, TypeError) as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise UsageError(_in_words(error), "Give another answer, or --data QUESTION=ANSWER.") from error
    return read_answers(folder)


def read_answers(folder: Path) -> dict[str, Any]:
    """Return the answers that a rendered stack folder keeps."""
    from ruamel.yaml import YAML

    return dict(YAML(typ="safe").load(folder / ANSWERS_FILE))


def _in_words(error: Exception) -> str:
    text = (
        " ".join(str(error).split()).removeprefix("Validation error for question ").removeprefix("Invalid choice for ")
    )
    if required := re.fullmatch('Question "(.+)" is required', text):
        return f"{required[1]} must be given."
    question, colon, reason = text.partition(": ")
    return f"{question.strip(chr(39))}: {reason}." if colon else f"The template could not be rendered: {text}"
