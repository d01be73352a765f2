"""Read a checkpoint's tensors without running anything that a file may contain.

A ``.pth`` file is a pickle, and a pickle is a program. torch's ``weights_only`` reader runs a small, fixed part of that
language; it was bypassed twice (mended in 2.6.0 and 2.10.0), hence the check of torch's version.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stackctl.errors import StackctlError

SUFFIXES = (".pth", ".safetensors")
OLDEST_TORCH = (2, 10)
_WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "netG.")


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Return the network's tensors of a checkpoint, by name, in float32.

    ``params_ema`` is preferred to ``params``, as upstream does; a bare state dict is taken as it is.

    Raises:
        StackctlError: the file is no checkpoint, or holds more than tensors (which was not run).
    """
    match file.suffix.lower():
        case ".pth":
            document = _unpickled(file)
        case ".safetensors":
            document = _safetensors(file)
        case other:
            raise StackctlError(f"{file.name}: a checkpoint ends in {' or '.join(SUFFIXES)}, not in {other!r}.")
    return _checked(_state(document), file)


def interpolated(
    first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], weight: float
) -> dict[str, torch.Tensor]:
    """Return weight · first + (1 - weight) · second, tensor by tensor.

    Deep network interpolation (Wang et al., CVPR 2019), as upstream's ``-dn`` does it with general-x4v3 and its twin.

    Raises:
        StackctlError: the two are not of one shape.
    """
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (first, second)]
    if shapes[0] != shapes[1]:
        raise StackctlError("The two checkpoints are of different networks and cannot be mixed.")
    return {name: weight * tensor + (1 - weight) * second[name] for name, tensor in first.items()}


def _unpickled(file: Path) -> Any:
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < OLDEST_TORCH:
        raise StackctlError(
            f"torch {torch.__version__} cannot be trusted with foreign checkpoints.", "Install torch 2.10 or newer."
        )
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise StackctlError(
            f"{file.name} was refused: it holds more than tensors, and nothing of it was run ({_more(str(error))}).",
            "Get the network from its author as .safetensors, which can hold nothing but tensors.",
        ) from error
    except Exception as error:  # a broken file ends in any of a dozen exceptions
        if _starts_as_archive(file) and not zipfile.is_zipfile(file):  # its directory stands at the end
            raise StackctlError(f"{file.name} ends early.", "Fetch it again.") from error
        raise StackctlError(f"{file.name} is no checkpoint that torch can read: {_first_line(error)}") from error


def _starts_as_archive(file: Path) -> bool:
    try:
        with file.open("rb") as handle:
            return handle.read(4) == b"PK\3\4"
    except OSError:
        return False


def _more(said: str) -> str:
    """Return what torch's reader met, without its advice."""
    if "Unsupported operand" in said:
        return "it is a plain pickle, not a torch file"
    found = re.search(r"Unsupported (?:global|class).*?(?=\.? (?:was not|Please|This file)|\n|$)", said)
    return found[0] if found else said.splitlines()[0]


def _safetensors(file: Path) -> Any:
    from safetensors import SafetensorError  # type: ignore[import-not-found, unused-ignore]
    from safetensors.torch import load_file  # type: ignore[import-not-found, unused-ignore]

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise StackctlError(f"{file.name} is no safetensors file: {_first_line(error)}") from error


def _state(document: Any) -> Any:
    for _ in range(2):  # {"model": {"params": …}} has been seen
        if isinstance(document, Mapping):
            inner = next((document[name] for name in _WRAPPERS if isinstance(document.get(name), Mapping)), None)
            document = document if inner is None else inner
    return document


def _checked(state: Any, file: Path) -> dict[str, torch.Tensor]:
    if not isinstance(state, Mapping) or not state:
        raise StackctlError(f"{file.name} holds no tensors of a network.")
    tensors: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise StackctlError(f"{file.name} holds something else than a network's tensors: {str(name)[:60]!r}.")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise StackctlError(f"{file.name}: the tensor {name} has values that are no numbers.")
        tensors[name] = value.detach().float() if value.is_floating_point() else value.detach()
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
