"""Upscales files with a network, where the services' packages are; ``upscale_locally`` starts it and listens.

``python -m stackctl.lifecycle.upscale_worker ORDER.json`` prints one line of JSON per event: ``begin`` and then
``done`` or ``failed`` for each image, ``stopped`` when no further image can succeed, ``end`` when all were tried.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from stackctl import imaging
from stackctl.batch.naming import extension
from stackctl.batch.network import load
from stackctl.lifecycle.upscale_order import Order
from stackctl.store.errors import CannotWrite
from stackctl.store.files import Files, write_file


def main(file: str) -> int:
    """Do what the order in ``file`` says; return the exit status."""
    signal.signal(signal.SIGTERM, _end)
    order = Order(**json.loads(Path(file).read_text()))
    try:
        limits = imaging.Limits(max_memory=order.max_memory)
        options = imaging.Options(**order.options, limits=limits)
        network = _load(order)
    except imaging.BadOption as error:
        _say("stopped", error=f"{error}.".replace("..", "."), usage=True)
        return 1
    except imaging.ImagingError as error:
        _say("stopped", error=str(error), usage=False)
        return 1
    for number, source, target in order.images:
        _say("begin", number=number)
        try:
            data, report = imaging.upscale(Files(Path(source)).read(""), network, options)
            result = target if order.exactly else f"{target}{extension(source, report.format)}"
            write_file(Path(result), data)
        except CannotWrite as error:
            _say("stopped", error=error.message, hint=error.hint, usage=True)
            return 1
        except Exception as error:  # noqa: BLE001 - one image must never end the others
            _say("failed", number=number, error=_sentence(error))
        else:
            _say("done", number=number, result=result, report=report.to_dict())
    _say("end")
    return 0


def _load(order: Order) -> imaging.Network:
    return load(order.network, golden=order.golden, bf16_allowed=order.bf16_allowed, cache_dir=order.cache)


def _sentence(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "There is not enough memory for it."
    return str(getattr(error, "message", "") or error) or type(error).__name__


def _say(event: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
