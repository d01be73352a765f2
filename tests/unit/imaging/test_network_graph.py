"""Scale and receptive field are read from the graph, whatever made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from stackctl.imaging import BackendError, BadOption, Network
from stackctl.imaging.backends import bf16_is_native
from stackctl.imaging.graph import read_facts


def image(channels: int = 3) -> Any:
    return ops.parameter([1, channels, -1, -1], np.float32)


def convolution(source: Any, out: int, kernel: int, *, dilation: int = 1, stride: int = 1, channels: int = 3) -> Any:
    weights = np.zeros((out, channels, kernel, kernel), np.float32)
    pad = dilation * (kernel - 1) // 2
    return ops.convolution(source, weights, [stride, stride], [pad, pad], [pad, pad], [dilation, dilation])


def enlarge(source: Any, factor: float, mode: str = "nearest") -> Any:
    scales = ops.constant(np.array([factor, factor], np.float32))
    axes = ops.constant(np.array([2, 3], np.int64))
    return ops.interpolate(
        source, scales, mode, "scales", axes=axes, coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def test_stacked_convolutions_add_up() -> None:
    start = image()
    out = convolution(ops.relu(convolution(convolution(start, 3, 3), 3, 5)), 3, 3, dilation=2)

    facts = read_facts(ov.Model([out], [start]))

    assert (facts.scale, facts.halo, facts.receptive_field) == (1, 1 + 2 + 2, 11)


def test_convolutions_after_an_enlargement_count_in_input_pixels() -> None:
    start = image()
    out = convolution(convolution(enlarge(convolution(start, 3, 3), 2), 3, 3), 3, 3)

    facts = read_facts(ov.Model([out], [start]))

    assert (facts.scale, facts.halo) == (2, 2)  # 1 + 2 · ½


def test_the_widest_of_parallel_paths_decides() -> None:
    start = image()
    out = ops.add(convolution(start, 3, 7), convolution(start, 3, 3))

    assert read_facts(ov.Model([out], [start])).halo == 3


def test_pixel_shuffle_ends_at_the_network_scale() -> None:
    start = image()
    out = ops.depth_to_space(convolution(start, 27, 3), "depth_first", 3)

    facts = read_facts(ov.Model([out], [start]))

    assert (facts.scale, facts.halo) == (3, 1)


def test_bilinear_enlargement_reaches_one_pixel_further() -> None:
    start = image()

    assert read_facts(ov.Model([enlarge(start, 2, "linear_onnx")], [start])).halo == 1


def test_a_dense_block_as_in_rrdb_networks_adds_up() -> None:
    start = image()
    first = convolution(start, 3, 3)
    out = first
    for _ in range(3):
        dense = [out]
        for number in range(5):
            joined = ops.concat(dense, 1) if number else out
            grown = convolution(joined, 3, 3, channels=3 * len(dense))
            dense.append(ops.prelu(grown, ops.constant(np.array([0.2], np.float32))))
        out = ops.add(ops.multiply(dense[-1], np.float32(0.2)), out)
    out = convolution(enlarge(convolution(ops.add(convolution(out, 3, 3), first), 3, 3), 4), 3, 3)

    facts = read_facts(ov.Model([out], [start]))

    assert (facts.scale, facts.halo) == (4, 1 + 15 + 1 + 1 + 1)  # the last one is a quarter, rounded up


def test_an_operation_over_the_whole_image_has_no_bound() -> None:
    start = image()
    mean = ops.reduce_mean(start, ops.constant(np.array([2, 3], np.int64)), keep_dims=True)

    assert read_facts(ov.Model([ops.add(start, mean)], [start])).halo is None


@pytest.mark.parametrize(("rounding", "halo"), [("floor", 0), ("ceil", 1)])
def test_the_nearest_pixel_may_be_the_next_one(rounding: str, halo: int) -> None:
    start = image()
    out = ops.interpolate(
        start,
        ops.constant(np.array([2, 2], np.float32)),
        "nearest",
        "scales",
        axes=ops.constant(np.array([2, 3], np.int64)),
        coordinate_transformation_mode="asymmetric",
        nearest_mode=rounding,
    )

    assert read_facts(ov.Model([out], [start])).halo == halo


def test_corners_that_are_aligned_have_no_bound() -> None:
    start = image()
    out = ops.interpolate(
        start,
        ops.constant(np.array([2, 2], np.float32)),
        "linear_onnx",
        "scales",
        axes=ops.constant(np.array([2, 3], np.int64)),
        coordinate_transformation_mode="align_corners",
    )

    assert read_facts(ov.Model([out], [start])).halo is None


def test_pixels_that_meet_coordinates_have_no_bound() -> None:
    start = image()
    size = ops.shape_of(start, "i32")
    height = ops.gather(size, ops.constant(2), ops.constant(0))
    rows = ops.range(ops.constant(0), height, ops.constant(1), "f32")
    ramp = ops.reshape(rows, ops.constant(np.array([1, 1, -1, 1])), False)
    blended = ops.add(start, ops.broadcast(ramp, size))

    assert read_facts(ov.Model([ops.add(start, ramp)], [start])).halo is None
    assert read_facts(ov.Model([blended], [start])).halo is None


def test_a_network_for_grey_images_only_is_refused() -> None:
    start = image(1)

    with pytest.raises(BackendError, match="N×3×H×W"):
        read_facts(ov.Model([ops.relu(start)], [start]))


def test_a_network_that_classifies_is_refused() -> None:
    start = image()
    mean = ops.reduce_mean(start, ops.constant(np.array([2, 3], np.int64)), keep_dims=False)

    with pytest.raises(BackendError, match="output"):
        read_facts(ov.Model([mean], [start]))


def test_the_starter_sees_as_far_as_its_ten_convolutions(network: Network) -> None:
    assert (network.scale, network.halo, network.receptive_field) == (4, 10, 21)
    assert (network.backend, network.precision) == ("openvino", "fp32")


def test_no_pixel_outside_the_halo_changes_the_answer_and_one_inside_does(network: Network) -> None:
    draw = np.random.default_rng(3)
    before = draw.integers(0, 256, (41, 41, 3), dtype=np.uint8)
    halo, centre = network.halo or 0, 20

    def centre_after_change(distance: int) -> Any:
        changed = before.copy()
        changed[:, : centre - distance + 1] = 255 - changed[:, : centre - distance + 1]
        return network.infer(changed)[centre * 4 : centre * 4 + 4, centre * 4 : centre * 4 + 4]

    untouched = network.infer(before)[centre * 4 : centre * 4 + 4, centre * 4 : centre * 4 + 4]
    assert np.array_equal(centre_after_change(halo + 1), untouched)
    assert not np.array_equal(centre_after_change(1), untouched)


def test_a_missing_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no network file"):
        Network.load(tmp_path / "network.onnx")


@pytest.mark.parametrize("kept", [0, 500, 20_000, None])
def test_a_file_that_is_no_network_is_refused_in_one_line(starter: Path, tmp_path: Path, kept: int | None) -> None:
    whole = (starter / "v1" / "network.onnx").read_bytes()
    (tmp_path / "network.onnx").write_bytes(b"not a network" if kept is None else whole[:kept])

    with pytest.raises(BackendError) as caught:
        Network.load(tmp_path / "network.onnx")
    assert str(caught.value) == (
        "OpenVINO cannot read the network network.onnx: it is empty, cut short or no ONNX file."
    )


def test_auto_means_fp32_until_bf16_has_passed_its_gate(starter: Path) -> None:
    path = starter / "v1" / "network.onnx"

    assert Network.load(path).precision == "fp32"
    assert Network.load(path, bf16_allowed=True).precision == ("bf16" if bf16_is_native() else "fp32")


def test_bf16_is_refused_where_the_cpu_has_none(starter: Path) -> None:
    path = starter / "v1" / "network.onnx"

    if bf16_is_native():
        assert Network.load(path, precision="bf16").precision == "bf16"
    else:
        with pytest.raises(BadOption, match="no bf16"):
            Network.load(path, precision="bf16")


def test_compiled_networks_are_kept_in_the_cache_folder(starter: Path, tmp_path: Path) -> None:
    tile = np.zeros((8, 8, 3), np.uint8)
    path = starter / "v1" / "network.onnx"

    first = Network.load(path, cache_dir=tmp_path, threads=1).infer(tile)
    kept = {file.name for file in tmp_path.iterdir()}
    again = Network.load(path, cache_dir=tmp_path, threads=1).infer(tile)

    assert kept
    assert {file.name for file in tmp_path.iterdir()} == kept
    assert np.array_equal(first, again)


def test_a_cache_that_cannot_be_used_costs_time_but_no_image(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core(ov.Core):  # type: ignore[misc] # as where the cache is another user's: neither read nor replaced
        def compile_model(self, model: Any, device: str, properties: dict[str, Any]) -> Any:
            if properties.get("CACHE_DIR"):
                raise RuntimeError("filesystem error: cannot remove: Permission denied")
            return super().compile_model(model, device, properties)

    tile = np.zeros((8, 8, 3), np.uint8)
    path = starter / "v1" / "network.onnx"
    first = Network.load(path, threads=1).infer(tile)
    monkeypatch.setattr(ov, "Core", Core)

    assert np.array_equal(first, Network.load(path, cache_dir=tmp_path, threads=1).infer(tile))
