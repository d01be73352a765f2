"""A database as an MLflow of last year left it: made by MLflow's own migrations, which end before the newest."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from stackctl.process import run

SCHEMA = "0584bdc529eb"
"""The last schema of MLflow 2: no logged models, no webhooks, no workspaces yet."""
RUN = "0123456789abcdef0123456789abcdef"
MODEL = "made-long-ago"
URI = f"mlflow-artifacts:/1/{RUN}/artifacts"
FILES = {f"1/{RUN}/artifacts/model/MLmodel": b"flavors: {}\n", f"1/{RUN}/artifacts/model/weights": b"w" * 9000}
"""What lies in the artifact bucket: key to bytes."""

_MIGRATE = """
import sys
import sqlalchemy
from alembic import command
from mlflow.store.db import utils
engine = sqlalchemy.create_engine("sqlite:///" + sys.argv[1])
utils.InitialBase.metadata.create_all(engine)
config = utils._get_alembic_config(str(engine.url))
with engine.begin() as connection:
    config.attributes["connection"] = connection
    command.upgrade(config, sys.argv[2])
"""
_ROWS = f"""
INSERT INTO experiments VALUES (0, 'Default', 'mlflow-artifacts:/0', 'active', 1, 1);
INSERT INTO experiments VALUES (1, 'long ago', 'mlflow-artifacts:/1', 'active', 1700000000000, 1700000000000);
INSERT INTO runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri,
  experiment_id)
  VALUES ('{RUN}', 'old', 'LOCAL', 'ann', 'FINISHED', 1700000000000, 1700000001000, 'active', '{URI}', 1);
INSERT INTO params VALUES ('größe', 'ü 100 %', '{RUN}');
INSERT INTO metrics VALUES ('psnr', 27.5, 1700000000500, '{RUN}', 0, 0);
INSERT INTO metrics VALUES ('psnr', 28.25, 1700000000900, '{RUN}', 1, 0);
INSERT INTO latest_metrics VALUES ('psnr', 28.25, 1700000000900, 1, 0, '{RUN}');
INSERT INTO registered_models VALUES ('{MODEL}', 1700000002000, 1700000002000, 'kept');
INSERT INTO model_versions (name, version, creation_time, last_updated_time, current_stage, source, run_id, status,
  storage_location) VALUES ('{MODEL}', 1, 1700000002000, 1700000002000, 'Archived', '{URI}/model', '{RUN}', 'READY',
  '{URI}/model');
INSERT INTO registered_model_aliases VALUES ('best', 1, '{MODEL}');
"""  # noqa: S608 - constants


def make_older_database(python: str, database: Path) -> None:
    """Make it with an interpreter that has MLflow: a run with its parameters and metrics, and a registered version."""
    database.parent.mkdir(parents=True, exist_ok=True)
    run([python, "-c", _MIGRATE, str(database), SCHEMA])
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(_ROWS)


def schema_of(database: Path) -> str:
    """Return the revision of a database's schema."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
