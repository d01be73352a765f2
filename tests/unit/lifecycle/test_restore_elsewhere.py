"""A snapshot as plain files in a folder, and the settings that a new stack takes over from one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from support.small_snapshot import ID, THEN, Scene, contents_of, scene
from support.sudden_end import ends_at

from stackctl.backup.manifest import sha256_of
from stackctl.engines import Engine
from stackctl.errors import StackctlError, UsageError
from stackctl.lifecycle.restore_elsewhere import OPEN, into_folder, make_stack
from stackctl.process import Completed, run
from stackctl.stack.environment import local_environment


class OneOffs:
    """An engine that only runs one-off commands and hands out snapshots, as plain folders of this machine."""

    def __init__(self, small: Scene) -> None:
        self.small = small

    def run_once(
        self,
        environment: str,
        argv: Sequence[str],
        *,
        mounts: Mapping[Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        repository = {"STACKCTL_BACKUP_REPOSITORY": str(self.small.live.repository.root)}
        variables = {**local_environment(self.small.live.stack), **repository}
        return run([sys.executable, *argv[1:]], env=variables, on_line=on_line)

    def snapshot_out(self, identity: str, scratch: Path) -> Path:
        return self.small.live.repository.home / identity


@pytest.fixture
def small(tmp_path: Path) -> Scene:
    return scene(tmp_path / "one")


def engine_of(small: Scene) -> Engine:
    return cast("Engine", OneOffs(small))


def silent(_subject: str, _what: str) -> None:
    """Draw nothing."""


def test_a_folder_gets_every_file_as_the_manifest_has_it(small: Scene, tmp_path: Path) -> None:
    target = tmp_path / "plain"
    done = into_folder(engine_of(small), "20261114", target, silent)
    assert done["snapshot"] == ID
    files = {file.relative_to(target).as_posix(): sha256_of(file) for file in target.rglob("*") if file.is_file()}
    assert files == {path: entry.sha256 for path, entry in small.snapshot.manifest.files.items()}
    assert contents_of(target / "objects" / "mlflow") == THEN


def test_a_part_alone_and_nothing_into_a_folder_that_has_something_else(small: Scene, tmp_path: Path) -> None:
    into_folder(engine_of(small), None, tmp_path / "results", silent, only="outbound")
    assert contents_of(tmp_path / "results") == {"data/outbound/a.png": "a then", "data/outbound/b.png": "b"}
    with pytest.raises(UsageError, match="neither a stack nor empty"):
        into_folder(engine_of(small), None, tmp_path / "results", silent)


def test_copying_into_a_folder_that_ended_suddenly_goes_on(small: Scene, tmp_path: Path) -> None:
    path = str(small.snapshot.folder)
    for number in range(4, 200, 4):
        target = tmp_path / str(number)
        if ends_at(number, partial(into_folder, engine_of(small), path, target, silent)):
            assert number > 12
            return
        assert (target / OPEN).is_file() or not any(target.glob("*"))
        into_folder(engine_of(small), path, target, silent)
        assert contents_of(target / "objects" / "mlflow") == THEN
        assert not (target / OPEN).exists()


def test_a_folder_that_cannot_be_written_is_named_and_a_file_is_none(small: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="neither a stack nor empty"):
        into_folder(engine_of(small), str(small.snapshot.folder), tmp_path / "file", silent)
    with pytest.raises(StackctlError, match="cannot be written: Not a directory"):
        into_folder(engine_of(small), str(small.snapshot.folder), tmp_path / "file" / "plain", silent)


def test_a_damaged_file_is_named(small: Scene, tmp_path: Path) -> None:
    (small.snapshot.folder / "data/outbound/b.png").write_text("B")
    with pytest.raises(StackctlError, match=r"data/outbound/b\.png in the snapshot .* is damaged"):
        into_folder(engine_of(small), None, tmp_path / "plain", silent)


def test_a_new_stack_takes_over_what_a_person_set_but_no_port_and_no_target(small: Scene, tmp_path: Path) -> None:
    saved = small.snapshot.folder / "stack"
    first = make_answers(tmp_path)
    saved.mkdir()
    for name in (".copier-answers.yml", "stack.yaml"):
        (saved / name).write_bytes((first / name).read_bytes())
    text = (saved / "stack.yaml").read_text()
    text = text.replace("packages: []", "packages: [scikit-learn==1.7.2]").replace(
        "target: null", "target: /srv/backups"
    )
    text = text.replace("include: [", "include: [datasets, ").replace("keep_last: 2", "keep_last: 9")
    (saved / "stack.yaml").write_text(text)
    made = make_stack(small.snapshot, tmp_path / "second", "docker", silent, changed={"backup": {"schedule": None}})
    settings = made.settings
    assert settings.serving.packages == ("scikit-learn==1.7.2",)
    assert (settings.name, settings.engine, settings.store.kind) == ("second", "docker", "minio")
    assert (settings.backup.target, settings.backup.schedule) == (None, None)
    assert (settings.backup.include[0], settings.backup.keep_last) == ("datasets", 9)
    assert "# How the services run" in (made.home / "stack.yaml").read_text(), "its comments stay"


def make_answers(folder: Path) -> Path:
    from stackctl.scaffold import init

    init(folder / "first", data={"engine": "local", "store": "folder"}, defaults=True)
    return folder / "first"
