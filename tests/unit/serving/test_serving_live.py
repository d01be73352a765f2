"""A real model server with real children, against a registry that speaks MLflow's REST paths."""

from __future__ import annotations

import base64
import os
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from support.waiting import PATIENCE
from unit.serving.conftest import StartServer, add_version
from unit.serving.fake_mlflow import FakeMlflow
from unit.serving.live_server import Load
from unit.serving.tiny_models import GREEN, RED, expected, photo, pixels, save_sklearn_model

from stackctl.serving.client import ModelServerRefusal

pytestmark = pytest.mark.slow


def test_production_is_served_and_every_answer_names_the_version_that_made_it(
    mlflow: FakeMlflow, start_server: StartServer
) -> None:
    server = start_server()
    model = server.serves("1")
    data = photo()
    served = server.client.upscale(data)

    assert pixels(served.data) == expected(data, RED)
    assert (served.model, served.version, served.run_id) == ("tiny", "1", "run1")
    assert served.digest == mlflow.versions["1"].tags["stackctl.digest"] == model["digest"]
    assert served.meta["out_width"] == 64
    assert model["metrics"] == {"psnr_y": 31.0}
    assert model["params"] == {"kind": "tiny"}
    assert model["contract"] == "image"
    assert model["error"] is None
    assert model["candidate"] is None
    assert model["image"]["scale"] == 4

    answer = server.get("/model")
    unchanged = server.get("/model", headers={"If-None-Match": answer.headers["ETag"]})
    assert unchanged.status_code == 304
    assert server.get("/ping").text == "\n"
    assert server.get("/health").status_code == 200
    assert server.get("/version").text.startswith("3.")
    assert 'stackctl_model_info{name="tiny",version="1"} 1.0' in server.get("/metrics").text

    payload = {"dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(data).decode()]]}}
    invoked = server.invoke(json=payload)
    assert invoked.status_code == 200, invoked.text
    assert base64.b64decode(invoked.json()["predictions"][0]["image"]) == served.data
    assert invoked.headers["X-Stackctl-Model-Version"] == "1"


def test_what_is_no_acceptable_image_is_refused_with_a_code(start_server: StartServer) -> None:
    server = start_server(STACKCTL_SERVING_MAX_BYTES="20000")
    server.serves("1")

    def refused(data: bytes, **params: Any) -> tuple[int, str]:
        answer = server.post(data, **params)
        return answer.status_code, answer.json()["error"]["code"]

    assert refused(b"x" * 20001) == (413, "too_large")
    assert refused(photo(100, 100)) == (413, "too_large")
    assert refused(b"no image at all") == (415, "unsupported_format")
    assert refused(photo()[:60]) == (400, "corrupt_image")
    assert refused(photo(), tile="many") == (400, "bad_option")
    with pytest.raises(ModelServerRefusal, match="not an image of a format"):
        server.client.upscale(b"no image at all")
    assert server.client.upscale(photo()).version == "1"


def test_a_candidate_is_prepared_and_takes_over_under_load_without_a_failed_or_mixed_answer(
    mlflow: FakeMlflow, start_server: StartServer
) -> None:
    server = start_server()
    server.serves("1")
    load = Load(server)
    with load:
        mlflow.tags["stackctl.promotion"] = "one"
        mlflow.aliases["candidate"] = "2"
        model = server.until(lambda model: (model["candidate"] or {}).get("state") == "prepared")
        assert model["version"] == "1"
        assert model["candidate"] == {
            "version": "2", "state": "prepared", "reason": None, "digest": mlflow.versions["2"].tags["stackctl.digest"]
        }  # fmt: skip
        mlflow.stages = {"2": "Production"}
        looks = mlflow.looks
        server.until(lambda _: mlflow.looks >= looks + 3)  # of which the second began after the change, and is over
        assert server.client.model()["version"] == "1", "while a promotion is under way the stage does not count"
        starts = server.log.count("child_started")
        mlflow.aliases["production"] = "2"
        server.until(lambda model: model["version"] == "2")
        assert server.log.count("child_started") == starts == 2, (
            "what was prepared takes over: nothing is loaded for it"
        )
        load.answered_by("2", 20)
        del mlflow.aliases["candidate"], mlflow.tags["stackctl.promotion"]
        server.until(lambda _: len(server.children) == 1)

    assert load.problems == []
    assert set(load.versions) == {"1", "2"}
    assert load.versions == sorted(load.versions), "an old version answered after the new one"


def test_a_version_whose_files_were_tampered_with_is_refused_while_the_old_one_serves_on(
    mlflow: FakeMlflow, start_server: StartServer
) -> None:
    server = start_server()
    server.serves("1")
    next(mlflow.versions["2"].folder.glob("**/colour.json")).write_text("[9, 9, 9]")
    mlflow.aliases["candidate"] = "2"
    model = server.until(lambda model: (model["candidate"] or {}).get("state") == "refused")

    assert mlflow.versions["2"].tags["stackctl.digest"] in model["candidate"]["reason"]
    assert model["candidate"]["digest"] in model["candidate"]["reason"]
    assert server.client.upscale(photo()).version == "1"

    mlflow.promote("2")
    model = server.until(lambda model: model["error"])
    assert "Version 2 is in Production but cannot be served" in model["error"]
    assert server.client.upscale(photo()).version == "1"

    mlflow.promote("1")
    del mlflow.aliases["candidate"]
    server.until(lambda model: model["error"] is None and model["candidate"] is None)


def test_a_stage_that_somebody_changed_elsewhere_is_followed_and_a_way_back_is_at_once(
    mlflow: FakeMlflow, start_server: StartServer
) -> None:
    server = start_server(STACKCTL_SERVING_GRACE="300")
    server.serves("1")
    old = server.children
    mlflow.stages = {"2": "Production"}  # the old API's call: the alias still says 1
    assert server.serves("2")["error"] is None
    server.until(lambda model: mlflow.aliases["production"] == "2" and model["promoted_at"])
    mlflow.promote("1")
    server.serves("1")
    server.until(lambda _: len(mlflow.history) == 3)
    assert [(each["action"], each["version"], each["previous"]) for each in mlflow.history[1:]] == [
        ("elsewhere", "2", "1"),
        ("elsewhere", "1", "2"),
    ]
    assert old[0].is_running(), "version 1 was still loaded and could take over"
    assert server.log.count("child_started") == 2


def test_a_version_that_fails_its_golden_images_is_refused(mlflow: FakeMlflow, start_server: StartServer) -> None:
    server = start_server()
    server.serves("1")
    mlflow.aliases["candidate"] = "3"
    model = server.until(lambda model: (model["candidate"] or {}).get("state") == "refused")

    assert "00_input.png" in model["candidate"]["reason"]
    assert "255 levels" in model["candidate"]["reason"]


def test_a_killed_child_is_replaced_and_requests_wait_for_it(start_server: StartServer) -> None:
    server = start_server()
    server.serves("1")
    [child] = server.children
    load = Load(server, threads=1, pace=0.3)
    with load:
        load.answered_by("1", 3)
        child.kill()
        load.answered_by("1", 6)
    assert load.problems == []
    assert "SIGKILL" in server.log

    answer = server.post(photo(), tile=666)  # this request kills whoever works on it
    assert answer.status_code == 500
    assert "died twice" in answer.json()["error"]["message"]
    assert server.client.upscale(photo()).version == "1"


def test_a_request_that_takes_too_long_is_stopped_with_its_process_and_others_are_answered_all_the_same(
    start_server: StartServer,
) -> None:
    server = start_server(STACKCTL_SERVING_TIMEOUT="3")
    server.serves("1")
    [child] = server.children
    load = Load(server, threads=2)
    with load:
        load.answered_by("1", 2)
        answer = server.post(photo(), tile=777)
        load.answered_by("1", len(load.versions) + 4)

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    child.wait(timeout=PATIENCE)
    assert load.problems == []
    death = server.client.model()["last_death"]
    assert (death["cause"], death["version"]) == ("timeout", "1")
    assert "longer than 3 s" in death["how"]
    assert 'stackctl_deaths_total{cause="timeout"} 1.0' in server.get("/metrics").text


def test_requests_beyond_the_queue_are_told_to_come_back(start_server: StartServer) -> None:
    server = start_server(STACKCTL_SERVING_CONCURRENCY="1", STACKCTL_SERVING_QUEUE="1")
    server.serves("1")
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(server.post(photo(), tile=1_000_000))  # works for a second

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status_code == 429)


def test_the_last_known_good_version_serves_when_mlflow_is_down_at_start(
    mlflow: FakeMlflow, start_server: StartServer
) -> None:
    first = start_server()
    first.serves("1")
    first.stop()
    mlflow.stop()

    server = start_server()
    model = server.serves("1")
    assert model["stale_registry_since"]
    assert model["metrics"] == {"psnr_y": 31.0}
    assert pixels(server.client.upscale(photo()).data) == expected(photo(), RED)
    ready = server.get("/ready").json()
    assert ready["ready"] is True
    assert ready["stale_registry_since"]
    assert ready["note"].startswith(f"stale registry since {ready['stale_registry_since']}: MLflow cannot be reached")

    mlflow.promote("2")
    mlflow.start()
    assert server.serves("2")["stale_registry_since"] is None
    assert pixels(server.client.upscale(photo()).data) == expected(photo(), GREEN)


def test_any_other_pyfunc_answers_invocations_as_mlflow_does_and_says_that_it_knows_no_images(
    mlflow: FakeMlflow, start_server: StartServer, tmp_path: Path
) -> None:
    add_version(mlflow, "5", save_sklearn_model(tmp_path / "sklearn"), "pyfunc")
    mlflow.promote("5")
    server = start_server()
    model = server.serves("5")
    answer = server.post(photo())

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_an_image_model")
    assert "tiny version 5 is not an image model" in answer.json()["error"]["message"]
    assert (model["contract"], model["image"]) == ("pyfunc", None)
    rows = [[0.5, 0.5], [9.0, 8.0]]
    frame = {"columns": ["a", "b"], "data": rows}
    for payload in ({"dataframe_split": frame}, {"inputs": rows}, {"instances": rows}):
        invoked = server.invoke(json=payload)
        assert invoked.json() == {"predictions": [0, 1]}, invoked.text
    csv = server.invoke(content="a,b\n0.5,0.5\n9,8\n", headers={"Content-Type": "text/csv"})
    assert csv.json() == {"predictions": [0, 1]}
    assert server.invoke(json={"dataframe_split": {"data": "no"}}).status_code == 400
    assert server.invoke(content=b"x").status_code == 415
    other = server.invoke(content=b"x", headers={"Content-Type": "image/png"})
    assert other.status_code == 415


def test_a_version_that_is_no_image_model_takes_no_image_models_place(
    mlflow: FakeMlflow, start_server: StartServer
) -> None:
    first = start_server()
    first.serves("1")
    mlflow.stages = {"4": "Production"}
    why = "Version 4 is in Production but cannot be served: It is no image model"
    assert first.until(lambda model: model["error"])["error"].startswith(why)
    assert first.client.upscale(photo()).version == "1"
    first.until(lambda _: len(first.children) == 1)
    first.stop()

    second = start_server()
    assert second.serves("1")["error"].startswith(why)
    assert second.client.upscale(photo()).version == "1"
    assert mlflow.aliases["production"] == "1"


def test_without_a_production_version_the_server_says_so(mlflow: FakeMlflow, start_server: StartServer) -> None:
    mlflow.aliases.clear()
    mlflow.stages.clear()
    server = start_server()
    server.until(lambda model: model["version"] is None)

    ready = server.get("/ready")
    assert ready.status_code == 503
    assert server.get("/ping").status_code == 503
    answer = server.post(photo())
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_model")
    server.until(lambda _: "No version of tiny is in Production" in server.get("/ready").json()["reason"])


def test_sigterm_lets_requests_in_flight_finish_and_leaves_nothing_behind(
    start_server: StartServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    runtime = tmp_path_factory.mktemp("run")
    server = start_server(STACKCTL_SERVING_RUNTIME=str(runtime))
    server.serves("1")
    children = server.children
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(server.post(photo(), tile=1_500_000)))
    asking.start()
    server.until(lambda _: "stackctl_in_flight 1.0" in server.get("/metrics").text)
    server.terminate()
    asking.join()

    assert answers[0].status_code == 200
    assert server.process.wait(PATIENCE) == 0
    assert not [child for child in children if child.is_running()]
    assert list(runtime.iterdir()) == []


def test_children_do_not_outlive_a_parent_that_was_killed(start_server: StartServer) -> None:
    server = start_server()
    server.serves("1")
    children = server.children
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(PATIENCE)

    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert alive == []


def test_cached_files_are_used_again_and_repaired_when_damaged(
    mlflow: FakeMlflow, start_server: StartServer, tmp_path: Path
) -> None:
    first = start_server()
    first.serves("1")
    first.stop()
    mlflow.requests.clear()
    second = start_server()
    second.serves("1")
    second.stop()
    assert not [path for path in mlflow.requests if "mlflow-artifacts/artifacts" in path]

    next((tmp_path / "cache" / "tiny").glob("1-*/**/colour.json")).write_text("[9, 9, 9]")
    third = start_server()
    third.serves("1")
    assert pixels(third.client.upscale(photo()).data) == expected(photo(), RED)
