"""The starter networks in a real MLflow server, read back by plain MLflow clients."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.mlflow_server import MlflowServer

from stackctl import process
from stackctl.checkpoints.golden_pairs import STARTER
from stackctl.models import Registry

pytestmark = pytest.mark.slow

MODEL = "starter-test"
CLIENT = """
import base64, json, sys
from pathlib import Path
import mlflow, pandas as pd
sys.dont_write_bytecode = True
model, image = sys.argv[1], Path(sys.argv[2]).read_bytes()
answers = []
for uri in (f"models:/{model}/Production", f"models:/{model}@production"):
    loaded = mlflow.pyfunc.load_model(uri)
    out = loaded.predict(pd.DataFrame({"image": [image]}), params={"format": "png", "precision": "fp32"})
    info = loaded.unwrap_python_model().network_info()
    answers.append({
        "run_id": loaded.metadata.run_id,
        "image": base64.b64encode(out["image"][0]).decode(),
        "meta": json.loads(out["meta"][0]),
        "info": info,
        "stackctl": sorted(name for name in sys.modules if name == "stackctl" or name.startswith("stackctl.")),
    })
print("ANSWERS" + json.dumps(answers))
"""
DIGEST = """
import sys
from pathlib import Path
import mlflow
from stackctl.models import digest_of_folder
print("DIGEST" + digest_of_folder(Path(mlflow.artifacts.download_artifacts(sys.argv[1], dst_path=sys.argv[2]))))
"""


def log_starter(server: MlflowServer, cwd: Path) -> list[dict[str, Any]]:
    """Register the starter as `stackctl models import starter` does; return what it printed."""
    done = process.run(
        [sys.executable, "-m", "stackctl.checkpoints.log_starter", "--model", MODEL],
        cwd=cwd,
        env={"MLFLOW_TRACKING_URI": server.url},
        timeout=600,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def logged(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return log_starter(mlflow_server, tmp_path_factory.mktemp("log-starter"))


def test_both_versions_are_registered_once_with_digest_contract_source_and_metrics(
    mlflow_server: MlflowServer, logged: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert [(entry["version"], entry["created"]) for entry in logged] == [("1", True), ("2", True)]
    again = log_starter(mlflow_server, tmp_path)
    assert [(entry["version"], entry["created"]) for entry in again] == [("1", False), ("2", False)]
    assert [entry["digest"] for entry in again] == [entry["digest"] for entry in logged]
    with Registry(mlflow_server.url) as registry:
        second, first = registry.versions(MODEL, metrics=True)
    assert (first.tags["stackctl.source"], second.tags["stackctl.source"]) == ("starter-v1", "starter-v2")
    assert first.contract == second.contract == "image"
    assert first.digest == logged[0]["digest"]
    assert first.metrics["psnr_y"] == json.loads((STARTER / "v1" / "metrics.json").read_text())["metrics"]["psnr_y"]


def test_the_recorded_digest_is_that_of_the_files_a_client_downloads(
    mlflow_server: MlflowServer, logged: list[dict[str, Any]], tmp_path: Path
) -> None:
    done = process.run(
        [sys.executable, "-c", DIGEST, f"models:/{MODEL}/1", str(tmp_path)],
        cwd=tmp_path,
        env={"MLFLOW_TRACKING_URI": mlflow_server.url},
        timeout=300,
    )
    assert f"DIGEST{logged[0]['digest']}" in done.stdout


def test_production_by_stage_and_by_alias_is_the_same_version_and_answers_with_its_golden_output(
    mlflow_server: MlflowServer, logged: list[dict[str, Any]], tmp_path: Path
) -> None:
    import io

    import numpy as np
    from PIL import Image

    with Registry(mlflow_server.url) as registry:
        registry.transition_stage(MODEL, "2", "Production")
        registry.set_alias(MODEL, "production", "2")
    golden = STARTER / "v2" / "golden"
    done = process.run(
        [sys.executable, "-c", CLIENT, MODEL, str(golden / "00_input.png")],
        cwd=tmp_path,
        env={"MLFLOW_TRACKING_URI": mlflow_server.url},
        timeout=300,
    )
    answers = json.loads(done.stdout.split("ANSWERS", 1)[1])
    assert [answer["run_id"] for answer in answers] == [logged[1]["run_id"]] * 2
    assert answers[0]["image"] == answers[1]["image"]
    # Where stackctl is installed beside, MLflow itself looks at its artifact plug-in; no other part of it is touched.
    plug_in = {"stackctl", "stackctl.store", "stackctl.store.mlflow_artifacts"}
    assert set(answers[0]["stackctl"]) <= plug_in
    assert answers[0]["info"]["scale"] == 4
    import base64

    with Image.open(io.BytesIO(base64.b64decode(answers[0]["image"]))) as made:
        pixels = np.asarray(made.convert("RGB")).astype(int)
    with Image.open(golden / "00_output.png") as wanted:
        assert int(np.abs(pixels - np.asarray(wanted.convert("RGB")).astype(int)).max()) <= 1
    assert (answers[0]["meta"]["out_height"], answers[0]["meta"]["out_width"]) == pixels.shape[:2]
