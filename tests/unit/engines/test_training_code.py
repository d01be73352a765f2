"""The copy of the code that the training environment runs: never stale, and never a reason to install torch again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import stackctl
from stackctl import distribution, process
from stackctl.engines import environments
from stackctl.engines.training_code import KEPT, with_code


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STACKCTL_WHEELHOUSE", raising=False)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Return the interpreter of an environment with one package, ``torch``, and nothing else."""
    process.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "train-1"])
    site = next((tmp_path / "train-1").glob("lib/python*/site-packages"))
    (site / "torch.py").write_text("version = 'here'\n")
    return tmp_path / "train-1" / "bin" / "python"


def test_the_interpreter_has_the_packages_and_a_copy_of_this_very_code(packages: Path) -> None:
    python = with_code(packages)

    code = "import stackctl.errors, torch; print(torch.version); print(stackctl.__file__); print(stackctl.__version__)"
    version, file, ours = process.run([python, "-c", code], cwd=Path("/")).stdout.split()
    assert (version, ours) == ("here", stackctl.__version__)
    assert Path(file).is_relative_to(python.parent.parent)
    assert with_code(packages) == python


def test_other_code_is_another_copy_beside_the_same_packages(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = with_code(packages)
    monkeypatch.setattr(distribution, "content_hash", lambda: "0" * 64)
    second = with_code(packages)

    assert first != second
    assert first.is_file()
    assert process.run([second, "-c", "import torch; print(torch.version)"]).stdout.split() == ["here"]


def test_only_the_last_few_copies_are_kept(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(KEPT + 2):
        monkeypatch.setattr(distribution, "content_hash", lambda number=number: f"{number:064}"[::-1])
        newest = with_code(packages)

    assert newest.is_file()
    assert len(list((distribution.cache_folder() / "code").iterdir())) == KEPT


def test_a_change_of_our_code_does_not_install_torch_again(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def environment(name: str, *_: object) -> Path:
        asked.append(name)
        return packages

    monkeypatch.setattr(environments, "_environment", environment)
    before = environments.train_environment(lambda _subject, _what: None)
    monkeypatch.setattr(distribution, "content_hash", lambda: "1" * 64)
    after = environments.train_environment(lambda _subject, _what: None)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "torch-99.0-py3-none-any.whl").touch()
    monkeypatch.setenv("STACKCTL_WHEELHOUSE", str(wheels))
    environments.train_environment(lambda _subject, _what: None)

    assert before != after
    assert asked[0] == asked[1] != asked[2]
