"""What the parent tells a child when it starts it, and what the child reports back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

REPORT_MARK = "\x1e"  # RFC 7464's record separator: a line of the child's output that is a report, not a log line
IMAGE, PYFUNC = "image", "pyfunc"
LONGEST_REASON = 1500  # a report must fit into one atomic write to a pipe (4096 bytes)


@dataclass(frozen=True)
class ChildSpec:
    """One version to load.

    Attributes:
        name: registered model.
        version: its version.
        run_id: the run that made it.
        digest: what their digest must be; None accepts any.
        contract: the contract it claims to keep.
        folder: where its files lie or shall lie.
        network_cache: folder for compiled networks.
        socket: Unix socket to listen on.
        parent: process id without which the child must not live.
        concurrency: requests that compute at the same time.
        max_bytes: longest image, in bytes.
        timeout: longest computation, in seconds; the parent enforces it.
        max_memory: bytes that the process may use for one request, itself included; 0: no limit.
    """

    name: str
    version: str
    run_id: str | None
    digest: str | None
    contract: str | None
    folder: str
    network_cache: str
    socket: str
    parent: int
    concurrency: int
    max_bytes: int
    timeout: float
    max_memory: int = 0

    def write(self, file: Path) -> None:
        """Write the specification to a file."""
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a specification that ``write`` wrote."""
        return cls(**json.loads(file.read_text()))


@dataclass(frozen=True)
class Report:
    """How far a child is.

    Attributes:
        state: ``loading``, ``prepared`` or ``refused``.
        reason: why it is refused.
        transient: whether trying again later may help.
        digest: digest of the files.
        contract: ``image`` or ``pyfunc``.
        image: what the image model says of itself (scale, formats, limits).
        mlflow: version of MLflow in the child.
    """

    state: str
    reason: str | None = None
    transient: bool = False
    digest: str | None = None
    contract: str | None = None
    image: dict[str, Any] | None = None
    mlflow: str | None = None

    def line(self) -> str:
        """Return the report as a line of output, with a line feed before it in case another line was left open."""
        return f"\n{REPORT_MARK}{json.dumps(asdict(self))}\n"

    @classmethod
    def parse(cls, line: str) -> Report | None:
        """Return the report in a line of output, or None when it is a log line."""
        if not line.startswith(REPORT_MARK):
            return None
        try:
            return cls(**json.loads(line[len(REPORT_MARK) :]))
        except (ValueError, TypeError):
            return None
