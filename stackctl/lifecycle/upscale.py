"""Upscale an image or a folder of images: through the stack's model server, or by a network on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.batch.naming import endings, extension, format_of, stems
from stackctl.errors import StackctlError, Unhealthy, UsageError
from stackctl.store.errors import CannotWrite
from stackctl.store.files import Files
from stackctl.store.places import OTHER_IMAGES, SUFFIXES, Place, is_url, objects

if TYPE_CHECKING:
    from stackctl.serving.client import ModelServerClient, Served
    from stackctl.stack import Stack

BUSY_SECONDS = 120.0
"""How long a server that is busy is asked again for one image."""
RECOVERY_SECONDS = 30.0
"""How long a server that failed on one image is waited for before the next one."""


@dataclass(frozen=True)
class How:
    """What is asked of every image.

    Attributes:
        outscale: size of a result over the size of its input; 0 is the network's own scale.
        suffix: results are named ``NAME_suffix``.
        image_format: of the results; ``auto`` keeps that of the input.
        tile: side of a tile in input pixels; 0 chooses it.
        precision: ``auto``, ``fp32`` or ``bf16``.
        alpha: what enlarges an alpha channel: ``bicubic`` or the ``network``.
    """

    outscale: float = 0.0
    suffix: str = "out"
    image_format: str = "auto"
    tile: int = 0
    precision: str = "auto"
    alpha: str = "bicubic"


@dataclass(frozen=True)
class Upscaled:
    """One input: where its result is and which version made it, or why there is none."""

    source: str
    result: str | None
    version: str | None
    error: str | None = None
    seconds: float | None = None
    report: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "source": self.source,
            "result": self.result,
            "version": self.version,
            "error": self.error,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "report": self.report,
        }


@dataclass(frozen=True)
class Work:
    """The images of one call and what becomes of them.

    Attributes:
        names: the images, in the order in which they are upscaled.
        stems: each image's result in ``outbound``, without its ending.
        exactly: name of the only result, where the person gave one.
        notes: what a person should know of images that are left out.
    """

    inbound: Place
    outbound: Place
    names: tuple[str, ...]
    stems: dict[str, str]
    how: How
    exactly: str | None = None
    notes: tuple[str, ...] = ()

    def result_of(self, name: str, image_format: str) -> str:
        """Return the name of an image's result."""
        return self.exactly or f"{self.stems[name]}{extension(name, image_format)}"


def plan(source: str, target: str, how: How, stack: Stack | None = None) -> Work:
    """Return the work that a call means; nothing is written yet.

    Args:
        source: an image, a folder (with its subfolders), or ``s3://BUCKET/PREFIX``.
        target: a folder, ``s3://BUCKET/PREFIX``, or the name of a file for the result of a single image.
        how: what is asked of every image.
        stack: whose object store, for ``s3://`` URLs.

    Raises:
        UsageError: there is no image in ``source``, results would replace their inputs or could not be written.
    """
    if "/" in how.suffix or "\0" in how.suffix:
        raise UsageError(f"A suffix is part of a file's name: {how.suffix!r} is none.", "Name the folder as OUT.")
    inbound, outbound = _place(source, stack), _place(target, stack)
    exactly = None
    if isinstance(inbound, Files) and not os.path.exists(inbound.root):  # noqa: PTH110 - false too where it is hidden
        raise UsageError(f"There is no folder or image {source}.")
    if isinstance(inbound, Files) and inbound.root.is_file() and isinstance(outbound, Files):
        ending = outbound.root.suffix.lower()
        if not outbound.root.is_dir() and ending in SUFFIXES | OTHER_IMAGES:
            how, exactly = _for_one_file(outbound.root, how), outbound.root.name
            outbound = Files(outbound.root.parent)
    names, notes = _inputs(inbound, outbound, how, exactly)
    if not names:
        raise UsageError(f"There is no image in {source}.", f"Images end in {', '.join(sorted(SUFFIXES))}.")
    return Work(inbound, outbound, tuple(names), stems(names, how.suffix), how, exactly, tuple(notes))


def through_server(work: Work, url: str) -> Iterator[Upscaled]:
    """Send every image to a model server, one by one; an image that fails does not stop the others.

    Raises:
        Unhealthy: the model server cannot be reached.
        CannotWrite: the results cannot be written.
    """
    from stackctl.serving.client import ModelServerClient

    with ModelServerClient(url) as server:
        for name in work.names:
            began = time.monotonic()
            source = work.inbound.full(name)
            try:
                served = _ask(server, work.inbound.read(name), work.how)
                result = work.result_of(name, served.content_type.partition("/")[2])
                work.outbound.write(result, served.data)
            except (Unhealthy, CannotWrite) as error:
                if isinstance(error, CannotWrite) or not _recovers(server):
                    raise
                yield Upscaled(source, None, None, error.message)
            except StackctlError as error:
                yield Upscaled(source, None, None, error.message)
            else:
                seconds = time.monotonic() - began
                yield Upscaled(source, work.outbound.full(result), served.version, None, seconds, served.meta)


def _place(where: str, stack: Stack | None) -> Place:
    if not is_url(where):
        return Files(Path(where))
    if stack is None:
        raise UsageError(
            f"{where} is in a stack's object store: a network on this machine reads and writes folders.",
            "Leave -n out, and the stack's model server upscales it.",
        )
    return objects(stack, where)


def _for_one_file(file: Path, how: How) -> How:
    from dataclasses import replace

    wanted = format_of(file.name)
    if wanted is None:
        raise UsageError(f"A result cannot be written as {file.suffix}.", "OUT may end in .png, .jpg, .webp or .tif.")
    if how.image_format not in {"auto", wanted}:
        raise UsageError(
            f"{file.name} is to be {how.image_format} by --ext and {wanted} by its name.", "Leave --ext out."
        )
    return replace(how, image_format=wanted)


def _inputs(inbound: Place, outbound: Place, how: How, exactly: str | None) -> tuple[list[str], list[str]]:
    """Return the images to upscale, and notes on those left out as results of an earlier call.

    Raises:
        UsageError: a result would replace an input, in whatever format it may be written.
    """
    found = inbound.names()
    source, target = inbound.base(), outbound.base()
    above = source.rstrip("/") + "/"
    below = target.removeprefix(above) + "/" if target.startswith(above) else ""
    names = [name for name in found if not below or not name.startswith(below)]
    notes = (
        [f"{_count(len(found) - len(names), 'image')} in the folder of the results left out."]
        if len(names) < len(found)
        else []
    )
    # NAME_SUFFIX beside or below NAME is the result of an earlier call.
    may_replace = bool(how.suffix) and (target == source or bool(below))
    lies = {inbound.where(name): name for name in found}
    planned = _results(names, outbound, how, exactly)
    left_out: set[str] = set()
    while may_replace:
        again = {lies[result] for result, name in planned.items() if lies.get(result, name) != name} & set(names)
        if not again:
            break
        left_out |= again
        names = [name for name in names if name not in again]
        planned = _results(names, outbound, how, exactly)
    if left_out:
        notes.append(f"{_count(len(left_out), 'earlier result')} left out.")
    guarded = {place: name for name in (names if may_replace else found) for place in inbound.replaceable(name)}
    for result in planned:
        if result in guarded:
            raise UsageError(
                "The results would replace their inputs.",
                f"{inbound.full(guarded[result])} would be replaced: give a --suffix or another folder.",
            )
    return names, notes


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number > 1 else "")


def _results(names: Sequence[str], outbound: Place, how: How, exactly: str | None) -> dict[str, str]:
    """Return every place that a result may be written to, and the image that it is the result of."""
    if exactly:
        return {outbound.where(exactly): name for name in names}
    return {
        outbound.where(stem + ending): name
        for name, stem in stems(names, how.suffix).items()
        for ending in endings(name, how.image_format)
    }


def _ask(server: ModelServerClient, data: bytes, how: How) -> Served:
    from stackctl.serving.client import ModelServerRefusal

    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return server.upscale(
                data, outscale=how.outscale, format=how.image_format, tile=how.tile, precision=how.precision
            )
        except ModelServerRefusal as error:
            if error.error_code != "busy" or time.monotonic() > end:
                raise
            time.sleep(0.5)


def _recovers(server: ModelServerClient) -> bool:
    """Return whether a server that failed on an image is able to serve the next one."""
    end = time.monotonic() + RECOVERY_SECONDS
    while time.monotonic() < end:
        if server.ready():
            return True
        try:
            server.model()
        except Unhealthy:
            return False
        time.sleep(0.5)
    return False
