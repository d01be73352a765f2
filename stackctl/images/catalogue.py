"""Which container images there are, and which of them a stack needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stackctl.errors import UsageError
from stackctl.stack import Stack

REPOSITORY = "stackctl"
"""First part of every image's name: ``stackctl/mlflow:VERSION-HASH``."""


@dataclass(frozen=True)
class Image:
    """One image that this distribution can build.

    Attributes:
        name: its name, the name of its folder under ``compose/``, and the last part of its repository.
        title: what it holds, for a person.
        extra: the extra of this distribution that is installed in it, or None when it holds no Python of ours.
        carries_wheel: this distribution is installed in it, so a change of our code makes another image.
        needs_go: a stage of it needs a Go tool chain.
        software: the pinned package whose version is the image's version for a person; None: our own version.
        in_stack: a service that `up` starts runs in it (the others serve what runs on demand).
        on_demand: containers of it are started by commands that every stack has.
    """

    name: str
    title: str
    extra: str | None = None
    carries_wheel: bool = True
    needs_go: bool = False
    in_stack: bool = True
    on_demand: bool = False
    software: str | None = None


CATALOGUE: dict[str, Image] = {
    image.name: image
    for image in (
        Image("store", "MinIO, built from source", carries_wheel=False, needs_go=True),
        Image("mlflow", "MLflow's tracking server and registry", extra="mlflow", software="mlflow"),
        Image("serving", "the model server", extra="serve"),
        Image("demo", "the Flask demo", extra="demo"),
        Image("backup", "the scheduler of backups, rsync, ssh and restic", extra="backup"),
        Image("drill", "the backup image, and what a restore drill runs in it", extra="local", in_stack=False),
        Image("worker", "what upscales in batches", extra="worker", in_stack=False, on_demand=True),
        Image("train", "torch and what trains and converts models", in_stack=False),
    )
}


def image(name: str) -> Image:
    """Return an image by its name.

    Raises:
        UsageError: there is no such image.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        raise UsageError(f"There is no image {name}.", f"Images: {', '.join(CATALOGUE)}.") from None


def images_of(stack: Stack | None) -> tuple[str, ...]:
    """Return the names of the images that the stack's services run in; without a stack, those of a full stack."""
    names = [entry.name for entry in CATALOGUE.values() if entry.in_stack]
    if stack is None:
        return tuple(names)
    settings = stack.settings
    unused = set()
    if settings.store.kind != "minio":
        unused.add("store")
    drills = settings.backup.schedule is not None and settings.backup.drill_schedule is not None
    if settings.backup.schedule is None or drills:
        unused.add("backup")
    # An S3 store elsewhere still gets its buckets from store-init, which runs in the mlflow image.
    if settings.mlflow.kind != "bundled" and settings.store.kind != "minio":
        unused.add("mlflow")
    return (*(name for name in names if name not in unused), *(("drill",) if drills else ()))


def startable(stack: Stack | None) -> tuple[str, ...]:
    """Return the names of all images that a stack may start containers of: those of its services, and those on demand.

    The one for training is not among them: it is large, and few train or convert on the machine that serves.
    """
    return (*images_of(stack), *(entry.name for entry in CATALOGUE.values() if entry.on_demand))


def checked(names: Iterable[str], stack: Stack | None) -> tuple[str, ...]:
    """Return ``names`` without repetition, or the stack's images when there are none.

    Raises:
        UsageError: one of them is no image.
    """
    wanted = tuple(dict.fromkeys(names)) or images_of(stack)
    for name in wanted:
        image(name)
    return wanted
