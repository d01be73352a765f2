"""Asks the model server for its golden images, from the services' interpreter; started by ``restore``.

``python -m stackctl.lifecycle.golden_worker NAME VERSION`` downloads the version through MLflow, compares its digest
with the version's tag, and sends each golden input to the model server as any client would. It prints one JSON
document.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stackctl.errors import StackctlError
from stackctl.models import Registry
from stackctl.models.digest import digest_of_folder
from stackctl.stack import Stack


def ask(stack: Stack, name: str, number: str, folder: Path) -> dict[str, Any]:
    """Return whether the version's files are those that were logged, and how the server answers its golden images."""
    import httpx

    from stackctl.imaging import compare_answers
    from stackctl.models.rest import Rest
    from stackctl.serving import artifacts
    from stackctl.serving.golden import golden_folder

    with Registry.of(stack) as registry:
        tagged = registry.version(name, number).digest
    rest = Rest(stack.endpoints.registry, stack.mlflow_token())
    source = str(rest.get("model-versions/get-download-uri", {"name": name, "version": number})["artifact_uri"])
    rest.close()
    artifacts.fetch(source, folder, tracking_uri=stack.endpoints.mlflow, token=stack.mlflow_token())
    digest = digest_of_folder(folder)
    found: dict[str, Any] = {"version": number, "digest": digest, "intact": tagged in (None, digest)}
    golden = golden_folder(folder)
    if golden is None:
        return {**found, "passed": None, "reason": "the version has no golden images", "worst_levels": None}
    url = f"{os.environ.get('STACKCTL_SERVING_URL') or stack.endpoints.serving}/v1/image?format=png"
    answered_by = set()

    def answer(data: bytes) -> tuple[bytes, str]:
        reply = httpx.post(url, content=data, timeout=120)
        if not reply.is_success:
            raise StackctlError(f"The model server answered {reply.status_code}: {reply.text[:200]}")
        answered_by.add(reply.headers["X-Stackctl-Model-Version"])
        return reply.content, str(json.loads(reply.headers["X-Stackctl-Meta"]).get("precision", "fp32"))

    began = time.monotonic()
    compared = compare_answers(golden, answer)
    reason = compared.reason if answered_by == {number} else f"version {', '.join(sorted(answered_by))} answered"
    return {
        **found,
        "passed": compared.passed and answered_by == {number},
        "reason": reason,
        "worst_levels": compared.worst_levels,
        "seconds": round(time.monotonic() - began, 3),
    }


def main(arguments: Sequence[str]) -> int:
    """Do it for the stack that the environment describes."""
    with tempfile.TemporaryDirectory(prefix="stackctl-golden-") as scratch:
        try:
            found = ask(Stack.from_env(), arguments[0], arguments[1], Path(scratch) / "version")
        except Exception as error:  # noqa: BLE001 - whatever went wrong is the answer
            reason = error.message if isinstance(error, StackctlError) else f"{type(error).__name__}: {error}"
            found = {"version": arguments[1], "passed": False, "intact": False, "reason": reason, "worst_levels": None}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
