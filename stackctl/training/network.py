"""The network that is trained: SRVGG, a plain stack of convolutions at low resolution and one pixel shuffle.

Source: Real-ESRGAN's `SRVGGNetCompact` (Wang et al., 2021, https://github.com/xinntao/Real-ESRGAN). The structure and
the names of the parameters (`body.N.weight`) are the same, so that any reader of such checkpoints reads these too.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Srvgg(nn.Module):  # type: ignore[misc, unused-ignore]  # torch is not there where types are checked
    """N×3×H×W in [0, 1] (sRGB) → N×3×(scale·H)×(scale·W), not clamped: nearest upsampling plus a learnt residual."""

    def __init__(self, features: int = 16, convs: int = 8, scale: int = 4) -> None:
        """Build the network: `convs` inner convolutions of `features` channels, PReLU after each."""
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, 1, 1), nn.PReLU(features)]
        for _ in range(convs):
            layers += [nn.Conv2d(features, features, 3, 1, 1), nn.PReLU(features)]
        layers.append(nn.Conv2d(features, 3 * scale * scale, 3, 1, 1))
        self.body = nn.ModuleList(layers)
        self.upsampler = nn.PixelShuffle(scale)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the upscaled batch."""
        out = image
        for layer in self.body:
            out = layer(out)
        base = functional.interpolate(image, scale_factor=float(self.scale), mode="nearest")
        upscaled: torch.Tensor = self.upsampler(out) + base
        return upscaled
