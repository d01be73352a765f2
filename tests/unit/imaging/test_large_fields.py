"""Networks whose field no tile can carry: tiles overlap and fade. The weights are seeded random ones, not trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from support import pictures

from stackctl.imaging import Network, Options, upscale
from stackctl.imaging.backends import OpenVinoBackend
from stackctl.imaging.golden import difference
from stackctl.imaging.graph import read_facts

FEATURES, GROWTH, BLOCKS, GAIN = 16, 8, 6, 1.5


class Random:
    """Makes layers with He-initialised weights of one seed."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)

    def convolution(self, source: Any, channels: int, out: int, gain: float = 1.0) -> Any:
        deviation = gain * np.sqrt(2 / (channels * 9))
        weights = (self.draw.standard_normal((out, channels, 3, 3)) * deviation).astype(np.float32)
        return ops.convolution(source, weights, [1, 1], [1, 1], [1, 1], [1, 1])

    def dense_block(self, source: Any) -> Any:
        parts = [source]
        for number in range(5):
            joined = ops.concat(parts, 1) if number else source
            made = self.convolution(joined, FEATURES + number * GROWTH, GROWTH if number < 4 else FEATURES, GAIN)
            parts.append(made if number == 4 else ops.prelu(made, ops.constant(np.array([0.2], np.float32))))
        return ops.add(ops.multiply(parts[-1], np.float32(0.2)), source)


@pytest.fixture(scope="module")
def rrdb() -> ov.Model:
    """Return RealESRGAN_x4plus_anime_6B's architecture (6 blocks) with a quarter of its features and random weights."""
    made = Random(11)
    start = ops.parameter([1, 3, -1, -1], np.float32)
    first = made.convolution(start, 3, FEATURES)
    trunk = first
    for _ in range(BLOCKS):
        inner = trunk
        for _ in range(3):
            inner = made.dense_block(inner)
        trunk = ops.add(ops.multiply(inner, np.float32(0.2)), trunk)
    out = ops.add(made.convolution(trunk, FEATURES, FEATURES), first)
    scales, axes = ops.constant(np.array([2, 2], np.float32)), ops.constant(np.array([2, 3], np.int64))
    for _ in range(2):
        large = ops.interpolate(
            out,
            scales,
            "nearest",
            "scales",
            axes=axes,
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        out = ops.relu(made.convolution(large, FEATURES, FEATURES))
    return ov.Model([made.convolution(out, FEATURES, 3)], [start])


@pytest.fixture(scope="module")
def network(rrdb: ov.Model) -> Network:
    return Network(read_facts(rrdb), "fp32", lambda precision: OpenVinoBackend(rrdb, precision, threads=2))


def test_its_field_is_far_wider_than_a_tile(network: Network) -> None:
    assert (network.scale, network.halo) == (4, 93)


def test_tiled_is_within_45_db_of_untiled_on_random_weights(network: Network) -> None:
    data = pictures.encode(pictures.noise(90, 110, seed=4))

    whole, alone = upscale(data, network, Options(tile=1000))
    tiled, report = upscale(data, network, Options(tile=16))

    assert (alone.tiles, alone.exact, report.tiles, report.exact) == (1, True, 6, False)
    left, right = pictures.pixels(tiled), pictures.pixels(whole)
    assert np.ptp(right) > 100  # a picture, not one flat colour
    assert difference(left, right)[1] >= 45
