"""MLflow's own gc for exactly what it is told, from MLflow's interpreter; started by ``stackctl gc``.

``mlflow gc`` on its command line reads an empty list as "all of them"; the function behind it does not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any


def delete(database: str, artifacts: str | None, runs: list[str], models: list[str], experiments: list[str]) -> None:
    """Delete these runs, logged models and experiments, all of them in the trash, for good and with their artifacts.

    Args:
        database: URI of MLflow's database.
        artifacts: where artifacts lie; None: the server that ``MLFLOW_TRACKING_URI`` names deletes them.
        runs: ids of runs.
        models: ids of logged models.
        experiments: ids of experiments.
    """
    from mlflow import cli

    inner: Any = cli  # the command itself reads an empty list as all
    inner._gc_tracking_resources(  # noqa: SLF001
        backend_store=inner._get_store(database, artifacts),  # noqa: SLF001
        run_ids=runs,
        experiment_ids=experiments,
        logged_model_ids=models,
        older_than=None,
        time_delta=0,
        skip_experiments=not experiments,  # an empty list of them means all
        skip_logged_models=False,
    )


def main(arguments: Sequence[str]) -> int:
    """Delete what the JSON document in the first argument names."""
    wanted = json.loads(arguments[0])
    database = os.environ.get("STACKCTL_BACKUP_DATABASES", "/var/lib/stackctl/mlflow")
    delete(f"sqlite:///{database}/mlflow.db", None, wanted["runs"], wanted["models"], wanted["experiments"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
