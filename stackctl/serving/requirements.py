"""What a version says that it needs, against what is installed here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

FILE = "requirements.txt"
STAND_INS = {"mlflow": ("mlflow-skinny",), "opencv-python": ("opencv-python-headless",)}
"""Distributions with the same modules, as far as a served model uses them."""


def check(folder: Path) -> tuple[list[str], list[str]]:
    """Compare the requirements in a version's folder with the packages installed here.

    Returns:
        Those that are missing, and a sentence for each one that is installed in another major version.
    """
    missing: list[str] = []
    differing: list[str] = []
    for requirement in _requirements(folder / FILE):
        installed = _installed(requirement.name)
        if installed is None:
            missing.append(str(requirement))
        elif not requirement.specifier.contains(installed, prereleases=True) and _major_differs(requirement, installed):
            differing.append(f"{requirement} is wanted, {installed} is installed")
    return missing, differing


def _requirements(file: Path) -> Iterator[Requirement]:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        text = line.split(" #")[0].strip()
        if not text or text.startswith(("#", "-")):  # options (--find-links, -c) name no package
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # a path or a URL: nothing that could be looked up
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def _installed(name: str) -> str | None:
    for candidate in (name, *STAND_INS.get(name.lower().replace("_", "-"), ())):
        try:
            return metadata.version(candidate)
        except metadata.PackageNotFoundError:
            continue
    return None


def _major_differs(requirement: Requirement, installed: str) -> bool:
    major = Version(installed).major
    return all(Version(each.version.rstrip(".*")).major != major for each in requirement.specifier)
