"""The photos that come with scikit-learn and scikit-image, and the split between training and judging."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

TRAINING = (
    "sklearn:china.jpg",
    "sklearn:flower.jpg",
    "skimage:stereo_motorcycle",
    "skimage:brick",
    "skimage:gravel",
    "skimage:grass",
    "skimage:hubble_deep_field",
    "skimage:immunohistochemistry",
    "skimage:retina",
    "skimage:coins",
    "skimage:moon",
    "skimage:page",
)
"""Photos the networks learn from."""

HELD_OUT = ("skimage:astronaut", "skimage:chelsea", "skimage:coffee", "skimage:rocket", "skimage:camera")
"""Photos no network has seen: metrics, golden inputs and sample photos come from these. All public domain or CC0."""


def load(name: str) -> Pixels:
    """Return the photo `library:name` as H×W×3 uint8 sRGB; grey photos get three equal channels."""
    import numpy as np

    library, _, key = name.partition(":")
    if library == "sklearn":
        from sklearn.datasets import load_sample_image

        image = load_sample_image(key)
    else:
        from skimage import data

        image = getattr(data, key)()
        if isinstance(image, tuple):  # a stereo pair and its disparity: the left photo
            image = image[0]
    pixels = np.asarray(image, dtype=np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])
