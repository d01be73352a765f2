"""How a low-resolution input is made from a photo, and the bicubic answer that a network has to beat.

Both directions are Pillow's bicubic (a = -0.5, antialiased when shrinking), which is MATLAB's `imresize`, the usual
convention of super-resolution papers. Values are rounded to 8 bits in between, as a file would do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


def crop_to_multiple(image: Pixels, scale: int) -> Pixels:
    """Return the H×W×3 image without the last rows and columns that `scale` does not divide."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def shrink(image: Pixels, scale: int) -> Pixels:
    """Return the image at 1/scale of its size, by antialiased bicubic. Sides must be multiples of `scale`."""
    return _bicubic(image, image.shape[1] // scale, image.shape[0] // scale)


def enlarge(image: Pixels, scale: int) -> Pixels:
    """Return the image at `scale` times its size, by bicubic: the rival of every network."""
    return _bicubic(image, image.shape[1] * scale, image.shape[0] * scale)


def _bicubic(image: Pixels, width: int, height: int) -> Pixels:
    import numpy as np
    from PIL import Image

    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8)
