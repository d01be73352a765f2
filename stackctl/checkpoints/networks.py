"""A network by name or file, ready to load: starters from the package, checkpoints converted once and then kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackctl.checkpoints import catalogue, download
from stackctl.checkpoints.golden_pairs import STARTER
from stackctl.checkpoints.onnx_file import self_contained
from stackctl.distribution import cache_folder
from stackctl.errors import StackctlError, UsageError
from stackctl.process import ProcessFailed

CONVERTER = 1
"""Raised when the same checkpoint would be converted into something else: what is in the cache is then made again."""
BF16_MIN_PSNR_DB = 50.0
REPORT = "report.json"
_SUFFIXES = frozenset({".onnx", ".pth", ".safetensors"})

Progress = Callable[[str, str], None]
Run = Callable[[Sequence[str], Mapping[Path, str], Callable[[str], None]], str]
"""Runs argv (with ``{mount:/target}`` placeholders) where torch is and returns the output; it is told which folders are
mounted where, and whom to hand each line."""


@dataclass(frozen=True)
class NetworkFile:
    """A network as ONNX.

    Attributes:
        path: the ONNX file, N×3×H×W in [0, 1] in and out.
        golden: folder of its golden pairs; None where there are none (a bare ONNX file).
        source: where it came from, in a word or two.
        bf16_allowed: it was measured in bf16 and is near enough to fp32.
        report: how it was converted and what was measured.
    """

    path: Path
    golden: Path | None
    source: str
    bf16_allowed: bool
    report: Mapping[str, Any] = field(default_factory=dict)


def prepare(
    name_or_path: str, *, run: Run, progress: Progress, source: str | None = None, denoise: float | None = None
) -> NetworkFile:
    """Return the network that a name of the catalogue or a file means; what takes time is done once.

    Args:
        name_or_path: ``starter``, an official name, or a ``.pth``, ``.safetensors`` or ``.onnx`` file.
        run: runs a command where torch is; called only when a checkpoint was not converted before.
        progress: called with (subject, what happens).
        source: folder or URL that has an official checkpoint; see ``download.fetch``.
        denoise: 0 to 1, for ``realesr-general-x4v3``: how much its denoising half counts.

    Raises:
        UsageError: there is no such name or file, or ``denoise`` does not go with it.
        StackctlError: it could not be fetched, was refused, or could not be converted.
    """
    if name_or_path in catalogue.STARTERS:
        _no_denoise(name_or_path, denoise)
        return _starter(name_or_path)
    file = Path(name_or_path).expanduser()
    if name_or_path not in catalogue.CATALOGUE and file.is_file():
        _no_denoise(name_or_path, denoise)
        if file.suffix.lower() in _SUFFIXES and not file.stat().st_size:
            raise UsageError(f"{file} is empty.")
        match file.suffix.lower():
            case ".onnx":
                return NetworkFile(self_contained(file, cache_folder() / "networks"), None, file.name, False)
            case ".pth" | ".safetensors":
                return _converted(file, None, 1.0, name=file.name, run=run, progress=progress)
            case other:
                raise UsageError(
                    f"{file} is no network: its name ends in {other!r}.", "Networks end in .pth, .safetensors or .onnx."
                )
    if file.suffix.lower() in _SUFFIXES:
        raise UsageError(f"There is no file {file}.")
    return _official(name_or_path, run, progress, source, denoise)


def _official(name: str, run: Run, progress: Progress, source: str | None, denoise: float | None) -> NetworkFile:
    entry = catalogue.checkpoint(name)
    if denoise is not None and not 0 <= denoise <= 1:
        raise UsageError(f"denoise must lie between 0 and 1, not {denoise:g}.")
    if entry.weak_denoise is None:
        _no_denoise(name, denoise)
    file = download.fetch(entry, source=source, note=lambda what: progress(entry.name, what))
    if denoise is None or denoise == 1 or entry.weak_denoise is None:
        return _converted(file, None, 1.0, name=name, run=run, progress=progress)
    other = catalogue.checkpoint(entry.weak_denoise)
    twin = download.fetch(other, source=source, note=lambda what: progress(other.name, what))
    return _converted(file, twin, denoise, name=f"{name} (denoise {denoise:g})", run=run, progress=progress)


def _no_denoise(name: str, denoise: float | None) -> None:
    if denoise is not None:
        mixed = next(entry.name for entry in catalogue.CATALOGUE.values() if entry.weak_denoise)
        raise UsageError(f"{name} has no twin to choose the denoising with.", f"denoise goes with {mixed}.")


def _starter(name: str) -> NetworkFile:
    folder = STARTER / ("v1" if name == "starter-v1" else "v2")
    if not (folder / "network.onnx").is_file():
        raise StackctlError("This installation of stackctl lacks its starter networks.", "Install stackctl again.")
    manifest = json.loads((folder / "golden" / "manifest.json").read_text())
    allowed = _bf16_allowed(manifest.get("fidelity", {}))
    return NetworkFile(folder / "network.onnx", folder / "golden", f"starter-{folder.name}", allowed)


def _converted(
    file: Path, twin: Path | None, denoise: float, *, name: str, run: Run, progress: Progress
) -> NetworkFile:
    """Return the conversion of a checkpoint, from the cache where it is there."""
    sums = [download.sha256_of(each) for each in (file, twin) if each is not None]
    key = hashlib.sha256("\0".join([str(CONVERTER), *sums, f"{denoise:g}"]).encode()).hexdigest()[:16]
    folder = cache_folder() / "networks" / key
    if not (folder / REPORT).is_file():
        with _making(folder) as work:
            _convert(file, twin, denoise, work, run, lambda what: progress(name, what))
    report = json.loads((folder / REPORT).read_text())
    return NetworkFile(
        folder / "network.onnx", folder / "golden", name, _bf16_allowed(report.get("fidelity", {})), report
    )


def _convert(file: Path, twin: Path | None, denoise: float, work: Path, run: Run, note: Callable[[str], None]) -> None:
    """Convert into ``work``/out, by a command that sees this one folder and nothing else of the machine."""
    given = work / "in"
    given.mkdir()
    shutil.copyfile(file, given / file.name)
    argv = ["python", "-W", "ignore", "-m", "stackctl.checkpoints.convert", "--out", "{mount:/work}/out"]
    argv += ["--checkpoint", f"{{mount:/work}}/in/{file.name}"]
    if twin is not None:
        shutil.copyfile(twin, given / f"twin-{twin.name}")
        argv += ["--twin", f"{{mount:/work}}/in/twin-{twin.name}", "--denoise", f"{denoise:g}"]

    def line(said: str) -> None:
        if said and not said.startswith("{"):
            note(said[:100])

    note("preparing to convert")
    try:
        run(argv, {work: "/work"}, line)
    except ProcessFailed as error:
        raise reported(error) from error
    if not (work / "out" / REPORT).is_file():
        raise StackctlError(f"{file.name} was not converted, and nothing said why.")
    note("converted")


def reported(error: ProcessFailed) -> StackctlError:
    """Return the error that a command of this room reported, on a line of JSON; without one, the failure itself."""
    for line in reversed(error.completed.stdout.splitlines()):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)["error"]
            return StackctlError(said["message"], said["hint"])
    return error


@contextlib.contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """Give a folder to work in; what is in its ``out`` at the end gets the name ``folder``, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        yield work
        try:
            (work / "out").rename(folder)
        except OSError:
            if not (folder / REPORT).is_file():  # else another command was quicker with the very same
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _bf16_allowed(fidelity: Mapping[str, Any]) -> bool:
    measured = (fidelity.get("bf16") or {}).get("psnr_db")
    return measured is not None and float(measured) >= BF16_MIN_PSNR_DB
