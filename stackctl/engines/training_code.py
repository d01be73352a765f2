"""This distribution's own code for the training environment, outside of what is expensive to make.

The environment with torch holds packages alone, so a change of this distribution's code does not make it again. An
interpreter that has both is a second, empty virtual environment: it looks for packages in the first one, and carries a
copy of the code. Making one takes a fraction of a second; several of them (two checkouts, say) share the packages.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from stackctl import distribution, process
from stackctl.distribution import cache_folder

KEPT = 6
"""Copies that are left when a newer one is made: one of them may be running something that takes hours."""


def with_code(packages: Path) -> Path:
    """Return an interpreter that has the packages of the interpreter ``packages``, and this distribution's code."""
    folder = cache_folder() / "code" / f"{distribution.content_hash()[:16]}-{packages.parent.parent.name}"
    python = folder / "bin" / "python"
    if folder.is_dir():
        os.utime(folder)
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        process.run([sys.executable, "-m", "venv", "--without-pip", making])
        _fill(_site_packages(making), _site_packages(packages.parent.parent))
        _put(making, folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    _forget_old(folder)
    return python


def _fill(site: Path, packages: Path) -> None:
    (site / "packages.pth").write_text(f"import site; site.addsitedir({str(packages)!r})\n")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(distribution.write_wheel(Path(folder))) as wheel:
        wheel.extractall(site)


def _put(making: Path, folder: Path) -> None:
    """Give a finished environment its name; another command may have been quicker with the very same."""
    try:
        making.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _site_packages(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _forget_old(folder: Path) -> None:
    others = (other for other in folder.parent.iterdir() if not other.name.startswith("."))
    for old in sorted(others, key=lambda other: other.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
