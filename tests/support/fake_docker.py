"""A ``docker`` command that keeps its images in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

FAKE = """\
#!{python}
import json, sys
from pathlib import Path

file = Path({state!r})
state = json.loads(file.read_text())
match sys.argv[1:]:
    case ["version", *_]:
        print("26.1")
    case ["image", "inspect", _, _, *names]:
        for image in state["images"]:
            if {{image["Id"], *image["RepoTags"]}} & set(names):
                print(json.dumps(image))
        sys.exit(0 if names else 1)
    case ["image", "ls", "--quiet", *_]:
        print("\\n".join(image["Id"] for image in state["images"] if not image["RepoTags"]))
    case ["image", "ls", *_]:
        print("\\n".join(name for image in state["images"] for name in image["RepoTags"]))
    case ["ps", *_]:
        print("\\n".join(state["containers"]))
    case ["inspect", "--type=container", _, *names]:
        print("\\n".join(json.dumps(state["containers"][name]) for name in names))
    case ["save", "--output", where, *names]:
        Path(where).write_text(" ".join(names))
    case ["rmi", name]:
        state["deleted"].append(name)
        file.write_text(json.dumps(state))
    case other:
        sys.exit(f"unexpected: {{other}}")
"""


class Engine:
    """A Docker engine that only holds images and containers; ``folder`` gets the command."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "state.json"
        self.state: dict[str, object] = {"images": [], "containers": {}, "deleted": []}
        (folder / "docker").write_text(FAKE.format(python=sys.executable, state=str(self._file)))
        (folder / "docker").chmod(0o755)
        self.add("stackctl/base:bookworm")

    def add(self, name: str | None, **labels: str) -> str:
        images = self.state["images"]
        assert isinstance(images, list)
        identity = f"sha256:{len(images):064x}"
        images.append(
            {
                "Id": identity,
                "RepoTags": [name] if name else [],
                "RootFS": {"Layers": ["sha256:aa"]},
                "Config": {"Labels": labels},
            }
        )
        self.write()
        return identity

    def write(self) -> None:
        self._file.write_text(json.dumps(self.state))

    @property
    def deleted(self) -> list[str]:
        found: list[str] = json.loads(self._file.read_text())["deleted"]
        return found
