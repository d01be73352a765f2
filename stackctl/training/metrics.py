"""PSNR and SSIM on luma, as the super-resolution literature reports them.

Convention: 8-bit sRGB → Y of ITU-R BT.601 in its studio range [16, 235] (MATLAB `rgb2ycbcr`), a border of `crop` pixels
(the scale factor) removed on every side, peak 255. SSIM: Wang et al. 2004, 11×11 Gaussian window of σ 1.5, valid area.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Luma = NDArray[np.float64]

CONVENTION = (
    "Y of BT.601 [16, 235] from 8-bit sRGB, border of 4 pixels cropped, peak 255; SSIM 11x11 Gaussian, sigma 1.5"
)


def luma(image: Pixels) -> Luma:
    """Return Y (H×W, 16 to 235) of an H×W×3 uint8 sRGB image."""
    import numpy as np

    weights = np.array([65.481, 128.553, 24.966]) / 255.0
    return np.asarray(image.astype(np.float64) @ weights + 16.0, dtype=np.float64)


def psnr_y(image: Pixels, reference: Pixels, crop: int = 4) -> float:
    """Return the peak signal-to-noise ratio of luma in dB; infinite for equal images."""
    import numpy as np

    difference = _inner(luma(image), crop) - _inner(luma(reference), crop)
    error = float(np.mean(difference**2))
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def ssim_y(image: Pixels, reference: Pixels, crop: int = 4) -> float:
    """Return the mean structural similarity of luma (1 for equal images)."""
    import numpy as np

    first, second = _inner(luma(image), crop), _inner(luma(reference), crop)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_1, mean_2 = _blur(first), _blur(second)
    var_1 = _blur(first * first) - mean_1**2
    var_2 = _blur(second * second) - mean_2**2
    covariance = _blur(first * second) - mean_1 * mean_2
    numerator = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    return float(np.mean(numerator / ((mean_1**2 + mean_2**2 + c1) * (var_1 + var_2 + c2))))


def _inner(values: Luma, crop: int) -> Luma:
    return values[crop : values.shape[0] - crop, crop : values.shape[1] - crop]


def _blur(values: Luma) -> Luma:
    import numpy as np

    offsets = np.arange(-5, 6)
    kernel = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    rows = np.lib.stride_tricks.sliding_window_view(values, 11, axis=0) @ kernel
    return np.asarray(np.lib.stride_tricks.sliding_window_view(rows, 11, axis=1) @ kernel, dtype=np.float64)
