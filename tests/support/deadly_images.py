"""Images that end a worker, or that never end: loaded into Dask workers by ``DASK_DISTRIBUTED__WORKER__PRELOAD``."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
from pathlib import Path
from typing import Any

DEADLY = b"this image ends its worker"
ENDLESS = b"this image never ends"
ENVIRONMENT = {
    "DASK_DISTRIBUTED__WORKER__PRELOAD": '["support.deadly_images"]',
    "PYTHONPATH": str(Path(__file__).parents[1]),
}


def dask_setup(worker: object) -> None:
    """Let marked bytes kill the worker as a fault in native code would, or hang it with the interpreter's lock held."""
    imaging: Any = importlib.import_module("stackctl.imaging")
    real = imaging.upscale

    def upscale(data: bytes, *rest: Any) -> Any:
        if data.endswith(DEADLY):
            os.kill(os.getpid(), signal.SIGKILL)
        if data.endswith(ENDLESS):
            ctypes.PyDLL(None).sleep(1000)
        return real(data, *rest)

    imaging.upscale = upscale
