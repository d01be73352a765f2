"""A docker stack for tests that start nothing: a folder with ``stack.yaml`` and the template's Compose files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from stackctl import distribution
from stackctl.stack import Stack


def stack_with(folder: Path, **settings: Any) -> Stack:
    """Write ``stack.yaml`` with these settings over the defaults, copy the Compose files, and return the stack."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"name": "some-stack", "engine": "docker", "backup": {}, **settings}
    (folder / "stack.yaml").write_text(json.dumps(document))  # JSON is YAML
    for file in distribution.carried("template").glob("compose*.yaml"):
        shutil.copy(file, folder)
    return Stack.from_folder(folder)
