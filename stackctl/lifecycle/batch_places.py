"""Between which places a batch runs: what a person may call them, and what the run calls them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.errors import Unhealthy, UsageError
from stackctl.store.places import HOST

if TYPE_CHECKING:
    from stackctl.stack import Stack


@dataclass(frozen=True)
class Route:
    """Where images come from and where results go.

    Attributes:
        input: as the run sees it: a folder of this machine, or ``s3://BUCKET/PREFIX``.
        output: likewise.
        quarantine: likewise.
        push: a folder of this machine whose images are brought into ``input`` first, or None.
        pull: a folder of this machine into which results are brought, or None.
        pull_quarantine: likewise, for what is quarantined.
    """

    input: str
    output: str
    quarantine: str
    push: Path | None = None
    pull: Path | None = None
    pull_quarantine: Path | None = None

    @property
    def copies_inputs(self) -> bool:
        """Whether ``input`` holds copies of a folder's images, and nothing else."""
        return self.push is not None and _is_hidden(self.input)

    @property
    def copied(self) -> bool:
        """Whether anything lies in the store only because a folder stands behind it."""
        return self.copies_inputs or self.copies_results

    @property
    def copies_results(self) -> bool:
        """Whether ``output`` holds what a folder gets, and nothing else."""
        return self.pull is not None and _is_hidden(self.output)


def route(stack: Stack, source: str | None, target: str | None) -> Route:
    """Return the route between two places as a person names them; None: the stack's own inbound and outbound.

    Raises:
        UsageError: there is no such folder, a URL is none, or results would end among the inputs.
    """
    buckets, data = stack.settings.buckets, stack.home / "data"
    plain = stack.settings.store.kind == "folder"
    push, pull = None, None
    if source is None:
        push = None if plain else data / "inbound"
        source = str(data / "inbound") if plain else f"s3://{buckets.inbound}"
    elif not _is_url(source):
        source, push = _host(stack, source, buckets.inbound)
    if target is None:
        pull = None if plain else data / "outbound"
        target = str(data / "outbound") if plain else f"s3://{buckets.outbound}"
    elif not _is_url(target):
        target, pull = _host(stack, target, buckets.outbound)
    source, target = (_canonical(stack, place) for place in (source, target))
    for place in (push, source):
        _must_be_there(place, data)
    _must_be_apart(source, target)
    if push and pull:  # in the store they are apart, wherever they are here
        _must_be_apart(os.path.realpath(push), os.path.realpath(pull))
    quarantine = str(data / "quarantine") if plain else f"s3://{buckets.quarantine}"
    return Route(source, target, quarantine, push, pull, None if plain else data / "quarantine")


def must_answer(stack: Stack, *places: str) -> None:
    """Ask the object store for the places that lie in it.

    Raises:
        UsageError: there is no such bucket.
        Unhealthy: the store does not answer.
    """
    from stackctl.store.errors import NotFound, StoreGone
    from stackctl.store.urls import open_store

    for place in filter(_is_url, places):
        try:
            next(iter(open_store(stack, place).list()), None)
        except (NotFound, StoreGone) as error:
            if not _answers(stack):
                raise Unhealthy(error.message, "See `stackctl status`; start the stack with `stackctl up`.") from error
            names = ", ".join(name for _, name in stack.settings.buckets)
            raise UsageError(f"There is no bucket for {place}.", f"The stack's own buckets: {names}.") from error


def _answers(stack: Stack) -> bool:
    """Return whether the object store answers: asked for a bucket that is not there it fails as if it were gone."""
    from stackctl.store.errors import StoreGone
    from stackctl.store.urls import open_store

    try:
        open_store(stack, f"s3://{stack.settings.buckets.inbound}").exists("-")
    except StoreGone:
        return False
    return True


def _host(stack: Stack, folder: str, bucket: str) -> tuple[str, Path | None]:
    """Return what stands for a folder of this machine, and the folder itself where its images must travel."""
    path = Path(os.path.realpath(Path(folder).expanduser()))
    if path.is_file():
        raise UsageError(
            f"{folder} is a file: a batch reads and writes folders.",
            f"Name its folder, or upscale it alone: stackctl image upscale {folder} OUT",
        )
    if stack.settings.engine == "local":
        return str(path), None
    own = {stack.home / "data" / "inbound": "inbound", stack.home / "data" / "outbound": "outbound"}
    if own.get(path) and getattr(stack.settings.buckets, own[path]) == bucket:
        return f"s3://{bucket}", path
    return f"s3://{bucket}/{HOST}/{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}", path


def _canonical(stack: Stack, place: str) -> str:
    """Return one name for each place, so that two ways to write it are the same batch.

    Raises:
        UsageError: it is no URL of an object store.
    """
    if not _is_url(place):
        return os.path.realpath(place)
    from stackctl.store.urls import bucket_folder, open_store

    url = open_store(stack, place).url
    if stack.settings.store.kind != "folder":
        return url
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return os.path.realpath(bucket_folder(stack, bucket) / prefix)


def _must_be_there(place: Path | str | None, data: Path) -> None:
    if place is None or (isinstance(place, str) and _is_url(place)):
        return
    folder = Path(place)
    if folder.is_dir():
        return
    if folder == Path(os.path.realpath(data / "inbound")) or folder == data / "inbound":
        folder.mkdir(parents=True, exist_ok=True)
        return
    raise UsageError(f"There is no folder {folder}.", "Name a folder with images, or s3://BUCKET/PREFIX, as --input.")


def _must_be_apart(source: str, target: str) -> None:
    above, below = source.rstrip("/") + "/", target.rstrip("/") + "/"
    if above == below:
        raise UsageError(f"Input and output are the same: {source}.", "Name another place as --output.")
    if below.startswith(above):
        raise UsageError(
            f"The output {target} lies in the input {source}: its results would be upscaled again.",
            "Name an --output that does not lie in --input.",
        )


def _is_hidden(place: str) -> bool:
    return f"/{HOST}/" in place


def _is_url(place: str) -> bool:
    """Return whether a place is a URL; a wrong one is told so by whoever opens it."""
    return "://" in place
