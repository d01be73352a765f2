"""What this installed distribution carries: template, build contexts, pinned versions, and itself as a wheel.

A stack never refers back to a source checkout. In an editable install the same things are read from the checkout;
otherwise from ``stackctl/_carried`` inside the package.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from importlib import metadata
from pathlib import Path

from stackctl import __version__
from stackctl.errors import StackctlError

NAME = "stackctl"
_PACKAGE = Path(__file__).resolve().parent
_PACKAGES = ("stackctl", "flask_demo")
_CARRIED = ("template", "compose", "constraints.txt")


def carried(name: str) -> Path:
    """Return the path of ``template``, ``compose`` or ``constraints.txt``.

    Raises:
        StackctlError: the installation is broken.
    """
    for root in (_PACKAGE / "_carried", _PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise StackctlError(
        f"This installation of stackctl lacks its {name}.", "Install it again: pip install --force-reinstall stackctl"
    )


def cache_folder() -> Path:
    """Return stackctl's cache: ``STACKCTL_CACHE``, or ``stackctl`` in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("STACKCTL_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "stackctl"


def is_checkout() -> bool:
    """Return whether stackctl runs from a source checkout (an editable install)."""
    return not (_PACKAGE / "_carried").is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file()


def sources() -> dict[str, Path]:
    """Return every file of the distribution: its path inside the wheel, and where it lies now."""
    found: dict[str, Path] = {}
    for package in _PACKAGES:
        for file in sorted((_PACKAGE.parent / package).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc":
                found[file.relative_to(_PACKAGE.parent).as_posix()] = file
    if is_checkout():
        for name in _CARRIED:
            root = _PACKAGE.parent / name
            for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
                if file.is_file() and "__pycache__" not in file.parts:
                    inside = file.relative_to(_PACKAGE.parent).as_posix()
                    found[f"stackctl/_carried/{inside}"] = file
    return dict(sorted(found.items()))


def content_hash() -> str:
    """Return the SHA-256 over every file of the distribution (path and content): equal for a checkout and its wheel."""
    total = hashlib.sha256()
    for path, file in sources().items():
        total.update(f"{path}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


@functools.cache
def environment_hash() -> str:
    """Return 16 digits that are equal where the same code, pinned versions and minor version of Python run.

    Read once: it describes what this process runs, not what was put in its place since.
    """
    python = f"python {sys.version_info.major}.{sys.version_info.minor}"
    return hashlib.sha256(f"{content_hash()}\n{python}\n".encode()).hexdigest()[:16]


def requirements(extra: str) -> list[str]:
    """Return the requirements of an extra (nested extras of this distribution resolved) without the core's.

    Raises:
        StackctlError: there is no such extra.
    """
    return sorted(set(_extra_requirements(extra)))


def core_requirements() -> list[str]:
    """Return the requirements that hold without any extra."""
    return sorted(line for line in _requires() if "extra ==" not in line)


def _requires() -> list[str]:
    return metadata.requires(NAME) or []


def _extra_requirements(extra: str) -> list[str]:
    marks = (f'extra == "{extra}"', f"extra == '{extra}'")
    lines = [line.split(";")[0].strip() for line in _requires() if any(mark in line for mark in marks)]
    if not lines:
        raise StackctlError(f"The distribution has no extra {extra}.")
    found: list[str] = []
    for line in lines:
        if line.startswith(f"{NAME}["):
            for nested in line.removeprefix(f"{NAME}[").rstrip("]").split(","):
                found += _extra_requirements(nested.strip())
        else:
            found.append(line)
    return found


def write_wheel(folder: Path) -> Path:
    """Write this distribution as a wheel into ``folder`` and return its path.

    The wheel is assembled from the files that lie here (PEP 427: a zip of the packages beside a ``.dist-info`` with
    METADATA, WHEEL, entry points and a RECORD of SHA-256), so it needs no build tool, no index and no checkout. It is
    the same for the same content.
    """
    import base64
    import zipfile

    info = f"{NAME}-{__version__}.dist-info"
    distribution = metadata.distribution(NAME)
    files: dict[str, bytes] = {path: file.read_bytes() for path, file in sources().items()}
    files[f"{info}/METADATA"] = (distribution.read_text("METADATA") or "").encode()
    files[f"{info}/entry_points.txt"] = (distribution.read_text("entry_points.txt") or "").encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: stackctl\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

    def digest(data: bytes) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()

    record = "".join(f"{path},sha256={digest(data)},{len(data)}\n" for path, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{NAME}-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files.items():
            wheel.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), data, compress_type=zipfile.ZIP_DEFLATED)
    return target
