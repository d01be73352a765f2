"""What a stack under Docker holds outside Docker."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.image_stacks import stack_with

from stackctl.engines.docker import DockerEngine
from stackctl.engines.docker_project import DockerProject


def test_destroy_names_and_deletes_what_batches_left_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = DockerEngine(stack_with(tmp_path / "stack"))
    sheet = engine.stack.var / "batch" / "runs" / "1" / "contact-sheet.jpg"
    sheet.parent.mkdir(parents=True)
    sheet.touch()
    monkeypatch.setattr(DockerProject, "holdings", lambda *_, **__: ["container one"])
    monkeypatch.setattr(DockerProject, "delete_rest", lambda *_, **__: None)
    monkeypatch.setattr(DockerEngine, "_by_name", lambda *_: None)
    assert engine.holdings() == ["container one", f"folder {engine.stack.var / 'batch'} (what batches leave)"]
    engine.destroy()
    assert not sheet.exists()
    assert engine.holdings() == ["container one"]
