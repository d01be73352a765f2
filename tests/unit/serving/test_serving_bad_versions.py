"""Versions that must never reach users, or not for long: whatever they do, the one before them serves on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from unit.serving.conftest import StartServer, add_version
from unit.serving.fake_mlflow import FakeMlflow
from unit.serving.live_server import Load
from unit.serving.tiny_models import RED, change_code, expected, photo, pixels

from stackctl.serving.memory import MIB

pytestmark = pytest.mark.slow


def test_a_version_that_is_corrupt_hangs_lacks_packages_or_eats_memory_is_refused_and_nobody_notices(
    mlflow: FakeMlflow, start_server: StartServer, tmp_path: Path
) -> None:
    def copy(number: str) -> Path:
        return shutil.copytree(mlflow.versions["1"].folder, tmp_path / f"artifacts-{number}")

    change_code(copy("5"), "ON LOAD", "time.sleep(600)")
    change_code(copy("6"), "ON LOAD", "hoard(3000)")
    (copy("7") / "MLmodel").write_text("flavors: [")
    (copy("8") / "requirements.txt").write_text("pillow\nnosuchpackage==1.0\nanother-one\n")
    change_code(copy("9"), "ON LOAD", "os._exit(7)")
    shutil.copytree(mlflow.versions["4"].folder, tmp_path / "artifacts-10")
    for number in map(str, range(5, 11)):
        add_version(mlflow, number, tmp_path / f"artifacts-{number}")
    reasons = {
        "5": ["was not loaded within 30 s"],
        "6": ["MiB of memory", "1200 MiB are the limit"],
        "7": ["MLmodel"],
        "8": ["nosuchpackage==1.0, another-one", "serving.packages in stack.yaml"],
        "9": ["exited with status 7"],
        "10": ["tagged as an image model", "`upscale`"],
    }
    server = start_server(STACKCTL_SERVING_LOAD_TIMEOUT="30", STACKCTL_SERVING_MEMORY="1200m")
    server.serves("1")
    [pid] = [child.pid for child in server.children]
    load = Load(server, threads=1, pace=0.1)
    with load:
        for number, words in reasons.items():
            mlflow.aliases["candidate"] = number

            def refused(model: dict[str, dict[str, str] | None], number: str = number) -> bool:
                candidate = model["candidate"] or {}
                return (candidate.get("version"), candidate.get("state")) == (number, "refused")

            reason = server.until(refused)["candidate"]["reason"]
            assert all(word in reason for word in words), reason
        del mlflow.aliases["candidate"]
        server.until(lambda model: model["candidate"] is None)

    assert load.problems == []
    assert set(load.versions) == {"1"}
    assert [child.pid for child in server.children] == [pid]
    deaths = server.get("/metrics").text
    assert 'stackctl_deaths_total{cause="memory"} 1.0' in deaths
    assert 'stackctl_deaths_total{cause="timeout"} 1.0' in deaths
    assert mlflow.aliases == {"production": "1"}


def test_a_version_that_fails_under_users_is_taken_back_reported_and_not_served_again(
    mlflow: FakeMlflow, start_server: StartServer, tmp_path: Path
) -> None:
    folder = shutil.copytree(mlflow.versions["2"].folder, tmp_path / "artifacts-5")
    change_code(folder, "ON REQUEST", "assert Image.open(io.BytesIO(data)).width < 10")  # as its golden one is
    add_version(mlflow, "5", folder)
    server = start_server(STACKCTL_SERVING_GRACE="120")
    server.serves("1")
    mlflow.promote("5")
    server.until(lambda model: model["version"] == "5")
    codes = [server.post(photo()).status_code for _ in range(5)]

    assert codes == [500, 500, 500, 200, 200]
    model = server.until(lambda _: any(each["action"] == "failed" for each in mlflow.history))
    assert model["version"] == "1"
    assert model["taken_back"]["version"] == "5"
    assert "Version 5 is in Production but was taken back: 3 of its first 3 requests failed" in model["error"]
    failed = next(each for each in mlflow.history if each["action"] == "failed")
    assert (failed["version"], failed["previous"]) == ("5", "1")
    assert mlflow.aliases["production"] == "5"  # what is in Production is for people to decide
    assert "stackctl_fallbacks_total 1.0" in server.get("/metrics").text
    assert " fallback " in server.log
    server.stop()

    again = start_server()
    assert "taken back" in again.serves("1")["error"]
    mlflow.promote("2")
    assert again.serves("2")["error"] is None
    assert again.client.model()["taken_back"] is None


def test_a_request_that_eats_memory_ends_with_its_process_and_says_why(start_server: StartServer) -> None:
    server = start_server(STACKCTL_SERVING_MEMORY="700m", STACKCTL_SERVING_CONCURRENCY="3")
    model = server.serves("1")
    assert model["image"]["max_memory"] == 384 * MIB
    load = Load(server, threads=2, pace=0.05)
    with load:
        load.answered_by("1", 2)
        answer = server.post(photo(), tile=888)
        load.answered_by("1", len(load.versions) + 4)

    assert answer.status_code == 500
    assert "MiB are the limit" in answer.json()["error"]["message"]
    assert load.problems == []
    death = server.client.model()["last_death"]
    assert death["cause"] == "memory"
    assert "MiB of memory" in death["how"]
    assert pixels(server.client.upscale(photo()).data) == expected(photo(), RED)


def test_a_store_that_is_down_stops_a_new_version_not_the_old_one_even_over_a_restart(
    mlflow: FakeMlflow, start_server: StartServer
) -> None:
    first = start_server(STACKCTL_SERVING_RETRY="1")
    first.serves("1")
    first.until(lambda _: [each["version"] for each in mlflow.history] == ["1"])
    mlflow.store_is_down = True
    mlflow.promote("2")
    assert "answered 500" in first.until(lambda model: model["error"])["error"]
    assert first.client.upscale(photo()).version == "1"
    first.stop()

    second = start_server(STACKCTL_SERVING_RETRY="1")
    second.serves("1")
    assert "Version 2 is in Production but cannot be served" in second.until(lambda model: model["error"])["error"]
    assert [each["version"] for each in mlflow.history] == ["1"]  # nothing is aligned to what does not serve
    mlflow.store_is_down = False
    assert second.serves("2")["error"] is None
