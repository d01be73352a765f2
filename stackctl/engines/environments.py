"""Python environments without Docker: one that has the services' packages, one that has torch.

An environment lies in the cache under a name that says what it was made from, so another stackctl or another Python
makes another one. Its marker file is written last: an interrupted build leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import assert_never

from stackctl import distribution, process
from stackctl.distribution import cache_folder
from stackctl.engines.protocol import Environment, Problem, Progress
from stackctl.engines.training_code import with_code
from stackctl.errors import MissingPrerequisite, StackctlError

SERVICE_MODULES = ("mlflow", "flask", "waitress", "openvino", "cv2", "boto3", "minio", "uvicorn")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH = "torch>=2.10"  # torch.load(weights_only=True) was bypassed twice before 2.10
TRAIN_PACKAGES = (
    "numpy",
    "onnx",
    "onnxscript",
    "openvino",
    "pillow",
    "opencv-python-headless",
    "scikit-image",
    "scikit-learn",
    # what spandrel, basicsr and realesrgan import, because they are installed without what they name
    "einops",
    "pyyaml",
    "requests",
    "safetensors",
    "scipy",
    "tqdm",
)
# realesrgan and basicsr import torchvision's old layout (<= 0.16) and name packages that need a CUDA torch.
ALONE = ("torchvision==0.15.2", "spandrel==0.4.2", "basicsr==1.4.2", "realesrgan==0.3.0")
BUILD_TOOLS = ("setuptools<81", "wheel", "cython")
MARKER = ".complete"
KEPT = {"serving": 8}  # one for each stack with packages of its own; of the others, two


def problems() -> list[Problem]:
    """Return what keeps an environment from being made: Python without its venv module."""
    if _current_has(SERVICE_MODULES) or _has_venv():
        return []
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [
        Problem(
            f"Python {version} on this machine has no venv module, and the services' packages are not installed.",
            f"sudo apt-get install python{version}-venv",
        )
    ]


def interpreter(environment: Environment, progress: Progress) -> Path:
    """Return the interpreter of an environment, which is made where it is missing."""
    match environment:
        case "serving" | "mlflow" | "backup" | "restore":
            return service_environment(progress)
        case "train":
            return train_environment(progress)
        case "worker":
            return worker_packages(progress)
        case other:
            assert_never(other)


def service_environment(progress: Progress) -> Path:
    """Return an interpreter that has the services' packages: this one, or that of a virtual environment in the cache.

    Raises:
        MissingPrerequisite: Python has no venv module.
        StackctlError: packages could not be installed; the message quotes pip.
    """
    if _current_has(SERVICE_MODULES):
        return Path(sys.executable)
    key = _key(distribution.content_hash())
    return _environment(f"local-{key}", progress, _install_services)


def serving_environment(packages: Sequence[str], progress: Progress) -> Path:
    """Return an interpreter for the model servers: that of the services where ``packages`` is empty, else one above it.

    What is added stands on the services' own packages and changes none of them.

    Raises:
        MissingPrerequisite: Python has no venv module.
        StackctlError: the packages could not be installed; the message quotes pip.
    """
    services = service_environment(progress)
    if not packages:
        return services

    def install(pip: _Pip, note: Callable[[str], None]) -> None:
        _install_above(services, packages, pip, note)

    return _environment(f"serving-{_key(str(services), *sorted(packages))}", progress, install)


def train_environment(progress: Progress) -> Path:
    """Return the interpreter of an environment that has torch for the CPU, Real-ESRGAN's packages and our own code.

    The packages are installed once; a change of our own code makes another copy of that alone.
    torch comes from ``STACKCTL_WHEELHOUSE`` where that folder has it, else from PyTorch's CPU index, which
    ``STACKCTL_TORCH_INDEX`` replaces.

    Raises:
        MissingPrerequisite: torch is in neither, or Python has no venv module or is too new.
        StackctlError: packages could not be installed; the message quotes pip.
    """
    constraints = distribution.carried("constraints.txt").read_text()
    parts = (*distribution.core_requirements(), TORCH, *BUILD_TOOLS, *TRAIN_PACKAGES, *ALONE)
    key = _key(constraints, *parts, *_wheelhouse_names())
    return with_code(_environment(f"train-{key}", progress, _install_training))


def worker_packages(progress: Progress) -> Path:
    """Return the interpreter of an environment that has what batch workers need, and our own code.

    It is one of its own even where this interpreter has all of it: what is installed there must not change workers.

    Raises:
        MissingPrerequisite: Python has no venv module.
        StackctlError: packages could not be installed; the message quotes pip.
    """
    constraints = distribution.carried("constraints.txt").read_text()
    parts = sorted({*distribution.core_requirements(), *distribution.requirements("worker")})

    def install(pip: _Pip, note: Callable[[str], None]) -> None:
        note("installing what batch workers need (once; this takes a minute)")
        pip.install("-c", distribution.carried("constraints.txt"), *parts)

    return with_code(_environment(f"worker-{_key(constraints, *parts)}", progress, install))


Install = Callable[["_Pip", Callable[[str], None]], None]


class _Pip:
    """pip of one virtual environment, with this machine's settings."""

    def __init__(self, python: Path, note: Callable[[str], None]) -> None:
        self.python = python
        self._note = note

    def install(self, *arguments: str | Path, check: bool = True) -> process.Completed:
        wheelhouse = os.environ.get("STACKCTL_WHEELHOUSE")
        finds = ["--find-links", wheelhouse] if wheelhouse else []
        bundle = os.environ.get("STACKCTL_CA_BUNDLE")
        options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", *finds]
        return process.run(
            [self.python, "-m", "pip", "install", *options, *arguments],
            env={"PIP_CERT": bundle} if bundle else {},
            check=check,
            on_line=self._line,
        )

    def _line(self, line: str) -> None:
        if line.startswith(("Collecting ", "Installing collected packages", "Building wheel")):
            self._note(line.split(" (from ", maxsplit=1)[0][:100])


def _install_services(pip: _Pip, note: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wheel = distribution.write_wheel(Path(folder))
        note("installing the services' packages (once; this takes a minute)")
        pip.install("-c", distribution.carried("constraints.txt"), f"{distribution.NAME}[local] @ {wheel.as_uri()}")


def _install_above(services: Path, packages: Sequence[str], pip: _Pip, note: Callable[[str], None]) -> None:
    """Show the services' packages to pip's environment, hold them where they are, and install ``packages`` beside."""
    code = "import sys; print(*sys.path, sep='\\n')"
    paths = process.run([services, "-c", code]).stdout.splitlines()
    theirs = [path for path in paths if path.endswith(("site-packages", "dist-packages"))]
    (ours,) = pip.python.parent.parent.glob("lib/python3*/site-packages")
    lines = [f"import site; site.addsitedir({path!r})" for path in theirs]
    (ours / "stackctl_services.pth").write_text("\n".join(lines) + "\n")
    note(f"installing {', '.join(packages)}")
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "held.txt"
        held.write_text(process.run([pip.python, "-m", "pip", "list", "--format=freeze"]).stdout)
        installed = pip.install("-c", held, *packages, check=False)
    if installed.returncode != 0:
        said = [line for line in installed.stdout.splitlines() if line.startswith("ERROR: ")]
        raise StackctlError(
            "serving.packages in stack.yaml cannot be installed:\n" + "\n".join(f"  {line}" for line in said[-5:]),
            "Correct serving.packages, then run `stackctl up`; what runs was left alone.",
        )


def _install_training(pip: _Pip, note: Callable[[str], None]) -> None:
    note("installing torch for the CPU (once)")
    _install_torch(pip)
    note("installing the training packages")
    constraints = ("-c", distribution.carried("constraints.txt"))
    pip.install(*constraints, "torch", *BUILD_TOOLS, *TRAIN_PACKAGES, *distribution.core_requirements())
    note("installing Real-ESRGAN's packages")
    pip.install("--no-deps", "--no-build-isolation", *ALONE)


def _install_torch(pip: _Pip) -> None:
    """Install torch alone, from one place: PyPI's needs gigabytes for GPUs, and would win beside another index."""
    index = os.environ.get("STACKCTL_TORCH_INDEX", TORCH_INDEX)
    places = [["--index-url", index]]
    if any(name.startswith("torch-") for name in _wheelhouse_names()):
        places.insert(0, ["--no-index"])
    said = ""
    for place in places:
        installed = pip.install("--no-deps", *place, TORCH, check=False)
        if installed.returncode == 0:
            return
        said = "\n".join(installed.stdout.strip().splitlines()[-3:])
    raise MissingPrerequisite(
        f"torch for the CPU is not to be had from {index}:\n{said}",
        "Name a folder with torch's CPU wheel in STACKCTL_WHEELHOUSE, or another index in STACKCTL_TORCH_INDEX.",
    )


def _environment(name: str, progress: Progress, install: Install) -> Path:
    folder = cache_folder() / "environments" / name
    python = folder / "bin" / "python"
    if (folder / MARKER).is_file():
        with contextlib.suppress(OSError):
            (folder / MARKER).touch()  # the one that was used least lately is forgotten first
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    kind = name.split("-", maxsplit=1)[0]

    def note(what: str) -> None:
        progress(f"{kind} environment", what)

    with _only_one(folder.parent / f".{name}.lock", note):
        if (folder / MARKER).is_file():
            return python
        if not _has_venv():
            raise MissingPrerequisite(problems()[0].what, problems()[0].fix)
        _build(folder, python, note, install)
    _forget_old(folder, kind)
    return python


def _build(folder: Path, python: Path, note: Callable[[str], None], install: Install) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted build left
    try:
        note("creating")
        process.run([sys.executable, "-m", "venv", folder])
        install(_Pip(python, note), note)
        (folder / MARKER).write_text(f"Made by stackctl from {sys.executable}.\n")
        note("ready")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def _only_one(lock: Path, note: Callable[[str], None]) -> Iterator[None]:
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("waiting: another command makes it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _forget_old(folder: Path, kind: str) -> None:
    """Delete environments of the same kind that newer ones have replaced."""
    same = [
        other for other in folder.parent.iterdir() if other.name.startswith(f"{kind}-") and (other / MARKER).is_file()
    ]
    for old in sorted(same, key=lambda other: (other / MARKER).stat().st_mtime, reverse=True)[KEPT.get(kind, 2) :]:
        shutil.rmtree(old, ignore_errors=True)


def _key(*parts: str) -> str:
    # The Python that is at the bottom: the name by which it was called, or the environment around it, does not matter.
    total = hashlib.sha256("\0".join([*parts, sys.version, sys.base_prefix]).encode())
    return total.hexdigest()[:16]


def _wheelhouse_names() -> list[str]:
    wheelhouse = os.environ.get("STACKCTL_WHEELHOUSE")
    if not wheelhouse:
        return []
    folder = Path(wheelhouse)
    if not folder.is_dir():
        raise StackctlError(f"STACKCTL_WHEELHOUSE names {wheelhouse}, which is no folder.")
    return sorted(file.name for file in folder.glob("*.whl"))


@functools.cache
def _current_has(modules: tuple[str, ...]) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in modules)


def _has_venv() -> bool:
    return importlib.util.find_spec("venv") is not None and importlib.util.find_spec("ensurepip") is not None
