"""The straight line from encoded bytes to encoded bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np

from .backends import Backend, Levels
from .bands import Direct, Resized, Rows, fill, fill_alpha, pad
from .decode import decode
from .encode import Encoding, choose_format
from .errors import ImageTooLarge
from .memory import peak_bytes
from .network import Network
from .options import Limits, Options, Precision
from .probe import ImageInfo, probe
from .tiling import Plan, plan

PHASES = ("probe", "decode", "infer", "assemble", "resample", "encode")
"""What `Report.seconds` tells apart, beside `total`."""


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
        tiles: how many tiles were run for the colour.
        tile: height and width in input pixels of one tile with its halo.
        exact: tiles carried the whole receptive field, so there can be no seam.
        dropped: what the output's format could not hold: `alpha`, `depth`, `colour` (a PNG's chunks), `icc`, `exif`.
        seconds: wall time per phase: probe, decode, infer, assemble (copies between tiles and the output), resample,
            encode (what was left of it after inference), total.
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
    tile: tuple[int, int]
    exact: bool
    dropped: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold; seconds are rounded to 0.1 ms."""
        values = asdict(self)
        values["dropped"], values["tile"] = list(self.dropped), list(self.tile)
        values["seconds"] = {phase: round(spent, 4) for phase, spent in self.seconds.items()}
        return values


class _Clock:
    """Adds up wall time per phase of one call; a phase within another one is taken out of the outer one."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self._inner = [0.0]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.seconds[name] += spent - self._inner.pop()
            self._inner[-1] += spent

    def finish(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self.begun}


class _TimedRows:
    """Counts what another size costs as resampling."""

    def __init__(self, rows: Rows, clock: _Clock) -> None:
        self._rows, self._clock = rows, clock

    def rows(self, first: int, last: int) -> Levels:
        return self._rows.rows(first, last)

    def done(self, last: int) -> int:
        with self._clock.phase("resample"):
            return self._rows.done(last)


def upscale(data: bytes, network: Network, options: Options | None = None) -> tuple[bytes, Report]:
    """Return the upscaled image, encoded, and the report.

    Keeps nothing between calls; any number of threads may call it.

    Raises:
        ImagingError: one of its kinds; see `errors`.
    """
    try:
        return _upscale(data, network, options or Options())
    except MemoryError as error:
        raise ImageTooLarge(f"There is not enough memory to upscale the image: {error}") from error


def _upscale(data: bytes, network: Network, options: Options) -> tuple[bytes, Report]:
    clock = _Clock()
    with clock.phase("probe"):
        info = probe(data, options.limits)
        size = _output_size(info, options, network.scale)
        target = choose_format(options.output_format, info.format, *size)
        _check_memory(info, options, network, target)
        backend = network.backend_for(cast("Precision", options.precision))
    with clock.phase("decode"):
        image = decode(data, info)
    canvas: Levels = np.empty((*size, info.channels), image.colour.dtype)
    work = _Work(network, backend, options, clock)
    if image.alpha is not None:
        work.alpha(image.alpha[:, :, None], canvas[:, :, -1:])
    coding = Encoding(canvas, image.metadata, to=target, quality=options.quality, threads=network.threads)
    with coding:
        tiles = work.colour(image.colour, canvas[:, :, : image.colour.shape[2]], coding.ready)
        del image
        with clock.phase("encode"):
            encoded = coding.finish()
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
        tile=tiles.shape,
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
    needed = peak_bytes(
        info,
        scale=network.scale,
        halo=network.halo,
        outscale=options.outscale,
        to=target,
        multiple=network.multiple,
        bytes_per_pixel=network.bytes_per_pixel,
    )
    if allowed and needed > allowed:
        raise ImageTooLarge(
            f"{info.width}×{info.height} pixels would need about {needed / 2**20:,.0f} MiB of memory;"
            f" at most {allowed / 2**20:,.0f} MiB may be used"
        )


class _Work:
    """Fills the canvas of one call."""

    def __init__(self, network: Network, backend: Backend, options: Options, clock: _Clock) -> None:
        self._network, self._backend, self._options, self._clock = network, backend, options, clock

    def colour(self, levels: Levels, canvas: Levels, ready: Callable[[int], None] = lambda _: None) -> Plan:
        """Run the network on H×W×C levels into the canvas; return the tiles.

        `ready` is told how many rows of the canvas are final.
        """
        network = self._network
        height, width = levels.shape[0] * network.scale, levels.shape[1] * network.scale
        padded = pad(levels, network.multiple)
        tiles = plan(
            padded.shape[0],
            padded.shape[1],
            network.halo,
            self._options.tile,
            multiple=network.multiple,
            bytes_per_pixel=network.bytes_per_pixel,
        )
        out: Rows = Direct(canvas)
        if canvas.shape[:2] != (height, width):
            out = _TimedRows(Resized(canvas, height, width), self._clock)
        with self._clock.phase("assemble"):
            fill(padded, tiles, self._infer, network.scale, out, ready)
        return tiles

    def alpha(self, levels: Levels, canvas: Levels) -> None:
        """Enlarge H×W×1 alpha levels into the canvas: bicubic, or by the network as a grey picture."""
        if self._options.alpha == "network":
            self.colour(levels, canvas)
            return
        with self._clock.phase("resample"):
            fill_alpha(levels, canvas)

    def _infer(self, tile: Levels) -> Levels:
        with self._clock.phase("infer"):
            return self._backend.infer(tile)
