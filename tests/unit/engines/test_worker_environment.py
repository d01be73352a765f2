"""The batch workers' environment: one for all stacks of a machine, shown in each, told apart by what is in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.local_stack import make_local_stack

from stackctl import distribution, process
from stackctl.distribution import environment_hash
from stackctl.engines import environments
from stackctl.engines.worker_environment import worker_environment


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make environments in a cache of this test's own, with nothing in them but our code."""
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))

    def make(name: str, _progress: object, _install: object) -> Path:
        folder = distribution.cache_folder() / "environments" / name
        if not folder.is_dir():
            process.run([sys.executable, "-m", "venv", "--without-pip", folder])
        return folder / "bin" / "python"

    monkeypatch.setattr(environments, "_environment", make)


def test_it_is_never_the_callers_own_and_is_packed_once(tmp_path: Path) -> None:
    stack, other = make_local_stack(tmp_path / "a"), make_local_stack(tmp_path / "b")
    said: list[str] = []
    python = worker_environment(stack, lambda _subject, what: said.append(what))
    assert worker_environment(stack, lambda _subject, what: said.append(what)) == python
    name = environment_hash()
    assert said == [f"packed ({name})", f"already packed ({name})"]
    assert python == stack.var / "environments" / name / "bin" / "python"

    shared = worker_environment(other, lambda _subject, _what: None)
    assert shared.parent.parent.resolve() == python.parent.parent.resolve()
    assert python.parent.parent.resolve().is_relative_to(distribution.cache_folder())

    code = "import sys; from stackctl.distribution import environment_hash; print(sys.prefix, environment_hash())"
    prefix, theirs = process.run([python, "-c", code], cwd=tmp_path).stdout.rsplit(maxsplit=1)
    assert (Path(prefix), theirs) == (python.parent.parent, name)


def test_what_was_replaced_and_forgotten_is_not_shown_any_more(tmp_path: Path) -> None:
    stack = make_local_stack(tmp_path / "a")
    folder = stack.var / "environments"
    folder.mkdir(parents=True)
    (folder / "0123456789abcdef").symlink_to(tmp_path / "forgotten")
    worker_environment(stack, lambda _subject, _what: None)
    assert [link.name for link in folder.iterdir()] == [environment_hash()]


def test_other_code_is_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    here = environment_hash.__wrapped__()
    monkeypatch.setattr(distribution, "content_hash", lambda: "0" * 64)
    changed = environment_hash.__wrapped__()
    assert here != changed
