"""``python -m stackctl.models.mlflow_server``: ``mlflow server`` with the key that encrypts webhooks' secrets.

MLflow takes that key from the environment only. Here it lies in a file and reaches nothing but MLflow's own process: no
command line, no container's configuration. Without a key MLflow would make one up at each start, and could not read
its webhooks after the next one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

KEY_FILE = "STACKCTL_WEBHOOK_KEY_FILE"
KEY = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return MLflow's environment: ``environ``, and the key where its file is there."""
    file = environ.get(KEY_FILE)
    key = Path(file).read_text().strip() if file and Path(file).is_file() else ""
    return {**environ, KEY: key} if key else dict(environ)


def main(arguments: Sequence[str]) -> None:
    """Become ``mlflow server`` with these arguments; this process is replaced, so signals reach MLflow itself."""
    command = [sys.executable, "-m", "mlflow", "server", *arguments]
    os.execve(sys.executable, command, server_environment(os.environ))  # noqa: S606 - replaces this process, starts none


if __name__ == "__main__":
    main(sys.argv[1:])
