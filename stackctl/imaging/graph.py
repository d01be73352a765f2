"""What a network's graph says about itself: scale, and how far an output pixel looks into the input.

The receptive field follows Araujo et al., "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019:
along every path from input to output, `jump` is the distance of two neighbouring values in input pixels and `radius`
how far a value reaches to either side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .errors import BackendError

_POINTWISE = frozenset(
    {
        *(
            "Abs",
            "Add",
            "Clamp",
            "Concat",
            "Convert",
            "Divide",
            "Elu",
            "Exp",
            "FakeQuantize",
            "Gelu",
            "HSigmoid",
            "HSwish",
        ),
        *("HardSigmoid", "Log", "Maximum", "Minimum", "Mish", "Multiply", "Negative", "PRelu", "Power", "ReLU", "Relu"),
        *(
            "Result",
            "Selu",
            "Sigmoid",
            "SoftPlus",
            "SoftSign",
            "Sqrt",
            "SquaredDifference",
            "Subtract",
            "Swish",
            "Tanh",
        ),
    }
)
_MULTIPLES = (1, 2, 4, 8, 16)
_OWN_PIXEL = frozenset(
    {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")}
)
"""How the nearest pixel is always the one that a point lies in; otherwise it may be that one's neighbour."""
_REACH = {"nearest": 1, "linear": 1, "linear_onnx": 1, "cubic": 2}


@dataclass(frozen=True)
class GraphFacts:
    """Facts of a network N×3×H×W → N×3×(scale·H)×(scale·W).

    Attributes:
        scale: output size over input size.
        halo: input pixels around a tile that its output depends on; None where the graph has no bound that is known.
        multiple: height and width of the input must be multiples of it: 2 where the network begins by folding 2×2
            pixels into channels, as RealESRGAN_x2plus does.
        bytes_per_pixel: memory of the values that live at once in fp32, per input pixel.
    """

    scale: int
    halo: int | None
    multiple: int = 1
    bytes_per_pixel: int = 0

    @property
    def receptive_field(self) -> int | None:
        """Return the side in input pixels of what one output pixel depends on; None when unbounded."""
        return None if self.halo is None else 2 * self.halo + 1


@dataclass(frozen=True)
class _Reach:
    jump: Fraction = Fraction(1)
    radius: Fraction = Fraction(0)


class _OfSize:
    """Stands for a value made from the image's size: it may steer an enlargement, never meet a pixel."""


_OF_SIZE = _OfSize()
_Known = _Reach | _OfSize | None


class _UnboundedError(Exception):
    """The walk met an operation whose reach is not known, or one whose answer depends on where a tile lies."""


def read_facts(model: Any) -> GraphFacts:
    """Return the facts of an `openvino.Model`.

    Raises:
        BackendError: the model is no image network with one RGB input and one RGB output.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise BackendError("The network must have one input and one output.")
    shape = model.inputs[0].get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != 4 or shape[1].is_dynamic or shape[1].get_length() != 3:
        raise BackendError(f"The network's input must be N×3×H×W, not {shape}.")
    multiple, scale = _multiple_and_scale(model)
    try:
        halo: int | None = _halo(model, scale)
    except _UnboundedError:
        halo = None
    return GraphFacts(scale=scale, halo=halo, multiple=multiple, bytes_per_pixel=_bytes_per_pixel(model, multiple))


def _multiple_and_scale(model: Any) -> tuple[int, int]:
    """Return what height and width must be multiples of, and output size over input size."""
    said = ""
    for multiple in _MULTIPLES:
        height, width = 9 * multiple, 11 * multiple  # multiples of nothing larger among the candidates
        probe = model.clone()
        try:
            probe.reshape([1, 3, height, width])
        except RuntimeError as error:  # a fold of pixels refuses a size that it does not divide
            said = str(error).strip().splitlines()[-1]
            continue
        out = probe.outputs[0].get_partial_shape()
        if out.is_dynamic or len(out) != 4 or out[1].get_length() != 3:
            raise BackendError(f"The network's output must be N×3×H×W, not {out}.")
        scale, rest = divmod(out[2].get_length(), height)
        if scale >= 1 and not rest and out[3].get_length() == scale * width:
            return multiple, int(scale)
        said = f"its output size {out} is no whole multiple of its input size {height}×{width}"
    raise BackendError(f"The network's scale cannot be told: {said}.")


def _bytes_per_pixel(model: Any, multiple: int) -> int:
    """Return the largest sum of values that live at once, in bytes of fp32 per input pixel.

    Each value lives from the operation that makes it to the last one that reads it; what only renames its input or is
    done in place (elementwise) still counts once more, as runtimes keep a spare buffer.
    """
    side = 16 * multiple
    probe = model.clone()
    probe.reshape([1, 3, side, side])
    order = [node for node in probe.get_ordered_ops() if node.get_type_name() not in {"Constant", "Result"}]
    last_use: dict[str, int] = {}
    for number, node in enumerate(order):
        for value in node.input_values():
            last_use[value.get_node().get_friendly_name()] = number
    live: dict[str, int] = {}
    peak = 0
    for number, node in enumerate(order):
        sizes = [output.get_partial_shape() for output in node.outputs()]
        live[node.get_friendly_name()] = sum(_elements(size) * 4 for size in sizes)
        peak = max(peak, sum(live.values()))
        live = {name: size for name, size in live.items() if last_use.get(name, -1) > number}
    return math.ceil(peak / side**2)


def _elements(shape: Any) -> int:
    return 0 if shape.is_dynamic else math.prod(dimension.get_length() for dimension in shape)


def _halo(model: Any, scale: int) -> int:
    reach: dict[str, _Known] = {}
    for node in model.get_ordered_ops():
        reach[node.get_friendly_name()] = _after(node, reach)
    ends = [reach[node.get_friendly_name()] for node in model.get_results()]
    end = ends[0]
    if not isinstance(end, _Reach) or end.jump * scale != 1:
        raise _UnboundedError
    return math.ceil(end.radius)


def _after(node: Any, reach: dict[str, _Known]) -> _Known:
    """Return the reach after this node; None for values that depend neither on the image nor on its size."""
    kind = node.get_type_name()
    if kind == "Parameter":
        return _Reach()
    sources = [reach[value.get_node().get_friendly_name()] for value in node.input_values()]
    image = [source for source in sources if isinstance(source, _Reach)]
    of_size = any(source is _OF_SIZE for source in sources)
    if kind == "ShapeOf":  # of what has one shape whatever the image (as a rank has), it is a constant
        return _OF_SIZE if node.input_value(0).get_partial_shape().is_dynamic else None
    if not image:
        return _OF_SIZE if of_size else None
    if (of_size and kind != "Interpolate") or len({source.jump for source in image}) != 1:
        raise _UnboundedError
    before = _Reach(image[0].jump, max(source.radius for source in image))
    step = _STEPS.get("pointwise" if kind in _POINTWISE else kind)
    if step is None:
        raise _UnboundedError
    return step(node, before)


def _pointwise(node: Any, before: _Reach) -> _Reach:
    if node.get_type_name() == "Concat" and int(node.get_attributes()["axis"]) not in {1, -3}:
        raise _UnboundedError
    return before


def _convolution(node: Any, before: _Reach) -> _Reach:
    weights = node.input_value(1).get_partial_shape()
    if weights.is_dynamic:
        raise _UnboundedError
    attributes = node.get_attributes()
    kernel = [weights[len(weights) - 2].get_length(), weights[len(weights) - 1].get_length()]
    spans = [1 + (size - 1) * int(step) for size, step in zip(kernel, attributes["dilations"], strict=True)]
    return _window(before, spans, attributes)


def _window(before: _Reach, spans: list[int], attributes: dict[str, Any]) -> _Reach:
    """Return the reach after sliding a window of these spans (height, width) with the node's strides and padding."""
    strides = {int(stride) for stride in attributes["strides"]}
    if len(strides) != 1:
        raise _UnboundedError
    sides = [
        max(int(begin), int(span) - 1 - int(begin)) for span, begin in zip(spans, attributes["pads_begin"], strict=True)
    ]
    return _Reach(before.jump * strides.pop(), before.radius + max(sides) * before.jump)


def _pooling(node: Any, before: _Reach) -> _Reach:
    attributes = node.get_attributes()
    return _window(before, [int(size) for size in attributes["kernel"]], attributes)


def _depth_to_space(node: Any, before: _Reach) -> _Reach:
    return _Reach(before.jump / int(node.get_attributes()["block_size"]), before.radius)


def _space_to_depth(node: Any, before: _Reach) -> _Reach:
    block = int(node.get_attributes()["block_size"])
    return _Reach(before.jump * block, before.radius + (block - 1) * before.jump)


def _interpolation(node: Any, before: _Reach) -> _Reach:
    attributes = node.get_attributes()
    if str(attributes["coordinate_transformation_mode"]) == "align_corners":  # the image's corners, not a tile's
        raise _UnboundedError
    reach = _REACH.get(str(attributes["mode"]))
    factor = _constant_factor(node) if str(attributes.get("shape_calculation_mode")) == "scales" else None
    if reach is None or factor is None or factor < 1:
        raise _UnboundedError
    nearest = (str(attributes["coordinate_transformation_mode"]), str(attributes["nearest_mode"]))
    extra = 0 if attributes["mode"] == "nearest" and nearest in _OWN_PIXEL else reach
    return _Reach(before.jump / factor, before.radius + extra * before.jump)


def _constant_factor(node: Any) -> Fraction | None:
    """Return the factor of an enlargement whose scales are a constant, equal in height and width."""
    values = node.input_values()
    source = values[1 if node.get_type_info().version_id == "opset11" else 2].get_node()
    if source.get_type_name() != "Constant":
        return None
    scales = [Fraction(float(scale)).limit_denominator(64) for scale in source.get_data().ravel()[-2:]]
    return scales[0] if len(set(scales)) == 1 else None


_STEPS: dict[str, Callable[[Any, _Reach], _Reach]] = {
    "pointwise": _pointwise,
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "MaxPool": _pooling,
    "AvgPool": _pooling,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Interpolate": _interpolation,
}
