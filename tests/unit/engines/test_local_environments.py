"""Environments of the local engine: found, built once, never half."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stackctl import process
from stackctl.distribution import cache_folder
from stackctl.engines import environments
from stackctl.errors import MissingPrerequisite, StackctlError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Build environments in a cache of the test's own; the one with torch, which takes minutes, is there already."""
    if request.node.get_closest_marker("train"):
        return
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STACKCTL_WHEELHOUSE", raising=False)


def silent(_subject: str, _what: str) -> None:
    """Draw nothing."""


class Installation:
    """Stands for what is installed: counts its calls, and fails where it is told to."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.calls = 0
        self.failure = failure

    def __call__(self, _pip: object, note: Callable[[str], None]) -> None:
        self.calls += 1
        note("installing")
        if self.failure:
            raise self.failure


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make virtual environments without pip: a tenth of the time, and these tests install nothing."""
    real = process.run

    def quick(argv: list[str], **options: object) -> process.Completed:
        return real([*argv, "--without-pip"] if "venv" in argv else argv)

    monkeypatch.setattr(process, "run", quick)


def test_an_interpreter_that_has_the_packages_is_the_environment() -> None:
    assert environments.service_environment(silent) == Path(sys.executable)
    assert environments.problems() == []


@pytest.mark.usefixtures("without_pip")
def test_an_environment_is_built_once_and_says_what_it_does() -> None:
    installation = Installation()
    said: list[tuple[str, str]] = []
    first = environments._environment("local-1", lambda subject, what: said.append((subject, what)), installation)
    second = environments._environment("local-1", silent, installation)
    assert first == second
    assert installation.calls == 1
    assert process.run([first, "-c", "import sys; print(sys.prefix)"]).stdout.strip() == str(first.parent.parent)
    assert [what for _, what in said] == ["creating", "installing", "ready"]
    assert {subject for subject, _ in said} == {"local environment"}


@pytest.mark.usefixtures("without_pip")
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), StackctlError("pip failed")])
def test_a_build_that_was_cut_short_leaves_nothing_that_looks_finished(failure: BaseException) -> None:
    with pytest.raises(type(failure)):
        environments._environment("local-1", silent, Installation(failure))
    folder = cache_folder() / "environments" / "local-1"
    assert not folder.exists()
    (folder / "bin").mkdir(parents=True)  # a build that was killed could not tidy up
    (folder / "bin" / "python").touch()
    again = Installation()
    environments._environment("local-1", silent, again)
    assert again.calls == 1


@pytest.mark.usefixtures("without_pip")
def test_older_environments_of_the_same_kind_are_deleted() -> None:
    for name in ("local-1", "train-1", "local-2", "local-3"):
        environments._environment(name, silent, Installation())
    folder = cache_folder() / "environments"
    assert sorted(found.name for found in folder.iterdir() if found.is_dir()) == ["local-2", "local-3", "train-1"]


def test_a_wheelhouse_that_is_no_folder_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STACKCTL_WHEELHOUSE", str(tmp_path / "nowhere"))
    with pytest.raises(StackctlError, match="STACKCTL_WHEELHOUSE names"):
        environments.train_environment(silent)


@pytest.mark.slow
def test_torch_that_is_nowhere_is_a_missing_prerequisite_with_the_two_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "torch-99.0-cp27-none-any.whl").touch()
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("STACKCTL_WHEELHOUSE", str(tmp_path / "wheels"))
    monkeypatch.setenv("STACKCTL_TORCH_INDEX", (tmp_path / "index").as_uri())
    with pytest.raises(MissingPrerequisite) as caught:
        environments.train_environment(silent)
    assert "torch for the CPU is not to be had" in caught.value.message
    assert "STACKCTL_WHEELHOUSE" in (caught.value.hint or "")
    assert "STACKCTL_TORCH_INDEX" in (caught.value.hint or "")
    assert not list((cache_folder() / "environments").glob("train-*"))
    shutil.rmtree(cache_folder())


@pytest.mark.slow
@pytest.mark.train
def test_the_training_environment_has_torch_and_every_package_of_real_esrgan(
    monkeypatch: pytest.MonkeyPatch, shared_folder: Path | None
) -> None:
    if shared_folder and (shared_folder / "wheels").is_dir():
        monkeypatch.setenv("STACKCTL_WHEELHOUSE", str(shared_folder / "wheels"))
    python = environments.train_environment(silent)
    code = (
        "import torch, spandrel, basicsr, realesrgan, onnx, skimage, sklearn, cv2, stackctl\n"
        "print(torch.version.cuda, torch.ones(2, 2).sum().item())"
    )
    assert process.run([python, "-W", "ignore", "-c", code]).stdout.split() == ["None", "4.0"]
