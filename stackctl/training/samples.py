"""Makes the sample photos of the demo: small crops of photos that no starter network was trained on.

python -m stackctl.training.samples --out flask_demo/static/samples
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import photos


@dataclass(frozen=True)
class Sample:
    """A crop of a photo, in the photo's own pixels, and the size it is shrunk to."""

    photo: str
    file: str
    box: tuple[int, int, int, int]
    """Left, top, right, bottom."""
    size: tuple[int, int]
    """Width, height."""


SAMPLES = (
    Sample("skimage:astronaut", "astronaut.jpg", (60, 0, 444, 448), (192, 224)),
    Sample("skimage:chelsea", "cat.jpg", (60, 20, 396, 272), (224, 168)),
    Sample("skimage:coffee", "coffee.png", (40, 20, 520, 380), (240, 180)),
    Sample("skimage:rocket", "rocket.jpg", (160, 0, 544, 427), (192, 214)),
    Sample("skimage:camera", "camera.png", (90, 30, 474, 414), (192, 192)),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write every sample into `--out`; return 0."""
    parser = argparse.ArgumentParser(prog="python -m stackctl.training.samples", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    for sample in SAMPLES:
        options: dict[str, Any] = (
            {"quality": 92, "subsampling": 0} if sample.file.endswith(".jpg") else {"optimize": True}
        )
        _picture(sample).save(out / sample.file, **options)
    return 0


def _picture(sample: Sample) -> Any:
    from PIL import Image

    image = Image.fromarray(photos.load(sample.photo))
    shrunk = image.resize(sample.size, Image.Resampling.LANCZOS, box=sample.box)
    return shrunk.convert("L") if sample.photo == "skimage:camera" else shrunk


if __name__ == "__main__":
    raise SystemExit(main())
