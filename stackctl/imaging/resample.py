"""Sizes that the network does not make by itself, and the alpha channel.

Lanczos for smaller sizes (antialiased) and bicubic for larger ones, both Pillow's: per channel in 32-bit floats where
16 bits must survive.
"""

from __future__ import annotations

import numpy as np

from .backends import Levels


def resize(levels: Levels, height: int, width: int) -> Levels:
    """Return H×W×C levels (uint8 or uint16, C = 1 or 3) at another size; the same array when it has that size."""
    from PIL import Image

    if levels.shape[:2] == (height, width):
        return levels
    shrinks = height * width < levels.shape[0] * levels.shape[1]
    method = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    if levels.dtype == np.uint8:
        image = Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)
        resized = np.asarray(image.resize((width, height), method), dtype=np.uint8)
        return resized[:, :, None] if resized.ndim == 2 else resized
    planes = [
        np.asarray(Image.fromarray(levels[:, :, channel].astype(np.float32)).resize((width, height), method))
        for channel in range(levels.shape[2])
    ]
    deep: Levels = np.clip(np.rint(np.dstack(planes)), 0, 65535).astype(np.uint16)
    return deep
