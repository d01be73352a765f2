"""What must not happen when a stack's folder, its engine or its processes are not as they were."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from support.cli import Cli
from support.golden import starter_pair
from support.served import served_model
from support.stacks import Stacks
from support.waiting import eventually

pytestmark = pytest.mark.slow


def supervisord_of(folder: Path) -> psutil.Process:
    """Return the supervisord that runs a stack."""
    return next(
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if "supervisor.supervisord" in (process.info["cmdline"] or ()) and process.info["cwd"] == str(folder)
    )


def works_for(process: psutil.Process, cli: Cli) -> bool:
    """Return whether a process serves a stack: its environment names the stack's folder."""
    try:
        return str(cli.folder) in process.environ().values()
    except psutil.Error:
        return False


def test_destroy_touches_nothing_but_its_own_when_the_note_of_its_place_is_torn(stacks: Stacks, tmp_path: Path) -> None:
    cli = stacks.make("torn-note", "local")
    assert cli.folder is not None
    (cli.folder / "var" / "run").mkdir(parents=True)
    (cli.folder / "var" / "run" / "runtime").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("precious")
    Cli(cli.folder, cwd=tmp_path / "elsewhere").run("destroy", "--yes")
    assert (tmp_path / "elsewhere" / "file").read_text() == "precious"


def test_a_copied_folder_has_no_hold_on_the_original(promoted: Cli, tmp_path: Path) -> None:
    assert promoted.folder is not None
    shutil.copytree(promoted.folder, tmp_path / "copied")
    copy = Cli(tmp_path / "copied")
    assert copy.json("status")["state"] == "stopped"
    copy.run("destroy", "--yes")
    assert promoted.json("status")["state"] == "healthy"


def test_status_tells_services_whose_supervisord_was_killed_and_up_mends_it(promoted: Cli) -> None:
    assert promoted.folder is not None
    supervisord_of(promoted.folder).send_signal(signal.SIGKILL)
    report = promoted.json("status", codes=(3,))
    assert report["state"] == "degraded"
    assert "supervisord" in report["problems"][0]
    assert promoted.json("up")["state"] == "healthy"


def test_an_engine_changed_while_services_run_leaves_none_behind(stacks: Stacks) -> None:
    cli = stacks.make("switched", "local")
    assert cli.folder is not None
    cli.run("up")
    file = cli.folder / "stack.yaml"
    text = file.read_text()
    file.write_text(text.replace("engine: local", "engine: docker").replace("kind: folder", "kind: minio"))
    assert "stackctl down" in cli.fails(4, "up")
    cli.run("down", check=False)  # without a Docker engine that half fails; the processes end all the same
    file.write_text(text)
    assert cli.json("status")["state"] == "stopped"


def test_a_service_that_is_away_is_not_taken_for_an_empty_registry(promoted: Cli) -> None:
    before = served_model(promoted)["version"]
    mlflow = next(service for service in promoted.json("status")["services"] if service["name"] == "mlflow")
    port = int(mlflow["url"].rpartition(":")[2])
    held = [
        psutil.Process(found.pid)
        for found in psutil.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN and found.laddr[1:] == (port,) and found.pid
    ]
    for process in held:
        process.suspend()
    try:
        report = promoted.json("status", codes=(3,))
        assert report["model"]["served"] == before
        assert report["model"]["error"]
    finally:
        for process in held:
            process.resume()


def test_a_model_process_that_cannot_be_started_is_tried_again(promoted: Cli) -> None:
    """Its runtime folder is away for a moment, as on a full disk: the version comes back by itself."""
    child = next(
        process
        for process in psutil.process_iter(["cmdline"])
        if "stackctl.serving.child" in (process.info["cmdline"] or ()) and works_for(process, promoted)
    )
    folder = Path(child.info["cmdline"][-1]).parent
    away = folder.with_name(folder.name + "-away")
    folder.rename(away)
    child.kill()
    try:
        eventually(lambda: "start_failed" in promoted.run("logs", "serving", "-n", "50").stdout, "a failed start")
    finally:
        away.rename(folder)
    words = ("image", "upscale", _picture(folder), folder)
    eventually(lambda: promoted.run(*words, check=False).returncode == 0, "the return of the version", pause=0.5)


def test_images_that_differ_in_their_ending_alone_do_not_overwrite_each_other(promoted: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.bmp", "b.png"):
        (tmp_path / "in" / name).write_bytes(starter_pair(1).input)
    promoted.run("image", "upscale", tmp_path / "in", tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a_bmp_out.png", "a_png_out.png", "b_out.png"]


def test_a_registered_version_answers_here_what_the_model_server_answers(promoted: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(starter_pair(1).input)
    words = ("image", "upscale", tmp_path / "a.png", "--fp32")
    served = promoted.json(*words, tmp_path / "served.png")["results"][0]
    here = promoted.json(*words, tmp_path / "here.png", "-n", "super-resolution/1")["results"][0]
    assert here["version"] == "super-resolution/1"
    assert Path(here["result"]).read_bytes() == Path(served["result"]).read_bytes()
    assert "9" in promoted.fails(1, *words, tmp_path / "x.png", "-n", "super-resolution/9")


def test_a_mistyped_bucket_is_named_and_no_folder_is_made(promoted: Cli, tmp_path: Path) -> None:
    text = promoted.fails(2, "image", "upscale", "s3://inbuond", tmp_path / "out")
    assert "inbound" in text
    assert promoted.folder is not None
    assert not (promoted.folder / "var" / "store").exists()
    for url in ("s3://[", "s3://../x", "s3://"):
        promoted.fails(2, "image", "upscale", url, tmp_path / "out")


def test_a_target_that_cannot_be_written_is_a_sentence(promoted: Cli, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(starter_pair(1).input)
    (tmp_path / "file").touch()
    assert "written" in promoted.fails(2, "image", "upscale", tmp_path / "cat.png", tmp_path / "file")


def test_logs_are_one_document_under_json(promoted: Cli) -> None:
    lines = promoted.json("logs", "serving", "-n", "3")["lines"]
    assert [line["service"] for line in lines] == ["serving"] * 3
    document = json.loads(promoted.run("logs", "-f", "--json", check=False).stdout)
    assert document["error"]["code"] == 2


def _picture(folder: Path) -> Path:
    file = folder / "probe.png"
    file.write_bytes(starter_pair(1).input)
    return file
