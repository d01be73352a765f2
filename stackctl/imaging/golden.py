"""Golden pairs: what a network must answer, computed once by torch in fp32 and replayed wherever it is loaded."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .decode import decode
from .errors import ImagingError
from .network import Network
from .options import Options
from .probe import probe
from .upscale import upscale


@dataclass(frozen=True)
class GoldenResult:
    """How a network's answers compare with the golden ones.

    Attributes:
        passed: every pair is within the manifest's tolerance.
        reason: why not, for a person; None when passed.
        worst_levels: the largest difference of a value, in levels of 8 bits.
        psnr_db: over all values of the worst pair, peak 255; infinite when equal.
    """

    passed: bool
    reason: str | None
    worst_levels: int
    psnr_db: float


Answer = Callable[[bytes], tuple[bytes, str]]
"""Upscales an encoded image; returns the encoded result and the precision used."""


def compare_golden(
    folder: Path, network: Network, *, precision: Literal["auto", "fp32", "bf16"] = "auto"
) -> GoldenResult:
    """Replay the pairs of `folder`/manifest.json through the network; see `compare_answers`."""

    def answer(data: bytes) -> tuple[bytes, str]:
        encoded, report = upscale(data, network, Options(format="png", precision=precision))
        return encoded, report.precision

    return compare_answers(folder, answer)


def compare_answers(folder: Path, answer: Answer) -> GoldenResult:
    """Replay the pairs of `folder`/manifest.json through whatever upscales encoded images.

    fp32 must keep within `fp32_max_levels` everywhere, bf16 above `bf16_min_psnr_db`. A folder that cannot be read,
    whose files are not those of the manifest, or an image that fails is a result that did not pass, never an exception.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        pairs = [_Pair.read(folder, entry) for entry in manifest["pairs"]]
        tolerance = manifest["tolerance"]
        max_levels, min_psnr = int(tolerance["fp32_max_levels"]), float(tolerance["bf16_min_psnr_db"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return _failed(f"The golden pairs cannot be read: {error}")
    if not pairs:
        return _failed("There is no golden pair.")
    worst, psnr = 0, math.inf
    for pair in pairs:
        try:
            levels, quality, used = _compare(pair, answer)
        except ImagingError as error:
            return _failed(f"{pair.name}: {error}")
        worst, psnr = max(worst, levels), min(psnr, quality)
        if used != "bf16" and levels > max_levels:
            reason = f"{pair.name} differs by {levels} levels in {used}; at most {max_levels} are accepted."
            return GoldenResult(passed=False, reason=reason, worst_levels=worst, psnr_db=psnr)
        if used == "bf16" and quality < min_psnr:
            reason = f"{pair.name} reaches {quality:.1f} dB in bf16; at least {min_psnr:g} are required."
            return GoldenResult(passed=False, reason=reason, worst_levels=worst, psnr_db=psnr)
    return GoldenResult(passed=True, reason=None, worst_levels=worst, psnr_db=psnr)


@dataclass(frozen=True)
class _Pair:
    name: str
    given: bytes
    expected: bytes

    @classmethod
    def read(cls, folder: Path, entry: dict[str, Any]) -> _Pair:
        given, expected = (folder / Path(entry[key]).name for key in ("input", "output"))
        pair = cls(given.name, given.read_bytes(), expected.read_bytes())
        for content, key in ((pair.given, "sha256_input"), (pair.expected, "sha256_output")):
            if hashlib.sha256(content).hexdigest() != entry[key]:
                raise ValueError(f"{entry[key.removeprefix('sha256_')]} is not the file that the manifest names")
        return pair


def _compare(pair: _Pair, answer: Answer) -> tuple[int, float, str]:
    """Return (largest difference, PSNR, precision used) of one pair."""
    encoded, used = answer(pair.given)
    actual, expected = (decode(data, probe(data)).colour for data in (encoded, pair.expected))
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ImagingError(f"the answer is {actual.shape} {actual.dtype}, not {expected.shape} {expected.dtype}")
    levels, quality = difference(actual, expected)
    return levels, quality, used


def difference(actual: Any, expected: Any) -> tuple[int, float]:
    """Return (largest difference in levels, PSNR in dB) of two uint8 arrays of one shape."""
    error = actual.astype(np.int64) - expected.astype(np.int64)
    mean_square = float(np.mean(error**2))
    return int(np.abs(error).max()), math.inf if mean_square == 0 else 10 * math.log10(255.0**2 / mean_square)


def _failed(reason: str) -> GoldenResult:
    return GoldenResult(passed=False, reason=reason, worst_levels=255, psnr_db=0.0)
