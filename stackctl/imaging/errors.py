"""What can go wrong with an image; callers map `code` to a status, an exit code or a quarantine reason."""

from __future__ import annotations

from typing import ClassVar


class ImagingError(Exception):
    """An image could not be upscaled. `code` is stable and meant for machines, the message for people."""

    code: ClassVar[str] = "internal"

    @property
    def message(self) -> str:
        """Return what happened, in one sentence."""
        return str(self)


class UnsupportedFormat(ImagingError):
    """The bytes are no image, or one of a kind that is not accepted."""

    code = "unsupported_format"


class AnimatedImage(UnsupportedFormat):
    """The image has several frames or pages; one of them would have to be guessed."""


class CorruptImage(ImagingError):
    """The bytes begin like an accepted image but cannot be read to the end."""

    code = "corrupt_image"


class ImageTooLarge(ImagingError):
    """The bytes, the input pixels or the output pixels exceed a limit."""

    code = "too_large"


class BadOption(ImagingError):
    """An option has a value that cannot work."""

    code = "bad_option"


class BackendError(ImagingError):
    """The network could not be loaded or did not answer."""

    code = "internal"
