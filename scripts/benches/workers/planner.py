"""The plan and the manifest of a batch over a listing that is made up: how much memory and time they take."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from calls import answer_calls, peak_mib

from stackctl.batch.manifest import Manifest, Record
from stackctl.batch.plan import ImageTask, Plan
from stackctl.store.places import Listed

GROUP = 256


def _inputs(count: int) -> Iterator[Listed]:
    for number in range(count):
        yield Listed(f"{number % 997:03d}/photo-{number:07d}.jpg", 100_000 + number % 5000, str(number))


def _outputs(count: int) -> Iterator[Listed]:
    for number in range(count):
        yield Listed(f"{number % 997:03d}/photo-{number:07d}_out.jpg", 1_000_000 + number, f"o{number}")


def _record(task: ImageTask) -> Record:
    number = int(task.stamp)
    output = f"{task.output_stem}.jpg"
    return Record(
        task.name, task.output_stem, task.size, task.stamp, "recipe", "sha256:ab", "done", "a" * 64, output, "b" * 64,
        1_000_000 + number, f"o{number}", seconds=0.1, pixels=10, out_pixels=160, worker="w", run="r",
    )  # fmt: skip


def batch(count: int) -> dict[str, float]:
    """Plan ``count`` inputs, hand all of them out, keep their records, and plan again when all are done."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Manifest.open(folder / "manifest.sqlite") as manifest:
            began = time.perf_counter()
            plan = Plan.make(manifest, _inputs(count), iter(()), "recipe", folder=folder)
            pending = plan.planned.pending
            while found := plan.next_batch(10**12, GROUP):
                manifest.append([_record(task) for task in found.images])
            plan.close()
            planned = time.perf_counter()
            again = Plan.make(manifest, _inputs(count), _outputs(count), "recipe", folder=folder)
            skipped = again.planned.skipped
            again.close()
            rerun = time.perf_counter()
    if pending != count or skipped != count:
        message = f"{pending} of {count} were planned, {skipped} were skipped the second time"
        raise AssertionError(message)
    return {"peak_mib": peak_mib(), "seconds": planned - began, "rerun_per_s": count / (rerun - planned)}


if __name__ == "__main__":
    answer_calls({"batch": batch})
