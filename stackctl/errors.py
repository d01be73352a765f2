"""The errors of stackctl: one class per exit code; the message says what happened, the hint what to type next."""

from __future__ import annotations

from typing import ClassVar

INTERRUPTED = 130
"""Exit code of what a person ended: 128 and the number of the signal, as shells have it."""


class StackctlError(Exception):
    """Something failed in a way that a person can understand and act on.

    Attributes:
        message: what happened, one sentence or a few.
        hint: what to do or type next, if anything helps.
        code: the process's exit code.
    """

    code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(StackctlError):
    """The command was called in a way that cannot work (also: the folder is a stack already)."""

    code = 2


class Unhealthy(StackctlError):
    """A service is down or degraded, or could not be reached."""

    code = 3


class MissingPrerequisite(StackctlError):
    """Something that must be on the machine is not there."""

    code = 4


class MergeConflict(StackctlError):
    """An update met changes it could not merge."""

    code = 5


class NotAStack(StackctlError):
    """The folder is not a stack's folder."""

    code = 6
