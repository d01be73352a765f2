"""A network that is ready to upscale: its facts, and a backend per precision."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from .backends import Backend, BackendName, BackendPrecision, Levels, OpenVinoBackend, bf16_is_native
from .cpu import usable_cores
from .errors import BackendError, BadOption
from .graph import GraphFacts, read_facts
from .options import Precision
from .realesrgan_backend import RealEsrganBackend
from .torch_backend import TorchBackend, gpu_is_there

_UNKNOWN_OPERATIONS = re.compile(r"OpenVINO does not support the following ONNX operations: .*")


class Network:
    """A loaded network. Immutable to its callers and safe to share between threads."""

    def __init__(
        self,
        facts: GraphFacts,
        precision: BackendPrecision,
        make_backend: Callable[[BackendPrecision], Backend],
        threads: int | None = None,
    ) -> None:
        """Keep the facts; backends are made at first use of their precision."""
        self._facts = facts
        self._threads = threads or usable_cores()
        self._precision: BackendPrecision = precision
        self._make_backend = make_backend
        self._backends: dict[BackendPrecision, Backend] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        precision: Precision = "auto",
        threads: int | None = None,
        cache_dir: Path | str | None = None,
        bf16_allowed: bool = False,
        backend: BackendName | Literal["auto"] = "auto",
    ) -> Network:
        """Load an ONNX file.

        Args:
            path: the ONNX file, N×3×H×W in [0, 1] → N×3×(scale·H)×(scale·W).
            precision: `auto` is bf16 where the CPU has it and `bf16_allowed` says that this network passed its fidelity
                gate, else fp32.
            threads: of inference; by default what cgroup quota and affinity grant.
            cache_dir: where OpenVINO keeps compiled networks between processes.
            bf16_allowed: the network's bf16 answers were measured and found good enough.
            backend: `openvino` on the CPU; `torch` on a GPU, or on the CPU as a reference; `realesrgan`, upstream's
                own, which takes a checkpoint (.pth) instead. `auto` is torch where it finds a GPU, else OpenVINO.

        Raises:
            BackendError: the file is missing or no such network, or the backend is not installed here.
            BadOption: bf16 was asked for and this CPU does not have it (torch computes it anywhere, slowly).
        """
        if precision not in get_args(Precision):
            raise BadOption(f"precision must be one of {', '.join(get_args(Precision))}, not {precision!r}")
        cores = threads or usable_cores()
        if backend == "realesrgan":
            return cls._of_upstream(Path(path), cores)
        model = _read(Path(path))
        if backend == "torch" or (backend == "auto" and gpu_is_there()):
            wanted: BackendPrecision = "bf16" if precision == "bf16" else "fp32"
            return cls(read_facts(model), wanted, lambda kind: TorchBackend(model, kind, threads=cores), cores)
        chosen = _choose(precision, bf16_allowed=bf16_allowed)
        cache = None if cache_dir is None else Path(cache_dir)

        def make(kind: BackendPrecision) -> Backend:
            return OpenVinoBackend(model, kind, threads=cores, cache_dir=cache)

        return cls(read_facts(model), chosen, make, cores)

    @classmethod
    def _of_upstream(cls, checkpoint: Path, threads: int) -> Network:
        upstream = RealEsrganBackend(checkpoint, threads=threads)
        return cls(upstream.facts, "fp32", lambda _: upstream, threads)

    @property
    def scale(self) -> int:
        """Return output size over input size."""
        return self._facts.scale

    @property
    def halo(self) -> int | None:
        """Return how many input pixels around a tile its output depends on; None when unbounded."""
        return self._facts.halo

    @property
    def receptive_field(self) -> int | None:
        """Return the side in input pixels of what one output pixel depends on; None when unbounded."""
        return self._facts.receptive_field

    @property
    def threads(self) -> int:
        """Return how many threads inference and encoding may use."""
        return self._threads

    @property
    def multiple(self) -> int:
        """Return what height and width of a tile must be multiples of, in pixels."""
        return self._facts.multiple

    @property
    def bytes_per_pixel(self) -> int:
        """Return the memory of the network's values that live at once, in bytes per input pixel in fp32."""
        return self._facts.bytes_per_pixel

    @property
    def backend(self) -> str:
        """Return the name of the backend."""
        return self.backend_for("auto").name

    @property
    def precision(self) -> BackendPrecision:
        """Return the arithmetic that `auto` means for this network."""
        return self._precision

    def backend_for(self, precision: Precision) -> Backend:
        """Return the backend of a precision.

        Raises:
            BadOption: bf16 was asked for and this CPU does not have it.
        """
        wanted = self._precision if precision in {"auto", self._precision} else _choose(precision, bf16_allowed=True)
        with self._lock:
            if wanted not in self._backends:
                self._backends[wanted] = self._make_backend(wanted)
            return self._backends[wanted]

    def infer(self, tile: Levels, precision: Precision = "auto") -> Levels:
        """Return the upscaled tile (H×W×C levels); see `Backend.infer`."""
        return self.backend_for(precision).infer(tile)


def _choose(precision: Precision, *, bf16_allowed: bool) -> BackendPrecision:
    match precision:
        case "fp32":
            return "fp32"
        case "bf16":
            if not bf16_is_native():
                raise BadOption("This CPU has no bf16 arithmetic (AMX or AVX512-BF16); use fp32 or auto.")
            return "bf16"
        case "auto":
            return "bf16" if bf16_allowed and bf16_is_native() else "fp32"


def _read(path: Path) -> object:
    import openvino

    if not path.is_file():
        raise BackendError(f"There is no network file at {path}.")
    try:
        return openvino.Core().read_model(path)
    except RuntimeError as error:
        unknown = _UNKNOWN_OPERATIONS.search(str(error))
        said = unknown[0].rstrip(".") if unknown else "it is empty, cut short or no ONNX file"
        raise BackendError(f"OpenVINO cannot read the network {path.name}: {said}.") from error
