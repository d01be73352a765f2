"""The contact sheet of two versions, drawn from golden folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from stackctl.errors import StackctlError
from stackctl.models.sheet import AMPLIFIED, CAPTION, GAP, draw, rows


def golden(folder: Path, *, inputs: tuple[int, ...], level: int, scale: int = 4) -> Path:
    """Write golden pairs: plain inputs of the given grey, and outputs of one level."""
    folder.mkdir()
    pairs = []
    for number, grey in enumerate(inputs):
        Image.new("RGB", (10, 8), (grey, grey, grey)).save(folder / f"{number}_input.png")
        Image.new("RGB", (10 * scale, 8 * scale), (level, level, level)).save(folder / f"{number}_output.png")
        digest = hashlib.sha256((folder / f"{number}_input.png").read_bytes()).hexdigest()
        pairs.append({"input": f"{number}_input.png", "output": f"{number}_output.png", "sha256_input": digest})
    (folder / "manifest.json").write_text(json.dumps({"pairs": pairs}))
    return folder


def test_each_row_shows_an_input_both_outputs_and_their_difference(tmp_path: Path) -> None:
    before = golden(tmp_path / "1", inputs=(50, 60), level=100)
    after = golden(tmp_path / "2", inputs=(50, 60), level=103)
    sheet = draw(rows(before, after), "1", "2")
    y = CAPTION + 10
    columns = [sheet.getpixel((GAP + (40 + GAP) * column + 10, y)) for column in range(4)]
    assert columns == [(50,) * 3, (100,) * 3, (103,) * 3, (3 * AMPLIFIED,) * 3]
    assert sheet.height > 2 * 32


def test_inputs_are_paired_by_content_not_by_name(tmp_path: Path) -> None:
    found = rows(
        golden(tmp_path / "1", inputs=(50, 60, 70), level=100), golden(tmp_path / "2", inputs=(70, 50), level=103)
    )
    assert [(row.before.name, row.after.name) for row in found] == [
        ("0_output.png", "1_output.png"),
        ("2_output.png", "0_output.png"),
    ]


def test_versions_of_different_scales_are_compared_at_the_later_ones_size(tmp_path: Path) -> None:
    found = rows(
        golden(tmp_path / "1", inputs=(50,), level=9, scale=2), golden(tmp_path / "2", inputs=(50,), level=9, scale=4)
    )
    assert draw(found, "1", "2").width == 4 * 40 + 5 * GAP


def test_versions_without_a_common_input_have_no_sheet(tmp_path: Path) -> None:
    with pytest.raises(StackctlError, match="share no golden input"):
        rows(golden(tmp_path / "1", inputs=(50,), level=1), golden(tmp_path / "2", inputs=(60,), level=1))


def test_a_folder_without_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackctlError, match="no readable manifest"):
        rows(tmp_path, tmp_path)
