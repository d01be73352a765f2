"""What goes wrong with an image, in a word and a sentence, and the quarantine where it ends with its reason."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from stackctl.batch.events import now
from stackctl.errors import StackctlError
from stackctl.store.errors import CannotWrite, NoSpace, StoreGone

if TYPE_CHECKING:
    from stackctl.batch.order import Order
    from stackctl.store.places import Place

KILLS = "kills_worker"
TIMEOUT = "timeout"
INTERNAL = "internal"
"""What failed without a word on whose fault it is."""
OUT_OF_MEMORY = "out_of_memory"
DOUBTFUL = frozenset({INTERNAL, OUT_OF_MEMORY})
"""What may be the machine's fault at that moment: an image is tried as often then as one on which workers die."""
DEATHS = 3
"""How often workers may die on an image before it is quarantined."""
REASON = ".json"
"""What a reason's name has behind the image's."""


class NothingCanBeWritten(StackctlError):
    """No result at all can be written, and waiting will not change that: the run must end."""


@dataclass(frozen=True)
class Fault:
    """Why an image cannot be upscaled: ``code`` for machines, ``reason`` for people."""

    code: str
    reason: str


def explain(error: Exception) -> Fault:
    """Return what an exception says of the image that it came from."""
    if isinstance(error, MemoryError):
        return Fault(OUT_OF_MEMORY, "There is not enough memory for it.")
    text = str(getattr(error, "message", "") or error) or type(error).__name__
    if isinstance(error.__cause__, MemoryError):  # as imaging says it
        return Fault(OUT_OF_MEMORY, text)
    code = getattr(error, "code", None)
    return Fault(code if isinstance(code, str) else INTERNAL, text)


def death(seconds: float, limit: float) -> Fault:
    """Return why a worker died that had worked on an image for ``seconds``; ``limit`` is what one image may take."""
    if seconds >= limit:
        return Fault(TIMEOUT, f"It was not done after {limit:g} s, and its worker was ended.")
    return Fault(KILLS, "The worker died while it worked on it (it crashed, ran out of memory or was killed).")


def final(fault: Fault, deaths: int) -> Fault:
    """Return the fault of an image that was tried too often."""
    return replace(fault, reason=f"It failed {deaths} times, at last with nothing beside it: {fault.reason}")


def put_into_quarantine(
    quarantine: Place,
    order: Order,
    name: str,
    data: bytes | None,
    fault: Fault,
    *,
    worker: str = "",
    input_digest: str = "",
    deaths: int = 0,
) -> Fault:
    """Keep a copy of an image that cannot be upscaled, and beside it why; done twice it is the same.

    Args:
        quarantine: where.
        order: of the run.
        name: of the image.
        data: its bytes; None where it cannot or should not be read: then the reason stands alone.
        fault: why.
        worker: that tried it.
        input_digest: of its bytes.
        deaths: how many workers died on it.

    Returns:
        The fault, which says so where the quarantine did not take it.

    Raises:
        NoSpace: there is no room.
        StoreGone: the place does not answer.
    """
    document = {
        "schema_version": 1,
        "name": name,
        "input": input_of(order, name),
        "file": f"{order.shown('input').rstrip('/')}/{name}",
        "code": fault.code,
        "reason": fault.reason,
        "input_digest": input_digest,
        "copied": data is not None,
        "model": {"name": order.model.name, "version": order.model.version, "digest": order.model.digest},
        "options": order.imaging_options,
        "run": order.run,
        "worker": worker,
        "worker_deaths": deaths,
        "at": now(),
    }
    try:
        kept = _kept_as(quarantine, order, name)
        if data is not None:
            quarantine.write(kept, data)
        quarantine.write(kept + REASON, (json.dumps(document, indent=2) + "\n").encode())
    except NoSpace:
        raise
    except CannotWrite as error:
        return replace(fault, reason=f"{fault.reason} No copy could be kept: {error.message}")
    return fault


def take_out_of_quarantine(quarantine: Place, order: Order, name: str) -> None:
    """Remove an image of this run's input and its reason: it was upscaled after all. What cannot be removed stays.

    Raises:
        StoreGone: the place does not answer.
    """
    kept = _kept_as(quarantine, order, name)
    for each in (kept, kept + REASON):
        with contextlib.suppress(CannotWrite):
            quarantine.delete(each)


def input_of(order: Order, name: str) -> str:
    """Return where an image of a run comes from."""
    return f"{order.input.rstrip('/')}/{name}"


def _kept_as(quarantine: Place, order: Order, name: str) -> str:
    """Return what an image is called in quarantine: its own name, unless another input's image has it there."""
    try:
        found = json.loads(quarantine.read(name + REASON))
    except StoreGone:
        raise
    except (StackctlError, ValueError):
        return name
    if not isinstance(found, dict) or found.get("input") == input_of(order, name):
        return name
    path = PurePosixPath(name)
    place = hashlib.sha256(order.input.encode(errors="surrogateescape")).hexdigest()[:8]
    return str(path.with_name(f"{path.stem}-{place}{path.suffix}"))


TRANSIENT = (NoSpace, StoreGone)
"""What passes: the same call may succeed later."""
