"""The networks that can be imported by name: the two starters of this distribution, and Real-ESRGAN's official ones."""

from __future__ import annotations

from dataclasses import dataclass

from stackctl.errors import UsageError

RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download"
LICENCE = "BSD-3-Clause"
STARTERS = ("starter", "starter-v1", "starter-v2")
"""``starter`` is both of them to the registry, and the second where one network is asked for."""


@dataclass(frozen=True)
class Checkpoint:
    """One official checkpoint of https://github.com/xinntao/Real-ESRGAN (BSD-3-Clause).

    Attributes:
        name: upstream's name of the network, as in its ``-n``.
        tag: the release that has the file.
        sha256: of the file, in hex.
        architecture: ``SRVGGNetCompact`` or ``RRDBNet``.
        scale: output size over input size.
        title: what it is for.
        weak_denoise: name of its twin that keeps noise, which ``denoise`` mixes in; None: there is none.
    """

    name: str
    tag: str
    sha256: str
    architecture: str
    scale: int
    title: str
    weak_denoise: str | None = None

    @property
    def file_name(self) -> str:
        """The file's name in a release, a mirror or a folder."""
        return f"{self.name}.pth"

    @property
    def url(self) -> str:
        """Where upstream keeps it."""
        return f"{RELEASES}/{self.tag}/{self.file_name}"


CATALOGUE: dict[str, Checkpoint] = {
    entry.name: entry
    for entry in (
        Checkpoint(
            "RealESRGAN_x4plus",
            "v0.1.0",
            "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
            "RRDBNet",
            4,
            "photos, x4",
        ),
        Checkpoint(
            "RealESRNet_x4plus",
            "v0.1.1",
            "a820b9bde89a874d7599d545567308ce6c128fc8754a53208eda016d40aa81df",
            "RRDBNet",
            4,
            "photos, x4, trained without an adversary: smoother",
        ),
        Checkpoint(
            "RealESRGAN_x2plus",
            "v0.2.1",
            "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
            "RRDBNet",
            2,
            "photos, x2",
        ),
        Checkpoint(
            "RealESRGAN_x4plus_anime_6B",
            "v0.2.2.4",
            "f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
            "RRDBNet",
            4,
            "drawings, x4",
        ),
        Checkpoint(
            "realesr-animevideov3",
            "v0.2.5.0",
            "b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
            "SRVGGNetCompact",
            4,
            "drawn films, x4, small and quick",
        ),
        Checkpoint(
            "realesr-general-x4v3",
            "v0.2.5.0",
            "8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
            "SRVGGNetCompact",
            4,
            "anything, x4, small; how much it denoises can be chosen",
            weak_denoise="realesr-general-wdn-x4v3",
        ),
        Checkpoint(
            "realesr-general-wdn-x4v3",
            "v0.2.5.0",
            "1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
            "SRVGGNetCompact",
            4,
            "anything, x4, small, keeps noise",
        ),
    )
}


def names() -> tuple[str, ...]:
    """Return every name that can be imported."""
    return (*STARTERS, *CATALOGUE)


def checkpoint(name: str) -> Checkpoint:
    """Return an official checkpoint by its name.

    Raises:
        UsageError: there is none of that name.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        raise UsageError(
            f"There is no network {name}, and no file of that name.",
            f"Networks: {', '.join(names())}; or give a .pth, .safetensors or .onnx file.",
        ) from None
