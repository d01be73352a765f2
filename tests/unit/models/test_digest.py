from __future__ import annotations

import hashlib
from pathlib import Path

from stackctl.models.digest import digest_of_files, digest_of_folder


def make_version(folder: Path) -> Path:
    (folder / "artifacts").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "artifacts" / "network.onnx").write_bytes(b"\x00\x01\x02")
    return folder


def test_the_digest_is_sha256_over_the_sorted_paths_and_hashes(tmp_path: Path) -> None:
    folder = make_version(tmp_path / "v")
    lines = "".join(
        f"{path}\0{hashlib.sha256((folder / path).read_bytes()).hexdigest()}\n"
        for path in ("MLmodel", "artifacts/network.onnx")
    )
    assert digest_of_folder(folder) == f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def test_what_mlflow_writes_while_downloading_does_not_count(tmp_path: Path) -> None:
    folder = make_version(tmp_path / "v")
    before = digest_of_folder(folder)
    (folder / "registered_model_meta").write_text("model_name: super-resolution\n")
    assert digest_of_folder(folder) == before


def test_a_file_of_that_name_deeper_down_does_count(tmp_path: Path) -> None:
    folder = make_version(tmp_path / "v")
    before = digest_of_folder(folder)
    (folder / "artifacts" / "registered_model_meta").write_text("smuggled")
    assert digest_of_folder(folder) != before


def test_a_changed_byte_a_renamed_file_and_an_added_file_each_change_the_digest(tmp_path: Path) -> None:
    digests = {digest_of_folder(make_version(tmp_path / "same"))}
    changed = make_version(tmp_path / "changed")
    (changed / "artifacts" / "network.onnx").write_bytes(b"\x00\x01\x03")
    renamed = make_version(tmp_path / "renamed")
    (renamed / "MLmodel").rename(renamed / "MLmodel2")
    added = make_version(tmp_path / "added")
    (added / "__pycache__").mkdir()
    (added / "__pycache__" / "model.pyc").write_bytes(b"")
    digests |= {digest_of_folder(folder) for folder in (changed, renamed, added)}
    assert len(digests) == 4


def test_the_order_in_which_files_are_listed_does_not_matter() -> None:
    files = {"b/c": "22", "a": "11", "b-c": "33"}
    assert digest_of_files(files) == digest_of_files(dict(reversed(files.items())))
