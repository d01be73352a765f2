"""A registered model's name is judged before anything is asked or converted."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.local_stack import make_local_stack

from stackctl.engines.local import LocalEngine
from stackctl.errors import UsageError
from stackctl.lifecycle.import_model import import_model


@pytest.mark.parametrize("name", ["a/b", "a:b", "", " "])
def test_a_name_that_mlflow_refuses_is_refused_at_once(tmp_path: Path, name: str) -> None:
    stack = make_local_stack(tmp_path / "stack")

    with pytest.raises(UsageError, match="cannot be called"):
        import_model("starter", stack, LocalEngine(stack), lambda _subject, _what: None, name=name)
