"""The report of a run: its figures, its page, its pictures."""

from __future__ import annotations

import dataclasses
import gzip
import json
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from stackctl.batch import contact_sheet, report, telling
from stackctl.batch.manifest import Manifest, Record
from stackctl.batch.order import Order, OrderedModel
from stackctl.batch.plan import Planned
from stackctl.cli import batch_tables
from stackctl.store.places import open_place

RUN = "20261121-080501-ab12"
NASTY = "<b>née\udcff.png"
"""A name with markup and a byte that is no UTF-8."""


def order() -> Order:
    return Order(RUN, "2026-11-21T08:05:01Z", "/in", "/out", "/bad", OrderedModel("super-resolution", "3", "sha256:ab"))


def record(name: str, status: str = "done", **more: object) -> Record:
    fixed = {"size": 100, "stamp": "1", "recipe": "r", "model_digest": "sha256:ab", "run": RUN}
    return Record(name, f"{name}_out", status=status, **{**fixed, **more})  # type: ignore[arg-type]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    made = Manifest.open(tmp_path / "manifest.sqlite")
    made.append(
        [
            record("fast.png", seconds=1.0, pixels=1000, out_pixels=16000, output_size=300, output="fast_out.png"),
            record(NASTY, seconds=3.0, pixels=3000, out_pixels=48000, output_size=700, output="slow_out.png"),
            record("same.png", code="unchanged"),
            record("bad.png", "quarantined", code="corrupt_image", reason="It is <cut> short."),
            record("worse.png", "quarantined", code="corrupt_image", reason="It is cut short."),
            record("big.png", "quarantined", code="too_large", reason="It is too large."),
            record("earlier.png", run="another"),
        ]
    )
    return made


def written(folder: Path, manifest: Manifest, **more: object) -> report.Report:
    planned = Planned(total=10, pending=7, skipped=2, known_bad=1, orphans=0, cost=7000)
    return report.write(folder, manifest, order(), "ok", planned, 8.0, **more)  # type: ignore[arg-type]


def test_a_report_counts_what_the_run_did_and_how_fast(tmp_path: Path, manifest: Manifest) -> None:
    made = written(tmp_path, manifest)
    document = json.loads((tmp_path / "report.json").read_text())
    figures = document["figures"]
    assert {name: figures[name] for name in ("total", "done", "unchanged", "skipped", "quarantined", "left")} == {
        "total": 10, "done": 2, "unchanged": 1, "skipped": 2, "quarantined": 3, "left": 1,
    }  # fmt: skip
    assert (figures["images_per_s"], figures["pixels_per_s"], figures["out_bytes"]) == (0.25, 500, 1000)
    assert document["reasons"] == {"corrupt_image": 2, "too_large": 1}
    assert [entry["name"] for entry in document["slowest"]][:2] == [NASTY, "fast.png"]
    assert made.metrics()["done"] == 2
    with gzip.open(tmp_path / "manifest.jsonl.gz", "rt") as lines:
        assert len(list(lines)) == 6


class Reader(HTMLParser):
    """Collects text, and every address that the page would load something from."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_shows_names_as_text(tmp_path: Path, manifest: Manifest) -> None:
    written(tmp_path, manifest)
    reader = Reader()
    text = (tmp_path / "report.html").read_text()
    reader.feed(text)
    assert not reader.addresses
    assert not reader.tags & {"script", "link", "br"}
    assert "<b>née" in reader.text
    assert "It is <cut> short." in reader.text
    assert "super-resolution version 3" in reader.text
    assert "url(" not in text


def pictures(folder: Path, count: int) -> list[Record]:
    """Write inputs of many shapes and results of four times their size."""
    draw = np.random.default_rng(5)
    made = []
    for number in range(count):
        height, width = (int(side) for side in draw.integers(1, 90, 2))
        picture = draw.integers(0, 256, (height, width, 3), np.uint8)
        for place, scale in (("in", 1), ("out", 4)):
            (folder / place).mkdir(exist_ok=True)
            large = cv2.resize(picture, (width * scale, height * scale))
            cv2.imwrite(str(folder / place / f"{number}.png"), large)
        made.append(record(f"{number}.png", output=f"{number}.png", out_pixels=16 * height * width))
    return made


def test_the_contact_sheet_shows_what_can_be_shown(tmp_path: Path) -> None:
    records = pictures(tmp_path, 5)
    (tmp_path / "out" / "1.png").unlink()
    (tmp_path / "in" / "2.png").write_bytes(b"changed since")
    inputs, outputs = (open_place(str(tmp_path / name), None) for name in ("in", "out"))
    file = tmp_path / "sheet.jpg"
    assert [each.name for each in contact_sheet.write(file, records, inputs, outputs)] == ["0.png", "3.png", "4.png"]
    sheet = cv2.imread(str(file))
    assert sheet is not None
    assert sheet.std() > 20
    assert contact_sheet.write(tmp_path / "none.jpg", records[1:3], inputs, outputs) == []
    assert not (tmp_path / "none.jpg").exists()


def test_the_page_shows_each_picture_under_its_whole_name(tmp_path: Path, manifest: Manifest) -> None:
    records = pictures(tmp_path, 1)
    manifest.append(records)
    places = tuple(open_place(str(tmp_path / name), None) for name in ("in", "out"))
    written(tmp_path, manifest, places=places)
    reader = Reader()
    reader.feed((tmp_path / "report.html").read_text())
    assert [address[:23] for address in reader.addresses] == ["data:image/jpeg;base64,"] * 3
    assert records[0].name in reader.text


def test_a_person_reads_their_folders_and_a_program_the_urls_too(tmp_path: Path, manifest: Manifest) -> None:
    urls = {"input": "s3://inbound/.host/12", "output": "s3://outbound", "quarantine": "s3://quarantine"}
    folders = {"input_folder": "/photos", "output_folder": "/large", "quarantine_folder": "/bad"}
    travelling = dataclasses.replace(order(), **urls, **folders)  # type: ignore[arg-type]
    planned = Planned(total=10, pending=7, skipped=2, known_bad=1, orphans=0, cost=7000)
    report.write(tmp_path, manifest, travelling, "ok", planned, 8.0)
    document = json.loads((tmp_path / "report.json").read_text())
    assert (document["input"], document["output"], document["quarantine"]) == ("/photos", "/large", "/bad")
    assert document["urls"] == urls
    assert ".host" not in (tmp_path / "report.html").read_text()
    assert telling.params(travelling)["output"] == "/large"
    kept = json.loads(travelling.to_json())
    assert batch_tables.place(kept, "input") == "/photos", "the copy is gone when the run is over"
    assert batch_tables.place(kept, "output") == "/large (s3://outbound)"


def test_a_report_names_what_was_not_looked_at(tmp_path: Path, manifest: Manifest) -> None:
    written(tmp_path, manifest, left_out=("/in/<sub> cannot be read: Permission denied.",))
    assert json.loads((tmp_path / "report.json").read_text())["not_looked_at"] == [
        "/in/<sub> cannot be read: Permission denied."
    ]
    assert "/in/&lt;sub&gt; cannot be read: Permission denied." in (tmp_path / "report.html").read_text()
    written(tmp_path, manifest)
    assert "Not looked at" not in (tmp_path / "report.html").read_text()
