"""Which objects are read, and what becomes of those that change meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.backups import Shelf

from stackctl.backup.events import Progress, quiet
from stackctl.backup.mirror import Index, Mirror
from stackctl.errors import StackctlError


class Followed:
    """A mirror of a shelf."""

    def __init__(self, folder: Path) -> None:
        self.shelf = Shelf()
        (folder / "state").mkdir()
        self.index = Index(folder / "mirror.sqlite")
        self.mirror = Mirror("mlflow", self.shelf, folder / "state" / "mirror" / "mlflow", self.index)

    def follow(self) -> dict[str, bytes]:
        """Follow the shelf and return what the files hold; only those that it speaks of may be there."""
        self.shelf.reads.clear()
        entries = self.mirror.follow(self.mirror.plan(), Progress(quiet, "objects"))
        files = {file for file in self.mirror.folder.rglob("*") if file.is_file()}
        assert {file.relative_to(self.mirror.folder).as_posix() for file in files} == set(entries)
        return {key: (self.mirror.folder / key).read_bytes() for key in entries}


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    """Return a mirror of two objects that has followed them once."""
    followed = Followed(tmp_path)
    followed.shelf.objects = {"a/one": b"1" * 5000, "a/b/two": b"2"}
    assert followed.follow() == followed.shelf.objects
    return followed


def test_only_what_changed_is_read_again(followed: Followed) -> None:
    assert followed.follow() == followed.shelf.objects
    assert followed.shelf.reads == []
    followed.shelf.objects = {"a/one": b"1" * 5000, "a/b/two": b"3", "c": b""}
    assert followed.follow() == followed.shelf.objects
    assert sorted(followed.shelf.reads) == ["a/b/two", "c"]


def test_images_that_only_pass_through_the_store_are_in_no_snapshot(followed: Followed) -> None:
    followed.shelf.objects[".host/0123/photo.png"] = b"a copy of somebody's photo"
    assert set(followed.follow()) == {"a/one", "a/b/two"}


def test_a_file_that_is_not_as_it_was_left_is_read_again(followed: Followed) -> None:
    file = followed.mirror.folder / "a/one"
    os.utime(file, ns=(0, 0))
    (followed.mirror.folder / "a/b/two").unlink()
    assert followed.follow() == followed.shelf.objects
    assert sorted(followed.shelf.reads) == ["a/b/two", "a/one"]


def test_a_changed_object_is_a_new_file_so_that_a_link_to_the_old_one_keeps_its_content(
    followed: Followed, tmp_path: Path
) -> None:
    (tmp_path / "shared").hardlink_to(followed.mirror.folder / "a/one")
    followed.shelf.objects["a/one"] = b"another"
    assert followed.follow() == followed.shelf.objects
    assert (tmp_path / "shared").read_bytes() == b"1" * 5000


def test_an_object_may_become_a_folder_and_a_folder_an_object(followed: Followed) -> None:
    followed.shelf.objects = {"a": b"was a folder"}
    assert followed.follow() == followed.shelf.objects
    followed.shelf.objects = {"a/deep/er": b"was an object"}
    assert followed.follow() == followed.shelf.objects


def test_an_object_that_is_replaced_after_it_was_listed_is_kept_as_it_is_then(followed: Followed) -> None:
    def replace(key: str) -> None:
        followed.shelf.objects[key] = b"replaced meanwhile"

    followed.shelf.objects["late"] = b"first"
    followed.shelf.before_read = replace
    assert followed.follow()["late"] == b"replaced meanwhile"
    followed.shelf.before_read = lambda _key: None
    assert followed.follow() == followed.shelf.objects


def test_an_object_that_is_deleted_after_it_was_listed_is_left_out(followed: Followed) -> None:
    followed.shelf.objects["late"] = b"first"
    followed.shelf.before_read = lambda key: followed.shelf.objects.pop(key, None)  # type: ignore[assignment]
    assert "late" not in followed.follow()


@pytest.mark.parametrize("key", ["x" * 300, "a/one/below an object"])
def test_a_key_that_cannot_be_a_files_name_is_named(followed: Followed, key: str) -> None:
    followed.shelf.objects[key] = b"odd"
    with pytest.raises(StackctlError) as refused:
        followed.follow()
    assert key in refused.value.message


def test_an_index_that_is_damaged_is_made_anew(followed: Followed, tmp_path: Path) -> None:
    followed.index.close()
    (tmp_path / "mirror.sqlite").write_bytes(b"no database" * 100)
    followed.index = Index(tmp_path / "mirror.sqlite")
    followed.mirror = Mirror("mlflow", followed.shelf, followed.mirror.folder, followed.index)
    assert followed.follow() == followed.shelf.objects
    assert len(followed.shelf.reads) == 2
