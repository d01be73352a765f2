"""The order of a batch run: everything that the coordinator needs to know, written once when the run is started."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from stackctl.errors import StackctlError

SCHEMA = 1
NOOP = "noop:"
"""Instead of a network's path: results are the inputs' own bytes. For measurements; no option leads here."""
FILE = "order.json"


@dataclass(frozen=True)
class OrderedModel:
    """The model version that a run upscales with.

    Attributes:
        name: of the registered model.
        version: its number.
        digest: ``sha256:…`` of the version; part of what decides whether a result is still right.
        run_id: of the MLflow run that made it.
        network: the ONNX file, absolute or relative to the batch folder; or ``NOOP``.
        golden: the folder of its golden pairs, likewise, or None.
        bf16_allowed: its bf16 answers were measured and found good enough.
        alias: by which it was asked for, or None.
    """

    name: str
    version: str
    digest: str
    run_id: str | None = None
    network: str = NOOP
    golden: str | None = None
    bf16_allowed: bool = False
    alias: str | None = None


@dataclass(frozen=True)
class OrderedOptions:
    """How every image is upscaled; the names and meanings of ``imaging.Options``."""

    outscale: float = 0.0
    format: str = "auto"
    tile: int = 0
    precision: str = "auto"
    alpha: str = "bicubic"


@dataclass(frozen=True)
class OrderedSecurity:
    """Files of the mutual TLS with a scheduler, as the coordinator sees them.

    Attributes:
        ca: the certificate that the others' certificates are checked against.
        cert: the own certificate.
        key: its private key.
    """

    ca: str
    cert: str
    key: str


@dataclass(frozen=True)
class Order:
    """What one run does.

    Attributes:
        run: its name, ``20261121-080501-ab12``.
        created: ISO 8601, UTC.
        input: folder or ``s3://`` URL of the images, as the coordinator and the workers see it.
        output: of the results, likewise.
        quarantine: of the images that cannot be upscaled, likewise.
        model: what upscales them.
        options: how.
        suffix: of the results' names.
        workers: how many worker processes, or ``auto``.
        batch_size: images per batch at most, or ``auto``.
        scheduler: URL of a Dask scheduler, or None for worker processes of the run's own.
        security: TLS with that scheduler, or None.
        error_threshold: ``N`` or ``P%``: the run ends early when more images than that had to be quarantined.
        retry_failed: try again what is in quarantine.
        watch: go on waiting for new images until stopped.
        dry_run: plan and say ``begin``, nothing else.
        image_timeout: seconds that upscaling one image may take.
        wait_limit: seconds that a full disk or a store that does not answer is waited for.
        experiment: name of the MLflow experiment, or None for the default.
        environment_hash: of the worker environment that every worker must have, or None.
        dashboard: run Dask's dashboard (on loopback).
        input_folder: the folder of whoever asked for the run whose images travel to ``input``, or None.
        output_folder: the folder of theirs into which results travel from ``output``, or None.
        quarantine_folder: likewise, from ``quarantine``.
    """

    run: str
    created: str
    input: str
    output: str
    quarantine: str
    model: OrderedModel
    options: OrderedOptions = field(default_factory=OrderedOptions)
    suffix: str = "out"
    workers: int | Literal["auto"] = "auto"
    batch_size: int | Literal["auto"] = "auto"
    scheduler: str | None = None
    security: OrderedSecurity | None = None
    error_threshold: str | None = None
    retry_failed: bool = False
    watch: bool = False
    dry_run: bool = False
    image_timeout: float = 900.0
    wait_limit: float = 900.0
    experiment: str | None = None
    environment_hash: str | None = None
    dashboard: bool = False
    input_folder: str | None = None
    output_folder: str | None = None
    quarantine_folder: str | None = None

    @cached_property
    def recipe(self) -> str:
        """Return what decides, beside an input's bytes, what its result is: a digest of model and options."""
        parts = {"model": self.model.digest, **dataclasses.asdict(self.options)}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def imaging_options(self) -> dict[str, Any]:
        """Return the options as ``imaging.Options`` takes them."""
        return dataclasses.asdict(self.options)

    def most_failures(self, total: int) -> int | None:
        """Return how many images of ``total`` may fail before the run is ended early; None: any number.

        Raises:
            ValueError: the threshold is neither a number nor a percentage.
        """
        if self.error_threshold is None:
            return None
        text = self.error_threshold.strip()
        if text.endswith("%"):
            return int(total * float(text[:-1]) / 100)
        return int(text)

    def shown(self, place: Literal["input", "output", "quarantine"]) -> str:
        """Return a place as whoever asked for the run knows it: their folder, where it stands for one."""
        return str(getattr(self, f"{place}_folder") or getattr(self, place))

    def to_json(self) -> str:
        """Return the order as a JSON document."""
        return json.dumps({"schema_version": SCHEMA, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Read an order.

        Raises:
            StackctlError: it is none, or one of another version.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            version = values.pop("schema_version")
            model, options = OrderedModel(**values.pop("model")), OrderedOptions(**values.pop("options"))
            security = values.pop("security")
            chosen = OrderedSecurity(**security) if security else None
            order = cls(model=model, options=options, security=chosen, **values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StackctlError(f"The order of the run cannot be read: {error}.", "Start the run again.") from error
        if version != SCHEMA:
            raise StackctlError(f"The order of the run has version {version}, not {SCHEMA}.", "Start the run again.")
        return order

    @classmethod
    def read(cls, run_folder: Path) -> Order:
        """Read the order of the run whose folder this is."""
        try:
            return cls.from_json((run_folder / FILE).read_text())
        except OSError as error:
            raise StackctlError(f"{run_folder} holds no run: {error.strerror}.", "Start the run again.") from error
