"""``python -m stackctl.serving``: the parent process of the model server."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import uvicorn

from stackctl.errors import INTERRUPTED, StackctlError
from stackctl.serving.app import ModelServer
from stackctl.serving.events import event
from stackctl.serving.settings import ServingSettings

PREFIX = "stackctl-serving-"
LONGEST_SOCKET_FOLDER = 70  # a Unix socket's path has at most 107 bytes
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
MIB = 1024 * 1024
KEEP_ALIVE_SECONDS = 65


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    try:
        settings = ServingSettings.from_env()
    except StackctlError as error:
        event("cannot_start", reason=error.message, hint=error.hint)
        return error.code
    _return_memory()
    with runtime_folder(settings.runtime) as runtime:
        app = ModelServer(settings, runtime).application()
        gc.freeze()
        _exit_on_signals()
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(settings.drain)),
            )
        )
        server.run()
        return 0 if server.started else StackctlError.code


@contextlib.contextmanager
def runtime_folder(parent: Path | None) -> Iterator[Path]:
    """Make a private folder with a short path and remove it afterwards, and those that killed servers left."""
    root = parent or Path(tempfile.gettempdir())
    if len(str(root)) + len(PREFIX) > LONGEST_SOCKET_FOLDER:
        root = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of mode 0700 in it
    for left in root.glob(f"{PREFIX}*"):
        pid = left.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists() and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exit_on_signals() -> None:
    """Leave by an exception: uvicorn raises the signal again when it has drained, and there is a folder to remove."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(INTERRUPTED if number == signal.SIGINT else 0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


def _return_memory() -> None:
    """Have the C library give image buffers back to the system when they are freed."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, MIB)
        libc.mallopt(M_ARENA_MAX, 2)


if __name__ == "__main__":
    sys.exit(main())
