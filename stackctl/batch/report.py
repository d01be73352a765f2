"""What a run came to: counts, speed, what is in quarantine and why, the slowest images; as JSON and as a page."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.errors import StackctlError

if TYPE_CHECKING:
    from stackctl.batch.contact_sheet import Shown
    from stackctl.batch.manifest import Manifest, Record
    from stackctl.batch.order import Order
    from stackctl.batch.plan import Planned
    from stackctl.store.places import Place

SCHEMA = 1
JSON = "report.json"
HTML = "report.html"
MANIFEST = "manifest.jsonl.gz"
MOST_LISTED = 500
"""Images in quarantine that a report names; all of them are in the manifest."""
SLOWEST = 10


@dataclass(frozen=True)
class Figures:
    """Counts and speed of a run.

    Attributes:
        total: inputs that were there.
        done: results made.
        unchanged: results on hand that were found to be right.
        skipped: inputs that earlier runs had done.
        quarantined: inputs without a result.
        known_bad: inputs that earlier runs put into quarantine.
        left: inputs that were not tried to the end; where the run finished, they were removed meanwhile.
        seconds: of the whole run.
        work_seconds: of all workers together.
        images_per_s: results made in a second of the run.
        pixels_per_s: of their inputs.
        out_pixels_per_s: of the results.
        in_bytes: of the inputs.
        out_bytes: of the results.
    """

    total: int
    done: int
    unchanged: int
    skipped: int
    quarantined: int
    known_bad: int
    left: int
    seconds: float
    work_seconds: float
    images_per_s: float
    pixels_per_s: float
    out_pixels_per_s: float
    in_bytes: int
    out_bytes: int


@dataclass(frozen=True)
class Report:
    """The report of one run.

    Attributes:
        order: what the run was told to do.
        status: ``ok``, ``threshold``, ``cancelled``, ``failed`` or ``incomplete``.
        ended: ISO 8601, UTC.
        figures: counts and speed.
        reasons: images in quarantine by the code of their reason, the most frequent first.
        quarantined: the first of them.
        slowest: the images that took longest.
        left_out: why folders and images were not looked at.
    """

    order: Order
    status: str
    ended: str
    figures: Figures
    reasons: dict[str, int]
    quarantined: tuple[Record, ...]
    slowest: tuple[Record, ...]
    left_out: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Return the figures for MLflow."""
        return dict(asdict(self.figures))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        order = self.order
        return {
            "schema_version": SCHEMA,
            "run": order.run,
            "status": self.status,
            "created": order.created,
            "ended": self.ended,
            "input": order.shown("input"),
            "output": order.shown("output"),
            "quarantine": order.shown("quarantine"),
            "urls": {"input": order.input, "output": order.output, "quarantine": order.quarantine},
            "model": asdict(order.model),
            "options": {**asdict(order.options), "suffix": order.suffix},
            "figures": asdict(self.figures),
            "reasons": self.reasons,
            "not_looked_at": list(self.left_out),
            "quarantined": [_short(record) for record in self.quarantined],
            "slowest": [_short(record) for record in self.slowest],
        }


def build(
    manifest: Manifest, order: Order, status: str, planned: Planned, seconds: float, left_out: tuple[str, ...] = ()
) -> Report:
    """Return the report of a run that took ``seconds``."""
    found = manifest.summary(order.run)
    tried = found.done + found.unchanged + found.quarantined
    clock = max(seconds, 1e-3)
    figures = Figures(
        total=max(planned.total, planned.skipped + planned.known_bad + tried),  # a watching run finds more
        done=found.done,
        unchanged=found.unchanged,
        skipped=planned.skipped,
        quarantined=found.quarantined,
        known_bad=planned.known_bad,
        left=max(0, planned.pending - tried),
        seconds=round(seconds, 3),
        work_seconds=round(found.seconds, 3),
        images_per_s=round(found.done / clock, 3),
        pixels_per_s=round(found.pixels / clock, 1),
        out_pixels_per_s=round(found.out_pixels / clock, 1),
        in_bytes=found.in_bytes,
        out_bytes=found.out_bytes,
    )
    reasons = Counter(record.code for record in manifest.quarantined(order.run))
    return Report(
        order,
        status,
        datetime.now(UTC).isoformat(timespec="seconds"),
        figures,
        dict(reasons.most_common()),
        tuple(islice(manifest.quarantined(order.run), MOST_LISTED)),
        tuple(record for record in manifest.slowest(order.run, SLOWEST) if record.status == "done"),
        left_out,
    )


def write(
    folder: Path,
    manifest: Manifest,
    order: Order,
    status: str,
    planned: Planned,
    seconds: float,
    places: tuple[Place, Place] | None = None,
    *,
    left_out: tuple[str, ...] = (),
) -> Report:
    """Write everything that a run leaves into its folder, and return its report.

    Args:
        folder: of the run; gets ``report.json``, ``report.html``, ``manifest.jsonl.gz`` and ``contact-sheet.jpg``.
        manifest: with the run's records.
        order: what the run was told to do.
        status: how it ended.
        planned: what it had to do.
        seconds: that it took.
        places: of inputs and results, for the contact sheet; without them there is none.
        left_out: why folders and images were not looked at.

    Raises:
        OSError: a file could not be written; those before it are there.
    """
    from stackctl.batch.report_page import page

    report = build(manifest, order, status, planned, seconds, left_out)
    _write(folder / JSON, json.dumps(report.to_dict(), indent=2) + "\n")
    manifest.export(folder / MANIFEST, order.run)
    _write(folder / HTML, page(report, _sheet(folder, manifest, order, places)))
    return report


def _sheet(folder: Path, manifest: Manifest, order: Order, places: tuple[Place, Place] | None) -> list[Shown]:
    if places is None:
        return []
    from stackctl.batch import contact_sheet

    file = folder / contact_sheet.FILE
    try:
        return contact_sheet.write(file, manifest.done(order.run, contact_sheet.MOST), *places)
    except (StackctlError, OSError, MemoryError):  # a report without pictures is better than none
        return []


def _short(record: Record) -> dict[str, Any]:
    shown = ("name", "status", "code", "reason", "seconds", "pixels", "out_pixels", "output", "worker", "at")
    return {name: getattr(record, name) for name in shown}


def _write(file: Path, text: str) -> None:
    temporary = file.with_name(f".partial-{file.name}")
    temporary.write_bytes(text.encode(errors="backslashreplace"))  # names need not be UTF-8
    temporary.replace(file)
