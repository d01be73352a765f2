"""A wheelhouse with one tiny package, so that tests of installing download nothing."""

from __future__ import annotations

import zipfile
from pathlib import Path

PACKAGE = "stackctl-test-extra"
MODULE = "stackctl_test_extra"


def make_wheelhouse(folder: Path) -> Path:
    """Make ``folder`` with a wheel of ``PACKAGE`` 1.5, whose ``MODULE`` has a VALUE of 42."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{MODULE}-1.5.dist-info"
    files = {
        f"{MODULE}.py": "VALUE = 42\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.5\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{MODULE}-1.5-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return folder
