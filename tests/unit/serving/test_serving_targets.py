"""Which names a model server follows, and who may wake it."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from support.waiting import PATIENCE
from unit.serving.conftest import StartServer
from unit.serving.fake_mlflow import FakeMlflow
from unit.serving.test_serving_rules import SECRET, signature
from unit.serving.tiny_models import photo

pytestmark = pytest.mark.slow


def test_a_staging_server_follows_staging_and_its_candidate_alone(
    mlflow: FakeMlflow, start_server: StartServer
) -> None:
    mlflow.stages = {"1": "Production", "4": "Staging"}
    mlflow.aliases = {"production": "1", "staging": "4", "candidate": "3"}
    server = start_server(STACKCTL_ROLE="staging")
    model = server.serves("4")
    assert (model["role"], model["candidate"]) == ("staging", None)
    mlflow.aliases["candidate-staging"] = "2"
    server.until(lambda model: (model["candidate"] or {}).get("state") == "prepared")
    mlflow.aliases["staging"] = "2"
    server.serves("2")
    server.until(lambda _: mlflow.stages == {"1": "Production", "2": "Staging"})
    assert mlflow.aliases["production"] == "1"
    assert {each["target"] for each in mlflow.history} == {"staging"}


def test_a_signed_webhook_wakes_the_server_and_nobody_else_does(
    mlflow: FakeMlflow, start_server: StartServer, tmp_path: Path
) -> None:
    file = tmp_path / "webhook_secret"
    file.write_text(SECRET)
    server = start_server(STACKCTL_SERVING_POLL="600", STACKCTL_WEBHOOK_SECRET_FILE=str(file))
    server.serves("1")
    mlflow.promote("2")

    def hook(secret: str) -> int:
        body, at = b'{"entity": "model_version_alias"}', str(int(time.time()))
        headers = {
            "X-MLflow-Signature": signature(body, secret=secret, timestamp=at),
            "X-MLflow-Delivery-Id": "d-1",
            "X-MLflow-Timestamp": at,
        }
        return httpx.post(f"{server.url}/webhook", content=body, headers=headers, timeout=PATIENCE).status_code

    assert hook("guessed") == 401
    assert httpx.post(f"{server.url}/webhook", content=b"{}", timeout=PATIENCE).status_code == 401
    asked = len(mlflow.requests)
    time.sleep(0.5)
    assert len(mlflow.requests) == asked
    assert hook(SECRET) == 204
    server.serves("2")
    assert server.client.upscale(photo()).version == "2"
