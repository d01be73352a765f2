"""From a checkpoint's tensors to a torch network that takes any image: spandrel tells the architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stackctl.errors import StackctlError

_UPSTREAM_NAMES = {"Compact": "SRVGGNetCompact", "ESRGAN": "RRDBNet"}


@dataclass(frozen=True)
class Recognised:
    """A network and what is known of it.

    Attributes:
        network: N×3×H×W in [0, 1] → N×3×(scale·H)×(scale·W), not clamped, for every H and W.
        architecture: its name in Real-ESRGAN, else in spandrel.
        details: for instance ``64nf 16nc``.
        scale: output size over input size.
        multiple: sizes are padded to a multiple of this, and the answer cut back.
    """

    network: nn.Module
    architecture: str
    details: str
    scale: int
    multiple: int


def recognise(tensors: Mapping[str, torch.Tensor], name: str) -> Recognised:
    """Return the network that these tensors are of.

    Raises:
        StackctlError: it is of no architecture that is known, or does not turn RGB into RGB.
    """
    import spandrel

    try:
        found: Any = spandrel.MAIN_REGISTRY.load(dict(tensors))
    except spandrel.UnsupportedModelError as error:
        raise StackctlError(
            f"{name} is of no architecture that is known here.", "SRVGGNetCompact and RRDBNet are, among others."
        ) from error
    except (RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
        said = " ".join(str(error).split())[:200]
        raise StackctlError(f"{name} is not a whole network: {said}") from error
    if not isinstance(found, spandrel.ImageModelDescriptor) or (found.input_channels, found.output_channels) != (3, 3):
        raise StackctlError(f"{name} ({found.architecture.name}) does not turn one RGB image into another.")
    multiple = int(getattr(found.model, "shuffle_factor", None) or found.size_requirements.multiple_of)
    inner = found.model.float().eval()
    network = inner if multiple == 1 else AnySize(inner, multiple, found.scale)
    return Recognised(
        network.requires_grad_(False),
        _UPSTREAM_NAMES.get(found.architecture.id, str(found.architecture.name)),
        " ".join(found.tags),
        int(found.scale),
        multiple,
    )


class AnySize(nn.Module):  # type: ignore[misc, unused-ignore]  # torch is not there where types are checked
    """Lets a network that wants sizes of a multiple take any: mirrored to the right and below, the answer cut back.

    The mirroring is upstream's (``F.pad(…, "reflect")``), written as an index so that it lasts in ONNX with free sizes,
    and so that an image one pixel wide has an answer too.
    """

    def __init__(self, inner: nn.Module, multiple: int, scale: int) -> None:
        """Wrap `inner`."""
        super().__init__()
        self.inner = inner
        self.multiple = multiple
        self.scale = scale

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the upscaled batch."""
        height, width = image.shape[2], image.shape[3]
        padded = image.index_select(2, self._mirrored(height)).index_select(3, self._mirrored(width))
        upscaled: torch.Tensor = self.inner(padded)
        return upscaled[:, :, : height * self.scale, : width * self.scale]

    def _mirrored(self, size: Any) -> torch.Tensor:
        whole = (size + self.multiple - 1) // self.multiple * self.multiple
        last = size - 1
        index = torch.arange(whole)
        return (last - (last - index).abs()).clamp(min=0)
