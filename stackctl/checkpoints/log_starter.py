"""Register the starter networks that this distribution carries; run where the model server's packages are.

``python -m stackctl.checkpoints.log_starter --model NAME`` prints one line of JSON per version. A second run finds what
the first one registered.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stackctl.checkpoints.golden_pairs import STARTER
from stackctl.checkpoints.image_package import ImagePackage
from stackctl.checkpoints.packaging import log_image_model
from stackctl.errors import StackctlError

EXPERIMENT = "starter"
VERSIONS = ("v1", "v2")


def packages(folder: Path = STARTER) -> list[ImagePackage]:
    """Return the starter versions in the order in which they are registered.

    Raises:
        StackctlError: this installation does not carry them.
    """
    found = [_package(folder / version, f"starter-{version}") for version in VERSIONS if (folder / version).is_dir()]
    if not found:
        raise StackctlError("This installation of stackctl lacks its starter networks.", "Install stackctl again.")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Register the starter versions; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m stackctl.checkpoints.log_starter", description=__doc__)
    parser.add_argument("--model", required=True, help="name of the registered model")
    parser.add_argument("--experiment", default=EXPERIMENT, help="experiment that gets the runs")
    parser.add_argument("--folder", type=Path, default=STARTER, help="where the networks lie")
    parser.add_argument("--only", choices=VERSIONS, help="register this one alone")
    chosen = parser.parse_args(argv)
    try:
        for package in packages(chosen.folder):
            if chosen.only and package.source != f"starter-{chosen.only}":
                continue
            logged = log_image_model(package, name=chosen.model, experiment=chosen.experiment)
            sys.stdout.write(json.dumps(logged.to_dict(), sort_keys=True) + "\n")
            sys.stdout.flush()
    except StackctlError as error:
        sys.stderr.write(f"{error.message}\n{error.hint or ''}\n")
        return error.code
    return 0


def _package(folder: Path, source: str) -> ImagePackage:
    document: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return ImagePackage(
        network=folder / "network.onnx",
        golden=folder / "golden",
        source=source,
        metrics={name: float(value) for name, value in document["metrics"].items()},
        params=document.get("params", {}),
        evaluation=document,
        description=str(document.get("description", "")),
    )


if __name__ == "__main__":
    sys.exit(main())
