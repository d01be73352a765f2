"""What a stack's supervisord is started with: its runtime folder, its environment, and a fingerprint of both."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from stackctl import __version__
from stackctl.errors import StackctlError
from stackctl.stack import Stack
from stackctl.stack.environment import local_environment

CONFIG_FILE = "supervisord.conf"
MARK = "STACKCTL_SUPERVISED"
"""Variable that only supervised processes have; its value is their stack's folder."""

_OURS = ("AWS_", "MINIO_", "MLFLOW_", "STACKCTL_")
_KEPT = {
    "AWS_CA_BUNDLE",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "STACKCTL_CA_BUNDLE",
}


def runtime_folder(stack: Stack) -> Path:
    """Return the folder of supervisord's socket and pid file.

    A Unix socket's path has 107 bytes at most, so it cannot lie in the stack's folder. ``var/run/runtime`` remembers
    the place: a cron job, for instance, has no ``XDG_RUNTIME_DIR`` and must find the same one.
    """
    name = hashlib.sha256(os.fsencode(stack.home)).hexdigest()[:16]
    parent = f"stackctl-{os.getuid()}"
    remembered = _remembered(stack)
    # Only this very folder's own place counts: the note may be torn, or have been copied along with another stack.
    if remembered and remembered.is_absolute() and (remembered.name, remembered.parent.name) == (name, parent):
        return remembered
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / parent / name


def may_run(stack: Stack) -> bool:
    """Return whether a supervisord of this stack was started and not stopped since; cheap."""
    return _note(stack).is_file()


def remove_runtime_folder(stack: Stack) -> None:
    """Remove supervisord's socket and pid file, their folder when nothing else is in it, and the note of its place."""
    folder = runtime_folder(stack)
    for name in ("supervisor.sock", "supervisord.pid"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
    with contextlib.suppress(OSError):
        _note(stack).unlink()


def make_runtime_folder(stack: Stack) -> Path:
    """Make the runtime folder, which only its owner can enter, and remember where it is.

    Raises:
        StackctlError: somebody else owns a folder of that name.
    """
    folder = runtime_folder(stack)
    for part in (folder.parent, folder):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = part.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise StackctlError(f"{part} belongs to somebody else.", "Set XDG_RUNTIME_DIR to a folder of your own.")
        part.chmod(0o700)
    note = _note(stack)
    note.parent.mkdir(parents=True, exist_ok=True)
    fresh = note.with_suffix(".new")
    fresh.write_text(f"{folder}\n")
    fresh.replace(note)
    return folder


def supervisor_environment(
    stack: Stack, python: Path, minio: Path | None, serving_python: Path | None = None
) -> dict[str, str]:
    """Return every variable that ``supervisord.conf`` names and the services read.

    ``python`` is their interpreter, ``serving_python`` that of the model servers where it is another one.
    """
    environment = {
        **local_environment(stack),
        "STACKCTL_PYTHON": str(python),
        "STACKCTL_SERVING_PYTHON": str(serving_python or python),
        "STACKCTL_MINIO": str(minio or "minio"),
        "STACKCTL_RUNTIME": str(runtime_folder(stack)),
        MARK: str(stack.home),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # the services run in the stack's folder: a file there must not shadow a module
    }
    return {**environment, "STACKCTL_FINGERPRINT": fingerprint(environment, stack.home / CONFIG_FILE)}


def fingerprint(environment: Mapping[str, str], config: Path) -> str:
    """Return a SHA-256 over the environment, ``supervisord.conf`` and stackctl's version: another one means restart."""
    total = hashlib.sha256(json.dumps([__version__, sorted(environment.items())]).encode())
    total.update(config.read_bytes())
    return total.hexdigest()


def lacking_programs(stack: Stack) -> list[str]:
    """Return the services that ``supervisord.conf`` does not know: it was made before there were such services."""
    known = set(re.findall(r"^\[program:([^]\s]+)]", (stack.home / CONFIG_FILE).read_text(), re.MULTILINE))
    return [service.name for service in stack.services if service.name not in known]


def foreign_variables(environ: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Return the caller's variables that must not reach the services: they would override the stack's own settings."""
    return sorted(name for name in environ if name.startswith(_OURS) and name not in _KEPT and name not in environment)


def _note(stack: Stack) -> Path:
    return stack.var / "run" / "runtime"


def _remembered(stack: Stack) -> Path | None:
    try:
        return Path(_note(stack).read_text().strip())
    except (OSError, UnicodeDecodeError):
        return None
