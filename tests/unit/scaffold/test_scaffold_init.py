"""Making a stack folder: where it goes, what is refused, and that a failure leaves nothing."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stackctl import __version__
from stackctl.errors import UsageError
from stackctl.scaffold import Created, init, read_data_file, read_pairs
from stackctl.scaffold.questions import questions
from stackctl.stack import Stack


def make(folder: Path | None, **data: Any) -> Created:
    return init(folder, data=data, defaults=True, environ={})


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_the_defaults_make_a_stack_of_the_folders_name(tmp_path: Path) -> None:
    created = make(tmp_path / "blue-stack")
    settings = Stack.from_folder(tmp_path / "blue-stack").settings
    assert (settings.name, settings.engine, settings.model) == ("blue-stack", "local", "super-resolution")
    assert (settings.store.kind, settings.mlflow.kind, settings.exposure) == ("folder", "bundled", "loopback")
    assert created.stack.home == tmp_path / "blue-stack"


@pytest.mark.parametrize(
    ("folder", "name"), [("My Stack", "my-stack"), ("9", "my-stack"), ("a", "my-stack"), ("s" * 60, "s" * 40)]
)
def test_a_folder_whose_name_cannot_name_a_stack_still_holds_one(tmp_path: Path, folder: str, name: str) -> None:
    assert make(tmp_path / folder).stack.name == name


def test_without_a_folder_the_stack_goes_into_one_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make(None).stack.home == tmp_path / "my-stack"
    assert make(None, name="other").stack.home == tmp_path / "other"


def test_missing_parent_folders_are_made(tmp_path: Path) -> None:
    assert make(tmp_path / "a/b/c-stack").stack.home == tmp_path / "a/b/c-stack"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_an_empty_folder_is_filled_in_place(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    number = folder.stat().st_ino
    make(folder)
    assert folder.stat().st_ino == number
    assert not [entry for entry in folder.iterdir() if entry.name.startswith(".stackctl-init")]


def test_a_stack_is_refused_and_not_touched(tmp_path: Path) -> None:
    make(tmp_path / "my-stack")
    before = files(tmp_path)
    with pytest.raises(UsageError, match="already a stack"):
        make(tmp_path / "my-stack", engine="docker")
    assert files(tmp_path) == before


def test_a_folder_with_something_else_in_it_is_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear diary")
    with pytest.raises(UsageError, match="not empty"):
        make(tmp_path)
    assert files(tmp_path) == {"letter.txt": b"dear diary"}


def test_a_file_and_a_dangling_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "file/below"):
        with pytest.raises(UsageError, match="no folder"):
            make(tmp_path / name)


@pytest.mark.parametrize("folder", ["it's mine", 'my "stack"', "back\\slash", "two\nlines"])
def test_a_folder_in_which_up_could_not_work_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UsageError, match="cannot run in"):
        make(tmp_path / folder)
    (tmp_path / folder).mkdir()
    with pytest.raises(UsageError, match="cannot run in"):
        make(tmp_path / folder / "stack")
    assert [entry.name for entry in tmp_path.iterdir()] == [folder]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"name": "My-Stack"}, "name"),
        ({"name": "my stack"}, "name"),
        ({"name": "ab"}, "name"),
        ({"name": "1st-stack"}, "name"),
        ({"name": "my-stack\n"}, "name"),
        ({"engine": "podman"}, "engine"),
        ({"model": "a/b"}, "model"),
        ({"port_demo": "http"}, "port_demo"),
        ({"port_demo": "8000.5"}, "port_demo"),
        ({"port_demo": "0"}, "port_demo"),
        ({"port_demo": "70000"}, "port_demo"),
        ({"port_demo": True}, "port_demo"),
        ({"port_demo": "8080", "port_mlflow": "8080"}, "port_mlflow"),
        ({"memory_serving": "2 GB"}, "memory_serving"),
        ({"bucket_backup": "Backup"}, "bucket_backup"),
        ({"bucket_backup": "mlflow"}, "bucket_mlflow"),
        ({"engine": "docker", "store": "folder"}, "store"),
        ({"store": "s3"}, "store_endpoint"),
        ({"store": "s3", "store_endpoint": "s3.example.org"}, "store_endpoint"),
        ({"store": "s3", "store_endpoint": "https://me:hush@s3.example.org"}, "store_endpoint"),
        ({"store": "minio", "store_endpoint": "https://s3.example.org"}, "store_endpoint"),
        ({"mlflow": "external"}, "mlflow_tracking_uri"),
        ({"mlflow": "external", "mlflow_tracking_uri": "https://me:hush@mlflow.example.org"}, "mlflow_tracking_uri"),
        ({"mlflow_registry_uri": "https://mlflow.example.org"}, "mlflow_registry_uri"),
        ({"exposure": "lan"}, "exposure"),
        ({"gpu": "some"}, "gpu"),
        ({"base_image": "Debian bookworm"}, "base_image"),
        ({"image_registry": "https://registry.example.org"}, "image_registry"),
        ({"image_registry": "me:hush@registry.example.org"}, "image_registry"),
        ({"model": None}, "model"),
        ({"model": ["a"]}, "model"),
        ({"model": "{{ 7 * 7 }}"}, "model"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_an_answer_that_cannot_be_used_is_named_and_leaves_nothing(
    tmp_path: Path, data: Mapping[str, Any], named: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make(tmp_path / "new" / "stack", **data)
    assert named in caught.value.message
    assert "hush" not in f"{caught.value.message}{caught.value.hint}"
    assert not list(tmp_path.iterdir())


def test_missing_credentials_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        make(tmp_path / "stack", store="s3", store_endpoint="https://s3.example.org")
    assert not list(tmp_path.iterdir())


def test_an_unknown_answer_is_met_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        make(tmp_path / "stack", port_mlfow="5001")
    assert "Did you mean port_mlflow?" in caught.value.message
    assert all(question in (caught.value.hint or "") for question in questions())


def test_a_taken_default_port_gives_way_to_the_next_free_one_which_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        taken = held.getsockname()[1]
        standing_in = questions()
        standing_in["port_mlflow"]["default"] = taken
        monkeypatch.setattr("stackctl.scaffold.create.questions", lambda: standing_in)
        created = make(tmp_path / "stack")
    kept = created.stack.settings.ports.mlflow
    assert kept > taken
    assert f"Port {taken} is taken: mlflow got {kept}." in created.notes
    assert Stack.from_folder(tmp_path / "stack").settings.ports.mlflow == kept
    assert created.answers["port_mlflow"] == kept


def test_a_taken_port_that_was_asked_for_is_kept_with_a_note(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        taken = held.getsockname()[1]
        created = make(tmp_path / "stack", port_demo=str(taken))
    assert created.stack.settings.ports.demo == taken
    assert any(str(taken) in note and "taken" in note for note in created.notes)


def test_the_pristine_render_is_kept_with_its_version_and_answers(tmp_path: Path) -> None:
    created = make(tmp_path / "stack", model="mine")
    base = created.stack.state / "base"
    note = json.loads((created.stack.state / "base.json").read_text())
    assert note == {"schema_version": 1, "template_version": __version__, "answers": created.answers}
    assert note["answers"]["model"] == "mine"
    expected = files(created.stack.home)
    pristine = {path: text for path, text in expected.items() if not path.startswith((".stackctl/", "secrets/"))}
    assert files(base) == pristine


def test_git_would_take_the_stack_without_its_secrets_and_state(tmp_path: Path) -> None:
    from stackctl import process

    home = make(tmp_path / "stack").stack.home
    for path in (".env", "var/logs/a.log", "data/inbound/photo.png", ".stackctl/lock"):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).touch()
    process.run(["git", "init", "-q"], cwd=home)
    process.run(["git", "add", "-A"], cwd=home)
    taken = process.run(["git", "ls-files"], cwd=home).stdout.split()
    assert {"stack.yaml", ".gitignore", ".copier-answers.yml", "data/inbound/.gitkeep", ".stackctl/base.json"} <= set(
        taken
    )
    assert ".stackctl/base/stack.yaml" in taken
    assert ".stackctl/base/data/inbound/.gitkeep" in taken
    assert not [path for path in taken if re.match(r"secrets|\.env|var|\.stackctl/lock|data/.*png", path)]


def test_a_machine_without_git_makes_the_same_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert make(tmp_path / "stack").stack.name == "stack"


def test_the_persons_own_copier_settings_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.yml").write_text("defaults: {model: from-settings}\n")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(tmp_path / "settings.yml"))
    assert make(tmp_path / "stack").stack.settings.model == "super-resolution"


def test_no_answer_is_needed_for_a_stack_with_servers_elsewhere_but_secrets_come_from_the_environment(
    tmp_path: Path,
) -> None:
    created = init(
        tmp_path / "stack",
        data={
            "store": "s3",
            "store_endpoint": "https://s3.example.org",
            "mlflow": "external",
            "mlflow_tracking_uri": "https://mlflow.example.org/base",
        },
        defaults=True,
        environ={
            "STACKCTL_S3_ACCESS_KEY": "hush-access",
            "STACKCTL_S3_SECRET_KEY": "hush-secret",
            "MLFLOW_TRACKING_TOKEN": "hush-token",
        },
    )
    assert created.stack.secret("mlflow_token") == "hush-token"
    assert "hush-secret" in created.stack.secret("s3_credentials")
    found = [path for path, content in files(created.stack.home).items() if b"hush" in content]
    assert sorted(found) == ["secrets/mlflow_token", "secrets/s3_credentials"]


def test_files_that_were_not_needed_are_noted(tmp_path: Path) -> None:
    created = init(
        tmp_path / "stack",
        data={},
        defaults=True,
        s3_credentials_file=Path("a"),
        mlflow_token_file=Path("b"),
        environ={},
    )
    assert len([note for note in created.notes if "was not used" in note]) == 2


def test_pairs_are_split_at_their_first_equals_sign() -> None:
    assert read_pairs(["store_endpoint=https://x.example.org/?a=b", " name = my-stack "]) == {
        "store_endpoint": "https://x.example.org/?a=b",
        "name": "my-stack",
    }
    with pytest.raises(UsageError):
        read_pairs(["hush"])


@pytest.mark.parametrize("content", [b"- a\n- b\n", b"a: [", b"\xff", b""])
def test_a_data_file_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "answers.yml").write_bytes(content)
    with pytest.raises(UsageError, match=r"answers\.yml"):
        read_data_file(tmp_path / "answers.yml")


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(UsageError, match="Nothing can be written into /proc"):  # not even by root
        make(Path("/proc/stack"))
