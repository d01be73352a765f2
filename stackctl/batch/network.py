"""The network of a run in a worker: brought there once, loaded once per process, in bf16 only where that is right."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl import distribution

if TYPE_CHECKING:
    from stackctl import imaging

CACHE_VARIABLE = "STACKCTL_WORKER_CACHE"
"""Names the folder where a worker keeps networks and what OpenVINO compiled of them."""


@dataclass(frozen=True)
class Parcel:
    """A network as it travels to workers.

    Attributes:
        digest: SHA-256 of the ONNX file.
        network: its path on the coordinator's machine.
        golden: the folder of its golden pairs there, or None.
        bf16_allowed: its bf16 answers were measured and found good enough.
        data: the files' bytes by name, for workers of other machines; empty where they see the same files.
    """

    digest: str
    network: str
    golden: str | None
    bf16_allowed: bool
    data: dict[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def pack(cls, network: Path, golden: Path | None, *, bf16_allowed: bool, carry: bool) -> Parcel:
        """Return the parcel of a network; ``carry`` puts its bytes into it."""
        content = network.read_bytes()
        data = {}
        if carry:
            data["network.onnx"] = content
            if golden:
                data |= {f"golden/{file.name}": file.read_bytes() for file in golden.iterdir() if file.is_file()}
        digest = hashlib.sha256(content).hexdigest()
        return cls(digest, str(network), str(golden) if golden else None, bf16_allowed, data)

    def unpack(self) -> tuple[Path, Path | None]:
        """Return network and golden pairs on this machine: the same files, or copies in the worker's cache."""
        network = Path(self.network)
        if not self.data or (network.is_file() and _digest(network) == self.digest):
            return network, Path(self.golden) if self.golden else None
        folder = cache_folder() / "networks" / self.digest
        for name, content in self.data.items():
            file = folder / name
            if not file.is_file() or file.read_bytes() != content:
                _write(file, content)
        return folder / "network.onnx", (folder / "golden" if self.golden else None)

    def load(self, threads: int | None) -> imaging.Network:
        """Return the network, ready to upscale with ``threads`` threads (None: what the machine grants)."""
        network, golden = self.unpack()
        return load(
            network,
            golden=golden,
            bf16_allowed=self.bf16_allowed,
            cache_dir=cache_folder() / "compiled",
            threads=threads,
        )


def load(
    path: Path | str,
    *,
    golden: Path | str | None,
    bf16_allowed: bool,
    cache_dir: Path | str | None,
    threads: int | None = None,
) -> imaging.Network:
    """Return the network; in bf16 only where it was found good, and is good on this very processor.

    Raises:
        imaging.BackendError: it cannot be loaded.
    """
    from stackctl import imaging

    def loaded(precision: Any) -> imaging.Network:
        return imaging.Network.load(
            path, precision=precision, cache_dir=cache_dir, bf16_allowed=bf16_allowed, threads=threads
        )

    network = loaded("auto")
    if network.precision == "bf16" and golden:
        found = imaging.compare_golden(Path(golden), network, precision="bf16")
        return network if found.passed else loaded("fp32")
    return network


def cache_folder() -> Path:
    """Return where this worker keeps what it can make again."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else distribution.cache_folder() / "worker"


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _write(file: Path, content: bytes) -> None:
    """Write a file under a name of its own first: other workers of this machine write the same one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    temporary.write_bytes(content)
    temporary.replace(file)
