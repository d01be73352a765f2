"""A network by name or file, on this machine: what needs torch runs in the training environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stackctl import process
from stackctl.checkpoints.networks import NetworkFile, Run, prepare
from stackctl.engines import Engine, Progress
from stackctl.engines.environments import train_environment

__all__ = ["NetworkFile", "network_file", "run_by_engine"]


def network_file(
    name_or_path: str, *, progress: Progress, source: str | None = None, denoise: float | None = None
) -> NetworkFile:
    """Return the network that a name of the catalogue or a file means, without a stack.

    The starters and ``.onnx`` files need no torch. Another network is converted once, in an environment with torch that
    is made once.

    Raises:
        UsageError: there is no such name or file, or ``denoise`` does not go with it.
        MissingPrerequisite: torch is not to be had.
        StackctlError: it could not be fetched, was refused, or could not be converted.
    """
    return prepare(name_or_path, run=_run_here(progress), progress=progress, source=source, denoise=denoise)


def run_by_engine(engine: Engine) -> Run:
    """Return what runs a command in the training environment of a stack's engine."""

    def run(argv: Sequence[str], mounts: Mapping[Path, str], on_line: Callable[[str], None]) -> str:
        return engine.run_once("train", argv, mounts=mounts, on_line=on_line).stdout

    return run


def _run_here(progress: Progress) -> Run:
    def run(argv: Sequence[str], mounts: Mapping[Path, str], on_line: Callable[[str], None]) -> str:
        python = train_environment(progress)
        command = [str(python) if argv[0] == "python" else argv[0], *argv[1:]]
        for folder, target in mounts.items():
            command = [part.replace(f"{{mount:{target}}}", str(folder)) for part in command]
        return process.run(command, cwd=next(iter(mounts), None), on_line=on_line).stdout

    return run
