"""Upscale on this machine without a stack: find the network, run it where the services' packages are."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl import process
from stackctl.distribution import cache_folder
from stackctl.errors import StackctlError, UsageError
from stackctl.lifecycle.upscale import Upscaled, Work
from stackctl.store.files import Files

if TYPE_CHECKING:
    from stackctl.engines import Progress
    from stackctl.stack import Stack

MAX_DEATHS = 3
"""How often in one call the process may die on an image before the rest is given up."""
MEMORY_SHARE = 0.8
"""Share of the memory that is free which one image may need."""


@dataclass(frozen=True)
class LocalNetwork:
    """A network on this machine.

    Attributes:
        path: the ONNX file.
        name: what a person calls it.
        golden: its golden pairs, or None.
        bf16_allowed: its bf16 answers were measured and found good enough.
    """

    path: Path
    name: str
    golden: Path | None = None
    bf16_allowed: bool = False


def find_network(
    word: str, find_stack: Callable[[], Stack], progress: Progress, *, denoise: float | None = None
) -> LocalNetwork:
    """Return the network that ``word`` names, brought to this machine and converted where it must be.

    Args:
        word: an official name, ``starter``, a file (.onnx, .pth, .safetensors), or ``NAME/VERSION`` of the registry.
        find_stack: asked for the stack of a ``NAME/VERSION``.
        progress: told what is done.
        denoise: strength of the denoising, for networks that come as a pair.

    Raises:
        UsageError: there is no such network.
        StackctlError: it cannot be had; the message says why.
    """
    from stackctl.checkpoints.catalogue import names
    from stackctl.lifecycle.networks import network_file

    name, _, version = word.partition("/")
    if word not in names() and not Path(word).exists() and name and version.removeprefix("v").isdecimal():
        if denoise is not None:
            raise UsageError(f"{word} is one network: there is no denoising strength to choose.", "Leave -dn out.")
        from stackctl.lifecycle.registered_network import registered_network

        return registered_network(find_stack(), name, version.removeprefix("v"), progress)
    found = network_file(word, progress=progress, denoise=denoise)
    return LocalNetwork(found.path, found.source, found.golden, found.bf16_allowed)


def locally(work: Work, network: LocalNetwork, python: Path) -> Iterator[Upscaled]:
    """Upscale every image with a network on this machine; an image that fails does not stop the others.

    Args:
        work: between folders of this machine.
        network: what upscales them.
        python: an interpreter that has the services' packages.

    Raises:
        UsageError: the results cannot be written, or an option is out of its range.
        StackctlError: the network cannot be run.
    """
    left = list(range(len(work.names)))
    for _ in range(MAX_DEATHS):
        died_on = None
        for number, event in _run(_order(work, network, left), python):
            if event is None:
                died_on = number
                break
            left.remove(number)
            yield _upscaled(work, network, number, event)
        if died_on is None:
            for number in left:  # what the network's libraries print may garble an event
                yield _failed(work, number, "The process ended without a word on this image.")
            return
        left.remove(died_on)
        yield _failed(work, died_on, "The process died while it worked on this image (is there enough memory?).")
    for number in left:
        yield _failed(work, number, f"Not tried: the process had died {MAX_DEATHS} times.")


def _order(work: Work, network: LocalNetwork, numbers: list[int]) -> str:
    from stackctl.lifecycle.upscale_order import Order

    inbound, outbound = work.inbound, work.outbound
    if not isinstance(inbound, Files) or not isinstance(outbound, Files):
        raise UsageError("A network on this machine reads and writes folders.")
    images = []
    for number in numbers:
        name = work.names[number]
        target = outbound.root / (work.exactly or work.stems[name])
        images.append((number, str(inbound.path(name)), str(target)))
    how = work.how
    return Order(
        network=str(network.path),
        bf16_allowed=network.bf16_allowed,
        golden=str(network.golden) if network.golden else None,
        cache=str(cache_folder() / "openvino"),
        images=images,
        exactly=work.exactly is not None,
        options={
            "outscale": how.outscale,
            "format": how.image_format,
            "tile": how.tile,
            "precision": how.precision,
            "alpha": how.alpha,
        },
        max_memory=_free_memory(),
    ).to_json()


def _run(order: str, python: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield (number, event) per image that was finished, and (number, None) when the process died on one."""
    current: int | None = None
    said: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stackctl-upscale-") as folder:
        file = Path(folder) / "order.json"
        file.write_text(order)
        lines = process.lines([python, "-P", "-m", "stackctl.lifecycle.upscale_worker", file])
        try:
            for line in lines:
                event = _parse(line)
                match event.get("event"):
                    case "begin":
                        current, began = int(event["number"]), time.monotonic()
                    case "done" | "failed":
                        yield int(event["number"]), {**event, "seconds": time.monotonic() - began}
                        current = None
                    case "stopped":
                        raise (UsageError if event["usage"] else StackctlError)(event["error"], event.get("hint"))
                    case "end":
                        return
                    case _:
                        said.append(line)
        finally:
            lines.close()
    if current is None:
        raise StackctlError("The network could not be run:\n" + "\n".join(said[-process.TAIL_LINES :]))
    yield current, None


def _parse(line: str) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _upscaled(work: Work, network: LocalNetwork, number: int, event: dict[str, Any]) -> Upscaled:
    if event["event"] == "failed":
        return _failed(work, number, str(event["error"]))
    source = work.inbound.full(work.names[number])
    return Upscaled(source, event["result"], network.name, None, event["seconds"], event["report"])


def _failed(work: Work, number: int, why: str) -> Upscaled:
    return Upscaled(work.inbound.full(work.names[number]), None, None, why)


def _free_memory() -> int:
    import psutil

    from stackctl.serving.memory import Memory

    free = psutil.virtual_memory().available
    limit = Memory.read({}).limit  # of the control group, as in a container
    return int(min(free, limit or free) * MEMORY_SHARE)
