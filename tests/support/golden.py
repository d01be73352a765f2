"""The starter versions' golden pairs, and the equality that the image model contract asks for."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from stackctl import checkpoints

MAX_LEVELS_FP32 = 1


@dataclass(frozen=True)
class GoldenPair:
    """An input and the output that torch computed for it in fp32."""

    input: bytes
    output: bytes


def starter_pair(version: int, number: int = 0) -> GoldenPair:
    """Return one golden pair of a starter version."""
    folder = Path(checkpoints.__file__).parent / "starter" / f"v{version}" / "golden"
    pair = json.loads((folder / "manifest.json").read_text())["pairs"][number]
    return GoldenPair((folder / pair["input"]).read_bytes(), (folder / pair["output"]).read_bytes())


def worst_levels(one: bytes, other: bytes) -> int:
    """Return the largest difference between two encoded images of one shape, in 8-bit levels."""
    left, right = (np.asarray(Image.open(io.BytesIO(data)), dtype=np.int16) for data in (one, other))
    assert left.shape == right.shape, f"{left.shape} against {right.shape}"
    return int(np.abs(left - right).max())
