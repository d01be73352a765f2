"""One batch in a worker: each image read, upscaled and written, and told of as soon as it is safe. Knows no Dask."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from stackctl.batch.faults import (
    DOUBTFUL,
    TRANSIENT,
    Fault,
    NothingCanBeWritten,
    explain,
    put_into_quarantine,
)
from stackctl.batch.in_time import QUICK_SECONDS, Answer, NoAnswer, in_time
from stackctl.batch.naming import extension, format_of
from stackctl.batch.network import Parcel
from stackctl.batch.order import Order
from stackctl.errors import StackctlError
from stackctl.store.errors import CannotWrite, NoSpace, NotFound
from stackctl.store.places import Place, is_url, open_place

if TYPE_CHECKING:
    from stackctl.batch.plan import ImageTask, Known
    from stackctl.imaging import Network, Options

SMALL_BYTES = 64 * 1024
"""Images up to this size are announced in groups."""
GROUP_SECONDS = 0.05
GROUP_MOST = 32
_PROBE = ".stackctl-probe"

Status = Literal["done", "unchanged", "quarantined", "failed", "gone", "later"]


class Outcome(NamedTuple):
    """What became of one image in a worker.

    Attributes:
        name: of the input.
        status: ``done``; ``unchanged`` (the result on hand is right); ``quarantined``; ``failed`` (perhaps through no
            fault of the image's); ``gone`` (the input was removed); ``later`` (it must be tried again: ``reason`` says
            why, empty where it was not begun).
        input_digest: SHA-256 of the input's bytes.
        output: name of the result.
        output_digest: SHA-256 of its bytes.
        output_size: its bytes.
        output_stamp: as its place lists it.
        code: why it was quarantined, for machines.
        reason: why it was quarantined or must be tried again, for people.
        seconds: that it took.
        pixels: of the input.
        out_pixels: of the result.
    """

    name: str
    status: Status
    input_digest: str = ""
    output: str = ""
    output_digest: str = ""
    output_size: int = 0
    output_stamp: str = ""
    code: str = ""
    reason: str = ""
    seconds: float = 0.0
    pixels: int = 0
    out_pixels: int = 0


class Upscaled(NamedTuple):
    """A result: encoded bytes, their format, and the pixels of input and result."""

    data: bytes
    format: str
    pixels: int
    out_pixels: int


Upscaler = Callable[["ImageTask", bytes], Upscaled]
Announce = Callable[[list[Outcome], list[str]], None]
"""Told of images that are finished and of those that are begun next; when it returns both have left the process."""


@dataclass(frozen=True)
class Job:
    """What a worker must know of a run.

    Attributes:
        order: the run's order.
        parcel: its network; None for the network that does nothing.
        threads: of inference; None is what the machine grants.
        max_memory: bytes that one image may need; 0 is no limit.
        environment_hash: that the worker's environment must have, or None.
    """

    order: Order
    parcel: Parcel | None
    threads: int | None = None
    max_memory: int = 0
    environment_hash: str | None = None


class Workbench:
    """What a worker process keeps between batches: the places and the network."""

    def __init__(
        self,
        order: Order,
        upscaler: Upscaler,
        places: tuple[Place, Place, Place],
        *,
        worker: str = "",
        most_bytes: int = 0,
        limited: Callable[[float], object] = lambda _: None,
        end: Callable[[], object] | None = None,
        final: bool = True,
    ) -> None:
        """Keep what is given.

        Args:
            order: the run's order.
            upscaler: makes results.
            places: of inputs, results and quarantine.
            worker: this worker's name.
            most_bytes: of an input that is read at all; 0 is any size.
            limited: called with the seconds after which this process must be ended, 0 to take that back.
            end: called to end this process now: the image in its hands cannot be read.
            final: nobody tries an image again elsewhere: what fails for any reason is quarantined.
        """
        self._order = order
        self._upscaler = upscaler
        self._input, self._output, self._quarantine = places
        self._worker = worker
        self._most_bytes = most_bytes
        self._limited = limited
        self._end = end or end_process
        self._final = final
        self._pace = GROUP_SECONDS  # seconds per image, as the last ones took

    @classmethod
    def open(cls, job: Job, *, worker: str = "", final: bool = True) -> Workbench:
        """Open the places and load the network.

        Raises:
            StackctlError: a place cannot be opened.
            imaging.ImagingError: the network cannot be loaded, or an option is out of its range.
        """
        from stackctl import imaging

        limits = imaging.Limits(max_memory=job.max_memory)
        if job.parcel is None:
            return cls(job.order, unscaled, open_places(job.order), worker=worker, final=final)
        options = imaging.Options(**job.order.imaging_options, limits=limits)
        upscaler = upscaler_of(job.parcel.load(job.threads), options)
        return cls(
            job.order,
            upscaler,
            open_places(job.order),
            worker=worker,
            most_bytes=limits.max_bytes,
            limited=end_process_after,
            final=final,
        )

    def process(
        self, images: Sequence[ImageTask], announce: Announce, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """Work on the images of a batch one after the other, and tell of each.

        Images that are not begun, because ``stopping`` says so or because an earlier one met a full disk or a store
        that does not answer, are told of as ``later``.
        """
        waiting = list(reversed(images))
        finished: list[Outcome] = []
        while waiting:
            group = self._next_group(waiting)
            if stopping():
                finished += [Outcome(image.name, "later") for image in group]
                continue
            announce(finished, [image.name for image in group])
            finished = []
            for image in group:
                begun = time.perf_counter()
                try:
                    outcome = self.one(image)
                except StackctlError:
                    announce(finished, [])  # what was done before is done
                    raise
                self._pace += 0.3 * (time.perf_counter() - begun - self._pace)
                finished.append(outcome)
                if outcome.status == "later":
                    left = group[len(finished) :] + waiting[::-1]
                    announce(finished + [Outcome(other.name, "later") for other in left], [])
                    return
        announce(finished, [])

    def one(self, image: ImageTask) -> Outcome:
        """Work on one image; whatever is wrong with it becomes its outcome."""
        begun = time.perf_counter()
        try:
            outcome = self._try(image)
        except TRANSIENT as error:
            outcome = Outcome(image.name, "later", reason=error.message)
        return outcome._replace(seconds=round(time.perf_counter() - begun, 6))

    def _try(self, image: ImageTask) -> Outcome:
        if self._most_bytes and image.size > self._most_bytes:
            text = f"The image has {image.size:,} bytes; at most {self._most_bytes:,} are accepted."
            return self._refuse(image, Fault("too_large", text), None)
        try:
            data = self._ask(self._input, partial(self._input.read, image.name))
        except NotFound:
            return Outcome(image.name, "gone", reason="It was removed before it was read.")
        except TRANSIENT as error:
            if isinstance(error, NoAnswer):
                self._end_where_only_this_hangs(image)
            raise
        except StackctlError as error:
            return self._refuse(image, Fault("unreadable", error.message), None)
        digest = hashlib.sha256(data).hexdigest()
        if image.known and image.known.input_digest == digest and (found := self._unchanged(image, image.known)):
            return found
        try:
            made = self._made(image, data)
        except Exception as error:  # noqa: BLE001 - one image must never end the others
            fault = explain(error)
            if fault.code in DOUBTFUL and not self._final:
                return Outcome(image.name, "failed", digest, code=fault.code, reason=fault.reason)
            return self._refuse(image, fault, data, digest)
        return self._keep(image, made, data, digest)

    def _made(self, image: ImageTask, data: bytes) -> Upscaled:
        """Upscale; what need be no fault of the image's (the machine's memory was short, say) is tried once more."""
        self._limited(self._order.image_timeout)
        try:
            try:
                return self._upscaler(image, data)
            except Exception as error:
                if explain(error).code not in DOUBTFUL:
                    raise
            return self._upscaler(image, data)
        finally:
            self._limited(0)

    def _keep(self, image: ImageTask, made: Upscaled, data: bytes, digest: str) -> Outcome:
        name = image.output_stem + extension(image.name, made.format)
        try:
            written = self._ask(self._output, partial(self._output.write, name, made.data))
        except NoSpace:
            raise
        except CannotWrite as error:
            self._see_that_others_can_be_written(error)
            return self._refuse(image, Fault("cannot_write", error.message), data, digest)
        return Outcome(
            image.name,
            "done",
            digest,
            name,
            hashlib.sha256(made.data).hexdigest(),
            written.size,
            written.stamp,
            pixels=made.pixels,
            out_pixels=made.out_pixels,
        )

    def _unchanged(self, image: ImageTask, known: Known) -> Outcome | None:
        """Return that the result on hand is right, if it is: only stamps had changed."""
        try:
            found = self._ask(self._output, partial(self._output.stat, known.output))
            if found is None:
                return None
            result = self._ask(self._output, partial(self._output.read, known.output))
            if hashlib.sha256(result).hexdigest() != known.output_digest:
                return None
        except TRANSIENT:
            raise
        except StackctlError:  # gone, or not to be read: it is made anew
            return None
        return Outcome(
            image.name,
            "unchanged",
            known.input_digest,
            known.output,
            known.output_digest,
            found.size,
            found.stamp,
        )

    def _refuse(self, image: ImageTask, fault: Fault, data: bytes | None, digest: str = "") -> Outcome:
        kept = partial(
            put_into_quarantine,
            self._quarantine,
            self._order,
            image.name,
            data,
            fault,
            worker=self._worker,
            input_digest=digest,
        )
        fault = self._ask(self._quarantine, kept)
        return Outcome(image.name, "quarantined", digest, code=fault.code, reason=fault.reason)

    def _ask(self, place: Place, call: Callable[[], Answer]) -> Answer:
        """Ask a place for no longer than upscaling an image may take."""
        return in_time(self._order.image_timeout, place.url, call)

    def _end_where_only_this_hangs(self, image: ImageTask) -> None:
        """End this process where the place of inputs answers, but an image cannot be read: the death names the image.

        Raises:
            StoreGone: nothing answers there, and no image is to blame.
        """
        in_time(QUICK_SECONDS, self._input.url, partial(self._input.stat, image.name))
        self._end()

    def _see_that_others_can_be_written(self, error: CannotWrite) -> None:
        """Do nothing where another result can be written: then it is this one's name that cannot be.

        Raises:
            NoSpace, StoreGone: nothing can be written now.
            NothingCanBeWritten: nothing can be written at all.
        """
        try:
            self._ask(self._output, partial(self._output.write, _PROBE, b""))
            self._output.delete(_PROBE)
        except TRANSIENT:
            raise
        except StackctlError:
            raise NothingCanBeWritten(
                f"No result can be written: {error.message}",
                "Let the user of the workers write there, or choose another --output. What is done is kept.",
            ) from error

    def _next_group(self, waiting: list[ImageTask]) -> list[ImageTask]:
        """Take the images off the end of ``waiting`` that are announced together: small ones, about 50 ms of them.

        Of a group that a worker died on it is not known which image it was: they are tried one by one then.
        """
        group = [waiting.pop()]
        most = min(GROUP_MOST, int(GROUP_SECONDS / max(self._pace, 1e-6)))
        while waiting and len(group) < most and max(group[-1].size, waiting[-1].size) <= SMALL_BYTES:
            group.append(waiting.pop())
        return group


def open_places(order: Order) -> tuple[Place, Place, Place]:
    """Return the places of inputs, results and quarantine as this process's environment reaches them."""
    from stackctl.stack import Stack

    urls = (order.input, order.output, order.quarantine)
    stack = Stack.from_env() if any(is_url(url) for url in urls) else None
    first, second, third = (open_place(url, stack) for url in urls)
    return first, second, third


def upscaler_of(network: Network, options: Options) -> Upscaler:
    """Return what upscales with a network."""
    from stackctl import imaging

    def upscale(_: ImageTask, data: bytes) -> Upscaled:
        made, report = imaging.upscale(data, network, options)
        return Upscaled(made, report.format, report.width * report.height, report.out_width * report.out_height)

    return upscale


def unscaled(image: ImageTask, data: bytes) -> Upscaled:
    """Return the image as it is: what a run costs beside the upscaling."""
    return Upscaled(data, format_of(image.name) or "png", 1, 1)


def end_process_after(seconds: float) -> None:
    """Have the kernel end this process after ``seconds``, whatever it is doing then; 0 takes that back."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def end_process() -> None:
    """End this process at once, as a crash would."""
    os.kill(os.getpid(), signal.SIGKILL)
