"""Small models, logged the way real ones are: from code, with golden images, under the image model contract."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURS = {"1": RED, "2": GREEN}

IMAGE_MODEL = '''
import io, json, os, time
from PIL import Image
import mlflow
from mlflow.pyfunc import PythonModel

class Problem(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code

def hoard(mebibytes):
    """Take memory until somebody ends this process."""
    held = []
    for _ in range(mebibytes // 10):
        held.append(bytearray(os.urandom(1 << 10) * (10 << 10)))
        time.sleep(0.01)
    time.sleep(60)

class Tiny(PythonModel):
    """Enlarges four times by repetition and paints the version's colour into the corner."""

    def load_context(self, context):
        with open(context.artifacts["colour"]) as file:
            self.colour = tuple(json.load(file))
        self.max_memory = (context.model_config or {}).get("max_memory", 0)
        # ON LOAD

    def network_info(self):
        limits = {"max_memory": self.max_memory, "max_input_pixels": 64 * 64, "max_bytes": 1 << 30}
        return {"scale": 4, "formats": ["png", "jpeg"], **limits}

    def upscale(self, data, *, outscale, format, tile, precision):
        if tile == 666:
            os.kill(os.getpid(), 9)
        if tile == 777:
            time.sleep(600)
        if tile == 888:
            hoard(700)
        if tile > 1000:
            time.sleep(tile / 1e6)
        # ON REQUEST
        try:
            image = Image.open(io.BytesIO(data))
        except Exception:
            raise Problem("unsupported_format", "This is not an image of a format that is accepted.")
        if image.width * image.height > 64 * 64:
            raise Problem("too_large", f"The image has {image.width * image.height} pixels.")
        try:
            image = image.convert("RGB")
        except Exception:
            raise Problem("corrupt_image", "The image cannot be read to its end.")
        big = image.resize((image.width * 4, image.height * 4), Image.Resampling.NEAREST)
        big.paste(self.colour, (0, 0, 4, 4))
        out = io.BytesIO()
        big.save(out, "PNG")
        return out.getvalue(), {"width": image.width, "out_width": big.width, "precision": "fp32"}

    def predict(self, context, model_input, params=None):
        import pandas as pd
        params = params or {}
        rows = [
            self.upscale(data, outscale=params.get("outscale", 0.0), format=params.get("format", "auto"),
                         tile=params.get("tile", 0), precision=params.get("precision", "auto"))
            for data in model_input["image"]
        ]
        return pd.DataFrame({"image": [row[0] for row in rows], "meta": [json.dumps(row[1]) for row in rows]})

mlflow.models.set_model(Tiny())
'''

PYFUNC_MODEL = """
import mlflow
from mlflow.pyfunc import PythonModel

class Doubler(PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input * 2

mlflow.models.set_model(Doubler())
"""


def photo(width: int = 16, height: int = 12) -> bytes:
    """Return a small PNG, a gradient."""
    image = Image.new("RGB", (width, height))
    image.putdata([(x * 9 % 256, y * 13 % 256, 80) for y in range(height) for x in range(width)])
    return _png(image)


def expected(data: bytes, colour: tuple[int, int, int]) -> bytes:
    """Return what the image model answers for ``data``, as pixels."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    big = image.resize((image.width * 4, image.height * 4), Image.Resampling.NEAREST)
    big.paste(colour, (0, 0, 4, 4))
    return big.tobytes()


def pixels(data: bytes) -> bytes:
    """Return the pixels of an encoded image."""
    return Image.open(io.BytesIO(data)).convert("RGB").tobytes()


def save_image_model(
    folder: Path, colour: tuple[int, int, int], *, golden_colour: tuple[int, int, int] | None = None
) -> Path:
    """Save an image model into ``folder``; with another ``golden_colour`` it fails its golden images."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    made = folder.with_name(f"{folder.name}-made")
    (made / "golden").mkdir(parents=True)
    (made / "model.py").write_text(IMAGE_MODEL)
    (made / "colour.json").write_text(json.dumps(colour))
    data = photo(8, 8)
    (made / "golden" / "00_input.png").write_bytes(data)
    golden = Image.frombytes("RGB", (32, 32), expected(data, golden_colour or colour))
    (made / "golden" / "00_output.png").write_bytes(_png(golden))
    write_manifest(made / "golden", "00_input.png", "00_output.png")
    params: Any = [
        ParamSpec("outscale", "double", 0.0),
        ParamSpec("format", "string", "auto"),
        ParamSpec("tile", "long", 0),
        ParamSpec("precision", "string", "auto"),
    ]
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(made / "model.py"),
        artifacts={"colour": str(made / "colour.json"), "golden": str(made / "golden")},
        signature=ModelSignature(
            Schema([ColSpec("binary", "image")]),
            Schema([ColSpec("binary", "image"), ColSpec("string", "meta")]),
            ParamSchema(params),
        ),
        pip_requirements=["pillow"],
        model_config={"max_memory": 0},
    )
    return folder


def write_manifest(folder: Path, given: str, wanted: str) -> None:
    """Write the manifest of one golden pair that lies in ``folder``."""
    sums = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (given, wanted)]
    pair = {"input": given, "output": wanted, "sha256_input": sums[0], "sha256_output": sums[1]}
    tolerance = {"fp32_max_levels": 1, "bf16_min_psnr_db": 50.0}
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1, "tolerance": tolerance, "pairs": [pair]}))


def change_code(folder: Path, mark: str, line: str) -> None:
    """Put a line of Python into a saved image model, at one of its marks: ``ON LOAD`` or ``ON REQUEST``."""
    [file] = (file for file in folder.rglob("*.py") if f"# {mark}" in file.read_text())
    file.write_text(file.read_text().replace(f"# {mark}", line))


def save_pyfunc_model(folder: Path) -> Path:
    """Save a model that doubles numbers: no image model."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    code = folder.with_name(f"{folder.name}.py")
    code.write_text(PYFUNC_MODEL)
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(code),
        signature=ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double", "x")])),
        pip_requirements=["pandas"],
    )
    return folder


def save_sklearn_model(folder: Path) -> Path:
    """Save a scikit-learn classifier with MLflow's own flavour: nothing of this product is in it."""
    import mlflow.sklearn
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    rows = np.array([[0.0, 0.0], [1.0, 1.0], [9.0, 9.0], [8.0, 8.0]])
    model = LogisticRegression().fit(rows, [0, 0, 1, 1])
    mlflow.sklearn.save_model(model, str(folder), serialization_format="cloudpickle")
    return folder


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
