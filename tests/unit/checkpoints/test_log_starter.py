"""The starter networks in a real MLflow server, read back by plain MLflow clients."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from support.mlflow_server import MlflowServer
from support.ports import free_port
from support.waiting import PATIENCE, eventually

import stackctl
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
        timeout=PATIENCE,
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
        timeout=PATIENCE,
    )
    assert f"DIGEST{logged[0]['digest']}" in done.stdout


def test_production_by_stage_and_by_alias_is_the_same_version_and_answers_with_its_golden_output(
    mlflow_server: MlflowServer, logged: list[dict[str, Any]], tmp_path: Path
) -> None:
    with Registry(mlflow_server.url) as registry:
        registry.transition_stage(MODEL, "2", "Production")
        registry.set_alias(MODEL, "production", "2")
    golden = STARTER / "v2" / "golden"
    done = process.run(
        [sys.executable, "-c", CLIENT, MODEL, str(golden / "00_input.png")],
        cwd=tmp_path,
        env={"MLFLOW_TRACKING_URI": mlflow_server.url},
        timeout=PATIENCE,
    )
    answers = json.loads(done.stdout.split("ANSWERS", 1)[1])
    assert [answer["run_id"] for answer in answers] == [logged[1]["run_id"]] * 2
    assert answers[0]["image"] == answers[1]["image"]
    # Where stackctl is installed beside, MLflow itself looks at its artifact plug-in; no other part of it is touched.
    plug_in = {"stackctl", "stackctl.store", "stackctl.store.mlflow_artifacts"}
    assert set(answers[0]["stackctl"]) <= plug_in
    assert answers[0]["info"]["scale"] == 4
    made = base64.b64decode(answers[0]["image"])
    assert worst_levels(made, golden / "00_output.png") <= 1
    with Image.open(io.BytesIO(made)) as opened:
        assert (answers[0]["meta"]["out_width"], answers[0]["meta"]["out_height"]) == opened.size


def test_a_version_answers_the_same_when_stackctl_has_moved_on(
    mlflow_server: MlflowServer, logged: list[dict[str, Any]], tmp_path: Path
) -> None:
    later = tmp_path / "later" / "stackctl"
    shutil.copytree(Path(stackctl.__file__).parent, later, ignore=shutil.ignore_patterns("__pycache__", "starter"))
    for module in (later / "imaging").glob("*.py"):
        module.write_text("raise AssertionError('a version runs code of its own')")
    (later / "imaging" / "__init__.py").write_text("def upscale(*_, **__): return b'something else', None")
    golden = STARTER / "v1" / "golden"
    ask = CLIENT.replace(
        'for uri in (f"models:/{model}/Production", f"models:/{model}@production"):',
        'import stackctl.imaging; assert stackctl.imaging.upscale(1)[0] == b"something else"\n'
        'for uri in [f"models:/{model}/1"]:',
    )

    done = process.run(
        [sys.executable, "-c", ask, MODEL, str(golden / "00_input.png")],
        cwd=tmp_path / "later",
        env={"MLFLOW_TRACKING_URI": mlflow_server.url, "PYTHONPATH": str(tmp_path / "later")},
        timeout=PATIENCE,
    )

    [answer] = json.loads(done.stdout.split("ANSWERS", 1)[1])
    assert worst_levels(base64.b64decode(answer["image"]), golden / "00_output.png") <= 1


def test_a_version_loads_in_mlflows_own_server(
    mlflow_server: MlflowServer, logged: list[dict[str, Any]], tmp_path: Path
) -> None:
    port = free_port()
    command = ["-m", "mlflow", "models", "serve", "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    log = tmp_path / "serve.log"
    server = process.start(
        [sys.executable, *command, "-m", f"models:/{MODEL}/1", "--timeout", "120"],
        cwd=tmp_path,
        env={
            "MLFLOW_TRACKING_URI": mlflow_server.url,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        log=log,
    )
    golden = STARTER / "v1" / "golden"
    image = base64.b64encode((golden / "00_input.png").read_bytes()).decode()
    body = {"dataframe_split": {"columns": ["image"], "data": [[image]]}, "params": {"format": "png"}}
    try:
        eventually(
            lambda: answers(f"http://127.0.0.1:{port}/ping"),
            "an answer of MLflow",
            log=log.read_text,
            running=server,
            pause=0.3,
        )
        answer = httpx.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=PATIENCE)
    finally:
        process.stop(server)

    assert answer.status_code == 200, answer.text
    [row] = answer.json()["predictions"]
    assert worst_levels(base64.b64decode(row["image"]), golden / "00_output.png") <= 6
    assert json.loads(row["meta"])["backend"] == "openvino"


def answers(url: str) -> bool:
    """Return whether a server answers there with 200."""
    try:
        return httpx.get(url, timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False


def worst_levels(made: bytes, golden: Path) -> int:
    """Return the largest difference in levels between an encoded image and a golden one."""
    with Image.open(io.BytesIO(made)) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    with Image.open(golden) as wanted:
        return int(np.abs(pixels - np.asarray(wanted.convert("RGB")).astype(int)).max())
