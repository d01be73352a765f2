"""A file that the backup's container may not read is named before a backup fails on it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from support.image_stacks import stack_with

from stackctl.engines import Engine
from stackctl.lifecycle.doctor_readable import readable_checks
from stackctl.stack import Stack

DOCKER = cast("Engine", SimpleNamespace(name="docker"))


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    made = stack_with(tmp_path / "st")
    image = made.home / "data" / "inbound" / "photo.jpg"
    image.parent.mkdir(parents=True)
    image.write_text("photo")
    for path in (made.home, *made.home.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return made


def test_what_everybody_may_read_is_fine_and_the_local_engine_is_not_asked(stack: Stack) -> None:
    assert [check.outcome for check in readable_checks(stack, DOCKER)] == ["ok"]
    (stack.home / "stack.yaml").chmod(0o600)
    assert readable_checks(stack, cast("Engine", SimpleNamespace(name="local"))) == []


@pytest.mark.parametrize(
    ("closed", "mended_by"),
    [
        ("data/inbound/photo.jpg", "chmod -R a+rX {home}/data/inbound"),
        ("data/inbound", "chmod -R a+rX {home}/data/inbound"),
        ("data", "chmod a+rX {home}/data"),
        ("stack.yaml", "chmod -R a+rX {home}/stack.yaml"),
        (".", "chmod a+rX {home}"),
    ],
)
def test_what_only_its_owner_may_read_is_named_with_what_mends_it(stack: Stack, closed: str, mended_by: str) -> None:
    path = stack.home / closed
    path.chmod(path.stat().st_mode & 0o700)
    (check,) = readable_checks(stack, DOCKER)
    assert (check.outcome, check.fix) == ("failed", mended_by.format(home=stack.home))
    assert "user 1000" in check.detail
    if os.getuid() == 0:
        os.chown(path, 1000, 1000)
        assert [check.outcome for check in readable_checks(stack, DOCKER)] == ["ok"]


def test_what_is_in_no_snapshot_may_be_closed(stack: Stack) -> None:
    (stack.home / "data" / "quarantine").mkdir(mode=0o700)
    assert [check.outcome for check in readable_checks(stack, DOCKER)] == ["ok"]
