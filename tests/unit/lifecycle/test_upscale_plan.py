"""Where results go and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackctl.batch.naming import extension, stems
from stackctl.errors import UsageError
from stackctl.lifecycle.upscale import How, plan
from stackctl.store.errors import CannotWrite
from stackctl.store.files import write_file


def folder_of(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return path


def test_no_two_results_share_a_name_whatever_their_format() -> None:
    names = ["a.jpg", "a.png", "a.PNG", "a_jpg.png", "a_png_out.jpg", "b.webp", "sub/a.png"]
    for suffix in ("out", ""):
        results = stems(names, suffix)
        assert set(results) == set(names)
        assert len(set(results.values())) == len(names)
    assert stems(names, "out")["sub/a.png"] == "sub/a_out"
    assert stems(["a.png"], "")["a.png"] == "a"


def test_names_do_not_depend_on_the_order_of_the_inputs() -> None:
    names = ["a.jpg", "a.png", "a_jpg.png"]
    assert stems(names, "out") == stems(names[::-1], "out")


@pytest.mark.parametrize(
    ("name", "made", "ending"),
    [("a.jpeg", "jpeg", ".jpeg"), ("A.JPG", "jpeg", ".JPG"), ("a.jpg", "png", ".png"), ("a.bmp", "png", ".png")],
)
def test_a_result_keeps_its_inputs_ending_where_the_format_is_the_same(name: str, made: str, ending: str) -> None:
    assert extension(name, made) == ending


def test_results_of_an_earlier_call_below_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    inputs = folder_of(tmp_path / "in", "a.png", "sub/b.jpg", "notes.txt", "out/a_out.png", ".partial-x.png")
    assert plan(str(inputs), str(inputs / "out"), How()).names == ("a.png", "sub/b.jpg")


def test_one_image_may_get_a_result_of_a_given_name(tmp_path: Path) -> None:
    image = folder_of(tmp_path, "a.png") / "a.png"
    work = plan(str(image), str(tmp_path / "big.jpg"), How())
    assert work.result_of("a.png", "jpeg") == "big.jpg"
    assert work.how.image_format == "jpeg"
    with pytest.raises(UsageError, match="by its name"):
        plan(str(image), str(tmp_path / "big.jpg"), How(image_format="png"))
    (tmp_path / "folder.png").mkdir()
    assert plan(str(image), str(tmp_path / "folder.png"), How()).exactly is None


@pytest.mark.parametrize("target", ["in", "in/a.png"])
def test_inputs_are_never_replaced_by_their_results(tmp_path: Path, target: str) -> None:
    image = folder_of(tmp_path / "in", "a.png") / "a.png"
    with pytest.raises(UsageError, match="replace"):
        plan(str(image), str(tmp_path / target), How(suffix=""))
    assert plan(str(image), str(tmp_path / "in"), How(suffix="x")).stems["a.png"] == "a_x"


def test_results_of_an_earlier_call_beside_their_inputs_are_no_inputs(tmp_path: Path) -> None:
    inputs = folder_of(tmp_path / "in", "a.png", "a_out.png", "sub/b.jpg", "sub/b_out.png", "c_out.png")
    work = plan(str(inputs), f"{inputs}/sub/..", How())
    assert work.names == ("a.png", "c_out.png", "sub/b.jpg")
    assert work.notes == ("2 earlier results left out.",)
    (inputs / "link.png").symlink_to("a_out.png")
    with pytest.raises(UsageError, match="replace") as refused:
        plan(str(inputs), str(inputs), How())
    assert "link.png" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("source", "target", "suffix"),
    [
        ("link.png", "ph/a.png", "out"),
        ("ph", "ph/vac", ""),
        ("ph/vac", "ph", ""),
        ("ph/vac", "ph", "out"),
        ("ph", "to-ph", ""),
    ],
)
def test_no_result_replaces_an_image_below_the_inputs(tmp_path: Path, source: str, target: str, suffix: str) -> None:
    folder_of(tmp_path, "ph/a.png", "ph/vac/a.png", "ph/vac/a_out.png", "ph/vac/vac/a.png")
    (tmp_path / "link.png").symlink_to("ph/a.png")
    (tmp_path / "to-ph").symlink_to("ph")
    with pytest.raises(UsageError, match="would replace their inputs") as refused:
        plan(str(tmp_path / source), str(tmp_path / target), How(suffix=suffix))
    assert ".png would be replaced" in str(refused.value.hint)
    assert plan(str(tmp_path / source), str(tmp_path / "elsewhere"), How(suffix=suffix)).names


def test_a_loop_of_links_is_a_sentence(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    inputs = folder_of(tmp_path / "in", "a.png")
    with pytest.raises(UsageError):
        plan(str(loop), str(tmp_path / "out"), How())
    for target in (loop, loop / "below"):
        with pytest.raises(CannotWrite):
            plan(str(inputs), str(target), How()).outbound.write("a.png", b"")


def test_a_folder_without_images_and_a_missing_one_are_said(tmp_path: Path) -> None:
    empty, missing = folder_of(tmp_path / "empty", "x.txt"), tmp_path / "missing"
    for source, said in ((empty, "There is no image in"), (missing, "There is no folder or image")):
        with pytest.raises(UsageError, match=said):
            plan(str(source), str(tmp_path / "out"), How())


@pytest.mark.parametrize("name", ["x.gif", "x.BMP", "x.avif"])
def test_one_result_is_refused_in_a_format_that_is_not_written(tmp_path: Path, name: str) -> None:
    image = folder_of(tmp_path, "a.png") / "a.png"
    with pytest.raises(UsageError, match="cannot be written as"):
        plan(str(image), str(tmp_path / name), How())
    (tmp_path / name).mkdir()
    assert plan(str(image), str(tmp_path / name), How()).exactly is None


@pytest.mark.parametrize("suffix", ["a/b", "../../zz", "a\0"])
def test_a_suffix_that_is_no_part_of_a_name_is_refused(tmp_path: Path, suffix: str) -> None:
    inputs = folder_of(tmp_path / "in", "a.png")
    with pytest.raises(UsageError, match="suffix"):
        plan(str(inputs), str(tmp_path / "out"), How(suffix=suffix))


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(CannotWrite):
        write_file(tmp_path / "taken.png", b"data")
    assert [file.name for file in tmp_path.iterdir()] == ["taken.png"]
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="cannot be written"):
        write_file(tmp_path / "file" / "a.png", b"data")


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664)])
def test_a_result_is_as_private_as_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_file(tmp_path / "a.png", b"data")
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == mode
