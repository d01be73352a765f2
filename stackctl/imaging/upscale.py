"""The straight line from encoded bytes to encoded bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np

from .backends import Levels
from .decode import decode
from .encode import choose_format, encode
from .errors import ImageTooLarge
from .memory import peak_bytes
from .network import Network
from .options import Limits, Options, Precision
from .probe import ImageInfo, probe
from .resample import resize
from .tiling import plan


@dataclass(frozen=True)
class Report:
    """What was done to one image.

    Attributes:
        width: of the input in pixels, upright.
        height: of the input in pixels, upright.
        out_width: of the output in pixels.
        out_height: of the output in pixels.
        mode: `grey`, `grey_alpha`, `rgb` or `rgba`.
        bit_depth: 8 or 16, of the decoded input.
        source_format: the input's format.
        format: the output's format.
        scale: the network's scale.
        backend: what ran the network.
        precision: `fp32` or `bf16`.
        tiles: how many tiles were run.
        exact: tiles carried the whole receptive field, so there can be no seam.
        dropped: what the output's format could not hold: `alpha`, `depth`, `icc`, `exif`.
        seconds: wall time per phase: probe, decode, infer, resample, encode, total.
    """

    width: int
    height: int
    out_width: int
    out_height: int
    mode: str
    bit_depth: int
    source_format: str
    format: str
    scale: int
    backend: str
    precision: str
    tiles: int
    exact: bool
    dropped: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold; seconds are rounded to 0.1 ms."""
        values = asdict(self)
        values["dropped"] = list(self.dropped)
        values["seconds"] = {phase: round(spent, 4) for phase, spent in self.seconds.items()}
        return values


class _Clock:
    """Adds up wall time per phase of one call."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun

    def finish(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self.begun}


def upscale(data: bytes, network: Network, options: Options | None = None) -> tuple[bytes, Report]:
    """Return the upscaled image, encoded, and the report.

    Keeps nothing between calls; any number of threads may call it.

    Raises:
        ImagingError: one of its kinds; see `errors`.
    """
    options = options or Options()
    clock = _Clock()
    with clock.phase("probe"):
        info = probe(data, options.limits)
        size = _output_size(info, options, network.scale)
        target = choose_format(options.output_format, info.format, *size)
        _check_memory(info, options, network, target)
        backend = network.backend_for(cast("Precision", options.precision))
    with clock.phase("decode"):
        image = decode(data, info)
    with clock.phase("infer"):
        tiles = plan(info.height, info.width, network.halo, options.tile)
        colour = _run(image.colour, tiles, network, cast("Precision", options.precision))
    with clock.phase("resample"):
        colour = resize(colour, *size)
        alpha = None if image.alpha is None else resize(image.alpha[:, :, None], *size)[:, :, 0]
    with clock.phase("encode"):
        encoded = encode(colour, alpha, image.metadata, to=target, quality=options.quality)
    report = Report(
        width=info.width,
        height=info.height,
        out_width=size[1],
        out_height=size[0],
        mode=info.mode,
        bit_depth=info.bit_depth,
        source_format=info.format,
        format=encoded.format,
        scale=network.scale,
        backend=backend.name,
        precision=backend.precision,
        tiles=len(tiles),
        exact=tiles.exact,
        dropped=encoded.dropped,
        seconds=clock.finish(),
    )
    return encoded.data, report


def _output_size(info: ImageInfo, options: Options, scale: int) -> tuple[int, int]:
    """Return (height, width) of the output; both it and what the network makes must keep within the limit."""
    factor = options.outscale or scale
    height, width = max(1, round(info.height * factor)), max(1, round(info.width * factor))
    limits: Limits = options.limits
    largest = max(height * width, info.height * info.width * scale * scale)
    if largest > limits.max_output_pixels:
        raise ImageTooLarge(
            f"{info.width}×{info.height} pixels would become {largest:,}; at most {limits.max_output_pixels:,} are made"
        )
    return height, width


def _check_memory(info: ImageInfo, options: Options, network: Network, target: str) -> None:
    allowed = options.limits.max_memory
    needed = peak_bytes(info, scale=network.scale, halo=network.halo, outscale=options.outscale, to=target)
    if allowed and needed > allowed:
        raise ImageTooLarge(
            f"{info.width}×{info.height} pixels would need about {needed / 2**20:,.0f} MiB of memory;"
            f" at most {allowed / 2**20:,.0f} MiB may be used"
        )


def _run(colour: Levels, tiles: Any, network: Network, precision: Precision) -> Levels:
    """Return the network's answer for H×W×C levels, assembled from tiles."""
    height, width, channels = colour.shape
    scale = network.scale
    if len(tiles) == 1:
        return network.infer(colour, precision)
    canvas: Levels = np.empty((height * scale, width * scale, channels), dtype=colour.dtype)
    for row, column in tiles:
        answer = network.infer(colour[row.start : row.stop, column.start : column.stop], precision)
        top, left = (row.first - row.start) * scale, (column.first - column.start) * scale
        bottom, right = (row.last - row.start) * scale, (column.last - column.start) * scale
        canvas[row.first * scale : row.last * scale, column.first * scale : column.last * scale] = answer[
            top:bottom, left:right
        ]
    return canvas
