"""Files are known by their first bytes."""

from __future__ import annotations

import pytest
from support.live_demo import photo

from flask_demo.formats import name_of_other, sniff


@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "WebP", "TIFF", "BMP"])
def test_an_accepted_photo_is_known_by_its_content(encoding: str) -> None:
    accepted = sniff(photo(encoding=encoding))

    assert accepted is not None
    assert accepted.name == encoding


def test_formats_that_browsers_cannot_show_come_back_as_png() -> None:
    asked = {encoding: sniff(photo(encoding=encoding)) for encoding in ("PNG", "JPEG", "WebP", "TIFF", "BMP")}

    assert {name: accepted and accepted.ask for name, accepted in asked.items()} == {
        "PNG": "auto",
        "JPEG": "auto",
        "WebP": "auto",
        "TIFF": "png",
        "BMP": "png",
    }


@pytest.mark.parametrize(
    "content", [b"", b"BM", b"BMW is a car maker, not a bitmap", b"RIFF\0\0\0\0WAVEfmt ", b"hello"]
)
def test_what_only_resembles_a_photo_is_none(content: bytes) -> None:
    assert sniff(content) is None


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (photo(encoding="GIF"), "a GIF picture"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC photo"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video or HEIC photo"),
        (b"\xef\xbb\xbf \n<SVG xmlns=", "an SVG drawing"),
        (b"just text", None),
    ],
)
def test_a_common_wrong_file_is_called_by_its_name(content: bytes, name: str | None) -> None:
    assert name_of_other(content) == name
