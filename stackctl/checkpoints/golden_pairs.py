"""Golden pairs as files: the images that every imported network answers, and the manifest that names the answers.

Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

TOLERANCE = {"fp32_max_levels": 1, "bf16_min_psnr_db": 50.0}
STARTER = Path(__file__).with_name("starter")


def golden_inputs() -> dict[str, Pixels]:
    """Return small crops of photos, by file name: H×W×3 sRGB or H×W grey; odd sizes and hard edges are among them."""
    import numpy as np
    from PIL import Image

    found = {}
    for file in sorted((STARTER / "v1" / "golden").glob("*_input.png")):
        with Image.open(file) as image:
            found[file.name] = np.asarray(image, dtype=np.uint8).copy()
    return found


def write_pairs(
    pairs: Sequence[tuple[Pixels, Pixels]], folder: Path, *, reference: str, fidelity: Mapping[str, Any]
) -> None:
    """Write golden pairs (input, output) as PNG files and the manifest that names them.

    Args:
        pairs: H×W×3 or H×W levels.
        folder: where to; it is made.
        reference: what computed the outputs.
        fidelity: per precision, `psnr_db` (null: unknown) of its answers and what measured it.
    """
    from PIL import Image

    folder.mkdir(parents=True)
    entries = []
    for number, pair in enumerate(pairs):
        names = {kind: f"{number:02}_{kind}.png" for kind in ("input", "output")}
        for kind, pixels in zip(names, pair, strict=True):
            Image.fromarray(pixels).save(folder / names[kind], optimize=True)
        entries.append({**names, **{f"sha256_{kind}": sha256(folder / name) for kind, name in names.items()}})
    manifest = {
        "schema_version": 1,
        "reference": reference,
        "tolerance": TOLERANCE,
        "fidelity": fidelity,
        "pairs": entries,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
