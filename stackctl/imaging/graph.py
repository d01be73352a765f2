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
_REACH = {"nearest": 1, "linear": 1, "linear_onnx": 1, "cubic": 2}


@dataclass(frozen=True)
class GraphFacts:
    """Facts of a network N×3×H×W → N×3×(scale·H)×(scale·W).

    Attributes:
        scale: output size over input size.
        halo: input pixels around a tile that its output depends on; None where the graph has no bound that is known.
    """

    scale: int
    halo: int | None

    @property
    def receptive_field(self) -> int | None:
        """Return the side in input pixels of what one output pixel depends on; None when unbounded."""
        return None if self.halo is None else 2 * self.halo + 1


@dataclass(frozen=True)
class _Reach:
    jump: Fraction = Fraction(1)
    radius: Fraction = Fraction(0)


class _UnboundedError(Exception):
    """The walk met an operation whose reach is not known."""


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
    scale = _scale(model)
    try:
        halo: int | None = _halo(model, scale)
    except _UnboundedError:
        halo = None
    return GraphFacts(scale=scale, halo=halo)


def _scale(model: Any) -> int:
    probe = model.clone()
    height, width = 48, 64
    probe.reshape([1, 3, height, width])
    out = probe.outputs[0].get_partial_shape()
    if out.is_dynamic or len(out) != 4 or out[1].get_length() != 3:
        raise BackendError(f"The network's output must be N×3×H×W, not {out}.")
    scale, rest = divmod(out[2].get_length(), height)
    if scale < 1 or rest or out[3].get_length() != scale * width:
        raise BackendError(f"The network's output size {out} is no whole multiple of its input size.")
    return int(scale)


def _halo(model: Any, scale: int) -> int:
    reach: dict[str, _Reach | None] = {}
    for node in model.get_ordered_ops():
        reach[node.get_friendly_name()] = _after(node, reach)
    ends = [reach[node.get_friendly_name()] for node in model.get_results()]
    end = ends[0]
    if end is None or end.jump * scale != 1:
        raise _UnboundedError
    return math.ceil(end.radius)


def _after(node: Any, reach: dict[str, _Reach | None]) -> _Reach | None:
    """Return the reach after this node; None for values that do not depend on the image."""
    kind = node.get_type_name()
    if kind == "Parameter":
        return _Reach()
    sources = [reach[value.get_node().get_friendly_name()] for value in node.input_values()]
    image = [source for source in sources if source is not None]
    if not image or kind == "ShapeOf":
        return None
    if len({source.jump for source in image}) != 1:
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
    reach = _REACH.get(str(attributes["mode"]))
    factor = _constant_factor(node) if str(attributes.get("shape_calculation_mode")) == "scales" else None
    if reach is None or factor is None or factor < 1:
        raise _UnboundedError
    extra = 0 if attributes["mode"] == "nearest" else reach
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
