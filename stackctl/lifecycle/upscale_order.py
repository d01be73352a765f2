"""What the process that runs a network on this machine is told to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Order:
    """What is to be done.

    Attributes:
        network: an ONNX file.
        bf16_allowed: its bf16 answers were measured and found good enough.
        golden: its golden pairs, or None; bf16 is taken only where they pass on this very processor.
        cache: folder of compiled networks.
        images: (number, path of the input, path of the result; without its ending unless ``exactly``).
        exactly: the result is named in full.
        options: of ``imaging.Options``.
        max_memory: bytes that one image may need; 0 is no limit.
    """

    network: str
    bf16_allowed: bool
    golden: str | None
    cache: str
    images: list[tuple[int, str, str]]
    exactly: bool
    options: dict[str, Any]
    max_memory: int = 0

    def to_json(self) -> str:
        """Return it as a document."""
        return json.dumps(asdict(self))
