"""The environment of batch workers without Docker, as a stack shows it: ``var/environments/HASH``.

It is made once for all stacks of a machine and lies in the cache; a stack has a link to it. Another version of this
distribution, of a package or of Python has another hash.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from stackctl.distribution import environment_hash
from stackctl.engines import environments
from stackctl.engines.protocol import Progress
from stackctl.stack import Stack

SUBJECT = "worker environment"


def worker_environment(stack: Stack, progress: Progress) -> Path:
    """Return the interpreter of batch workers, never the one that runs this, after making what is missing.

    Raises:
        MissingPrerequisite: Python has no venv module.
        StackctlError: packages could not be installed; the message quotes pip.
    """
    name = environment_hash()
    link = stack.var / "environments" / name
    packed = (link / "bin" / "python").exists()
    python = environments.worker_packages(progress)
    environment = python.parent.parent
    if packed and link.resolve() == environment.resolve():
        progress(SUBJECT, f"already packed ({name})")
    else:
        _point(link, environment)
        progress(SUBJECT, f"packed ({name})")
    return link / "bin" / "python"


def _point(link: Path, folder: Path) -> None:
    """Make ``link`` lead to ``folder``, and forget links that lead nowhere any more."""
    link.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=link.parent, prefix=".making-") as name:
        fresh = Path(name) / link.name
        fresh.symlink_to(folder)
        fresh.replace(link)
    for other in link.parent.iterdir():
        if other.is_symlink() and not other.exists():
            with contextlib.suppress(OSError):
                os.unlink(other)  # noqa: PTH108 - a dangling link
