"""A batch without Dask whose workers, coordinator, store and disk fail at chosen moments; everything else is real."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stackctl.batch.cluster import Announced, Died, Lost, Message, Returned
from stackctl.batch.dispatch import Dispatch, Verdict
from stackctl.batch.events import EventLog
from stackctl.batch.listing import inputs
from stackctl.batch.manifest import Manifest, Record
from stackctl.batch.order import Order, OrderedModel
from stackctl.batch.plan import ImageTask, Plan
from stackctl.batch.task import Outcome, Upscaled, Workbench
from stackctl.errors import StackctlError
from stackctl.imaging import CorruptImage
from stackctl.store.errors import CannotWrite, NoSpace, StoreGone
from stackctl.store.files import PARTIAL, Files
from stackctl.store.places import Listed

Kind = Literal["worker", "zombie", "coordinator", "machine", "scheduler", "store", "full"]


class WorkerDied(BaseException):
    """A worker process ends here."""


class CoordinatorDied(BaseException):
    """The coordinator, or all processes at once, end here."""


class MachineDied(CoordinatorDied):
    """All processes end here, and the coordinator has heard with what its workers had begun."""


@dataclass
class Chaos:
    """Lets something fail after so many steps of whoever takes one.

    Attributes:
        schedule: (steps until then, what fails), one after the other.
    """

    schedule: list[tuple[int, Kind]] = field(default_factory=list)
    left: int = -1
    lost: bool = False

    def step(self, who: Literal["worker", "coordinator"]) -> None:
        """Take a step, at which something may fail."""
        if not self.schedule:
            return
        wait, kind = self.schedule[0]
        self.left = wait if self.left < 0 else self.left - 1
        if self.left > 0:
            return
        self.left = -1
        del self.schedule[0]
        match kind:
            case "coordinator":
                raise CoordinatorDied
            case "machine":
                raise MachineDied
            case "worker" | "zombie" if who == "worker":
                raise WorkerDied(kind)
            case "scheduler":
                self.lost = True
            case "store":
                raise StoreGone("The store does not answer.")
            case "full":
                raise NoSpace("The disk is full.")


@dataclass(frozen=True)
class ShakyFiles(Files):
    """A folder whose writers can be killed between any two steps."""

    chaos: Chaos = field(default_factory=Chaos)
    who: Literal["worker", "coordinator"] = "worker"
    writable: Callable[[str], bool] = lambda _: True

    def read(self, name: str) -> bytes:
        self.chaos.step(self.who)
        return super().read(name)

    def write(self, name: str, data: bytes) -> Listed:
        if not self.writable(name):
            raise CannotWrite(f"{name} cannot be written: Permission denied.")
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        torn = (self.root / name).parent / f"{PARTIAL}{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        torn.write_bytes(data[: len(data) // 2])
        self.chaos.step(self.who)  # what dies here leaves half a file behind
        torn.unlink()
        listed = super().write(name, data)
        self.chaos.step(self.who)
        return listed


class ShakyManifest:
    """A manifest whose writer can be killed before and after each transaction."""

    def __init__(self, inner: Manifest, chaos: Chaos) -> None:
        self._inner = inner
        self._chaos = chaos

    def append(self, records: Sequence[Record]) -> None:
        self._chaos.step("coordinator")
        self._inner.append(records)
        with contextlib.suppress(StoreGone, NoSpace):  # the transaction is done
            self._chaos.step("coordinator")

    def charge(self, name: str, why: str, run: str, stamp: str) -> int:
        self._chaos.step("coordinator")
        return self._inner.charge(name, why, run, stamp)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


class FakeCluster:
    """Workers that do their batches one after the other within ``messages``."""

    def __init__(self, scene: Scene, chaos: Chaos, workers: int = 2) -> None:
        self._scene = scene
        self._chaos = chaos
        self._queue: list[tuple[int, Sequence[ImageTask]]] = []
        self._said: list[Message] = []
        self._zombies: list[tuple[int, Sequence[ImageTask]]] = []
        self._born = 0
        self._dying = False
        self.draining = False
        self.workers = workers
        self.connected = True

    def submit(self, number: int, images: Sequence[ImageTask]) -> None:
        self._queue.append((number, images))

    def forget(self, number: int) -> None:
        self._queue = [batch for batch in self._queue if batch[0] != number]

    def messages(self, timeout: float) -> list[Message]:
        if self._dying:
            raise CoordinatorDied
        self._scene.now += max(timeout, 0.01)
        self._chaos.step("coordinator") if not self._chaos_is_transient() else None
        if self._chaos.lost:
            self._chaos.lost = False
            self._zombies += self._queue[:1]  # a worker that does not know yet that nobody listens
            self._queue, self._said = [], []
            return [Lost("The scheduler is gone.")]
        if self._zombies:
            self._work(*self._zombies.pop(), heard=False)
        elif self._queue:
            self._work(*self._queue.pop(0), heard=True)
        said, self._said = self._said, []
        return said

    def drain(self) -> None:
        self.draining = True

    def close(self) -> None:
        self._queue = []

    def _chaos_is_transient(self) -> bool:
        return bool(self._chaos.schedule) and self._chaos.schedule[0][1] in {"store", "full"}

    def _work(self, number: int, images: Sequence[ImageTask], *, heard: bool) -> None:
        self._born += 1
        worker = f"worker-{self._born}"

        def announce(finished: list[Outcome], begun: list[str]) -> None:
            if heard:
                self._said.append(Announced(number, worker, list(finished), list(begun)))

        try:
            self._scene.bench(self._chaos).process(images, announce, lambda: self.draining)
        except MachineDied:
            self._dying = True
        except StackctlError as error:
            self._said.append(Returned(number, error))
        except WorkerDied as death:
            if death.args and death.args[0] == "zombie":
                self._zombies.append((number, images))  # taken for dead, it does everything all the same
            if heard:
                self._said += [Died(worker), Returned(number)]
        else:
            if heard:
                self._said.append(Returned(number))


class Deaf:
    """Nobody is told how batches go."""

    def submitted(self, batch_number: int, images: int, cost: float) -> None: ...

    def finished(self, batch_number: int, figures: dict[str, float]) -> None: ...

    def progress(self, figures: dict[str, float | None]) -> None: ...


class Scene:
    """Folders of inputs and results, and runs between them.

    An input that begins with ``bad`` is no image, one that begins with ``kill`` ends its worker, one
    that begins with ``fatal`` takes the whole run along, as often as ``fatal`` says, and one that begins with ``odd``
    fails without a word on why, as often as ``odd`` says.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.now = 0.0
        self.upscaled: Counter[str] = Counter()
        self.fatal = self.odd = 1000
        self.writable: Callable[[str], bool] = lambda _: True
        for part in ("in", "out", "bad", "run"):
            (folder / part).mkdir(parents=True)
        for name in names:
            file = folder / "in" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"{name} as it is".encode() * 20)
        self.runs = 0

    def bench(self, chaos: Chaos) -> Workbench:
        """Return a worker's workbench."""

        def upscale(image: ImageTask, data: bytes) -> Upscaled:
            if image.name.startswith("bad"):
                raise CorruptImage("It is no image.")
            if image.name.startswith("kill"):
                raise WorkerDied
            if image.name.startswith("odd") and self.odd:
                self.odd -= 1
                raise RuntimeError("It did not work.")
            if image.name.startswith("fatal") and self.fatal:
                self.fatal -= 1
                raise MachineDied
            self.upscaled[image.name] += 1
            with contextlib.suppress(StoreGone, NoSpace):  # no place is asked here
                chaos.step("worker")
            return Upscaled(data[::-1], "png", len(data), len(data))

        first, third = (ShakyFiles(self.folder / part, chaos=chaos) for part in ("in", "bad"))
        second = ShakyFiles(self.folder / "out", chaos=chaos, writable=self.writable)
        return Workbench(self.order(), upscale, (first, second, third), final=False)

    def order(self, *, retry_failed: bool = False, **others: str) -> Order:
        first, second, third = (str(self.folder / part) for part in ("in", "out", "bad"))
        model = OrderedModel("m", "1", "sha256:aa")
        return Order(f"run-{self.runs}", "now", first, second, third, model, retry_failed=retry_failed, **others)  # type: ignore[arg-type]

    def run(
        self, chaos: Chaos | None = None, *, stopping: int = 0, retry_failed: bool = False, **others: str
    ) -> Verdict:
        """Do one run, which ends as a coordinator's does; ``stopping``: it is asked to end after so many looks."""
        chaos = chaos or Chaos()
        self.runs += 1
        order = self.order(retry_failed=retry_failed, **others)
        places = [Files(self.folder / part) for part in ("in", "out", "bad")]
        for place in places[1:]:
            place.sweep()
        events = EventLog(self.folder / "run" / "events.jsonl")
        looks = 0

        def stop() -> bool:
            nonlocal looks
            looks += 1
            return bool(stopping) and looks > stopping

        with Manifest.open(self.folder / "manifest.sqlite") as manifest:
            manifest.suspect_started()
            found = inputs(*places)
            plan = Plan.make(
                manifest, found, places[1].list(), order.recipe, folder=self.folder / "run", retry_failed=retry_failed
            )
            try:
                shaky = [ShakyFiles(self.folder / part, chaos=chaos, who="coordinator") for part in ("in", "bad")]
                return Dispatch(
                    order,
                    ShakyManifest(manifest, chaos),  # type: ignore[arg-type]
                    FakeCluster(self, chaos),
                    (shaky[0], shaky[1]),
                    events,
                    Deaf(),
                    stopping=stop,
                    clock=lambda: self.now,
                ).run(plan)
            finally:
                plan.close()
                events.close()

    def files(self, part: str) -> dict[str, str]:
        """Return the digest of every file in a folder, hidden ones too; the reasons' own content is left out."""
        root = self.folder / part
        return {
            file.relative_to(root).as_posix(): ""
            if file.suffix == ".json"
            else hashlib.sha256(file.read_bytes()).hexdigest()
            for file in root.rglob("*")
            if file.is_file()
        }
