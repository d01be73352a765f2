"""What a failing ``docker`` command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackctl.errors import MissingPrerequisite
from stackctl.images import client
from stackctl.process import ProcessFailed


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a ``docker`` command that the test writes."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    file = tmp_path / "docker"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def test_no_command_is_a_missing_prerequisite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPrerequisite, match="no `docker` command") as missing:
        client.require_engine()
    assert missing.value.hint
    with pytest.raises(MissingPrerequisite, match="no `docker` command"):
        client.docker(["ps"])


def test_a_command_without_an_engine_is_a_missing_prerequisite(fake_docker: Path) -> None:
    fake_docker.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    with pytest.raises(MissingPrerequisite, match="Cannot connect"):
        client.docker(["image", "ls"])


def test_an_engine_that_hangs_is_given_up(fake_docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_docker.write_text("#!/bin/sh\nsleep 30\n")
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    with pytest.raises(MissingPrerequisite, match="does not answer"):
        client.require_engine()


def test_a_failure_of_a_working_engine_keeps_its_words(fake_docker: Path) -> None:
    fake_docker.write_text("#!/bin/sh\n[ \"$1\" = version ] && echo 26.1 && exit 0\necho 'no space left' >&2\nexit 1\n")
    with pytest.raises(ProcessFailed, match="no space left"):
        client.docker(["import", "x"])


def test_images_that_are_not_there_are_left_out(fake_docker: Path) -> None:
    document = '{"Id":"sha256:1","RepoTags":["a:1"],"Size":5,"RootFS":{"Layers":["sha256:x"]},"Config":{"Labels":null}}'
    fake_docker.write_text(f"#!/bin/sh\n[ \"$1\" = version ] && echo 26.1 && exit 0\necho '{document}'\nexit 1\n")
    found = client.inspect(["a:1", "b:1"])
    assert list(found) == ["a:1"]
    assert found["a:1"].layers == ("sha256:x",)
