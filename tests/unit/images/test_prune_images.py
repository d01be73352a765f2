"""Which images are deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fake_docker import Engine
from support.image_stacks import stack_with

from stackctl.images import prune
from stackctl.images.builder import standing_references
from stackctl.images.packages import ON_LABEL, PackagesLayer


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Engine(tmp_path)


def silent(_subject: str, _what: str) -> None:
    """Draw nothing."""


def test_what_is_outdated_and_unused_is_deleted_and_nothing_else(engine: Engine, tmp_path: Path) -> None:
    stack = stack_with(tmp_path / "stack", serving={"packages": ["scikit-learn"]})
    layered, plain = standing_references(stack, ["serving"])["serving"]
    (demo,) = standing_references(None, ["demo"])["demo"]
    for name in (demo, plain, "stackctl/golang:1", "somebody/stackctl:1", "stackctl-test/demo:1"):
        engine.add(name)
    engine.add(layered, **{ON_LABEL: plain})
    engine.add("stackctl/serving-packages:0-another-stack", **{ON_LABEL: plain})
    engine.add("stackctl/serving-packages:0-old", **{ON_LABEL: "stackctl/serving:0-old"})
    engine.add("stackctl/serving:0-old")
    used = engine.add("stackctl/mlflow:0-used")
    nameless = engine.add(None, **{"stackctl.image": "demo"})
    engine.add(None, **{"stackctl.image": "of somebody else"})
    engine.state["containers"] = {"c1": used}
    engine.write()

    foreseen = prune(stack, silent, dry_run=True)
    assert engine.deleted == []
    assert prune(stack, silent) == foreseen
    assert engine.deleted == ["stackctl/serving-packages:0-old", "stackctl/serving:0-old", nameless]
    assert foreseen.deleted == tuple(engine.deleted)
    assert foreseen.in_use == ("stackctl/mlflow:0-used",)


def test_without_a_base_nothing_tells_what_is_outdated(engine: Engine) -> None:
    engine.state["images"] = []
    engine.add("stackctl/demo:0-old")
    assert prune(None, silent).deleted == ()


def test_other_packages_or_another_model_server_make_another_image(tmp_path: Path) -> None:
    names = {
        PackagesLayer("stackctl/serving:1", ("a",)).reference,
        PackagesLayer("stackctl/serving:1", ("a", "b")).reference,
        PackagesLayer("stackctl/serving:2", ("a",)).reference,
    }
    assert len(names) == 3
    stack = stack_with(tmp_path, serving={"packages": ["b", "a", "b"]})
    assert PackagesLayer.of(stack, "serving", "x") == PackagesLayer("x", ("a", "b"))
    assert PackagesLayer.of(stack, "demo", "x") is None
    assert PackagesLayer.of(None, "serving", "x") is None
