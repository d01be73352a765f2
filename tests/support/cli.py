"""The command line as a person runs it: a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackctl.process import Completed, run

HEAVY = {
    "boto3",
    "cv2",
    "dask",
    "distributed",
    "docker",
    "mlflow",
    "numpy",
    "openvino",
    "pandas",
    "sqlalchemy",
    "torch",
}
"""Packages that take long to import."""
_TELLING = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules}))))
from stackctl.cli import main
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class Cli:
    """Runs ``stackctl`` for one stack folder.

    Attributes:
        folder: the stack's folder, handed over as ``-C``; None leaves that out.
        executable: the command; by default this interpreter's own ``-m stackctl``.
        env: variables added to the environment.
        cwd: working directory of the command.
    """

    folder: Path | None = None
    executable: tuple[str, ...] = (sys.executable, "-m", "stackctl")
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    def run(self, *words: str | Path, check: bool = True, timeout: float = 600) -> Completed:
        """Run one command; with ``check`` a failure raises with the command's output."""
        place = ("-C", str(self.folder)) if self.folder else ()
        argv = (*self.executable, *place, *map(str, words))
        return run(argv, check=check, timeout=timeout, env=self.env, cwd=self.cwd)

    def fails(self, code: int, *words: str | Path, timeout: float = 600) -> str:
        """Run one command that must exit with ``code``, and return its standard error."""
        done = self.run(*words, check=False, timeout=timeout)
        assert done.returncode == code, f"exit {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr

    def json(self, *words: str | Path, codes: tuple[int, ...] = (0,), timeout: float = 600) -> dict[str, Any]:
        """Run one command with ``--json`` and return its document."""
        done = self.run(*words, "--json", check=False, timeout=timeout)
        assert done.returncode in codes, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["schema_version"] == 1
        return document


def loaded_by(*words: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> set[str]:
    """Return the packages that a command has imported when it ends: what it costs a person before it does anything."""
    done = run([sys.executable, "-c", _TELLING, *map(str, words)], cwd=cwd, env=env)
    return set(json.loads(done.stdout.splitlines()[-1]))
