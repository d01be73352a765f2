"""The main job, from an empty folder to a served Production model, on each engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.browser import launch
from support.cli import Cli
from support.golden import MAX_LEVELS_FP32, starter_pair, worst_levels
from support.served import served_model, upscale, url_of
from support.stacks import Stacks
from support.waiting import PATIENCE

from stackctl.process import run

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]

CLIENT = """
import mlflow, sys
for uri in ("models:/super-resolution/Production", "models:/super-resolution@production"):
    model = mlflow.pyfunc.load_model(uri)
    print(model.metadata.run_id)
"""


def shown_version(cli: Cli) -> str:
    """Return the text of the demo's page in a real browser."""
    with launch() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(url_of(cli, "demo"))
        return page.locator("body").inner_text()


def test_an_empty_folder_becomes_a_served_production_model_that_outlives_a_restart(engine: str, stacks: Stacks) -> None:
    cli = stacks.make(f"spine-{engine}", engine)
    first, second = starter_pair(1), starter_pair(2)

    report = cli.json("up")
    assert report["state"] == "healthy"
    assert report["model"]["production"] is None

    imported = cli.json("models", "import", "starter")
    assert [version["version"] for version in imported["versions"]] == ["1", "2"]
    cli.run("models", "import", "starter")  # a second time adds nothing
    assert len(cli.json("models", "show", "super-resolution")["versions"]) == 2

    sheet = stacks.folder / "golden.png"
    compared = cli.json("models", "compare", "1", "latest", "--sheet", sheet)
    assert compared["comparable"]
    assert compared["metrics"]["psnr_y"]["delta"] > 0
    assert sheet.read_bytes().startswith(b"\x89PNG")

    cli.run("promote", "super-resolution", "1")
    answer = upscale(cli, first.input, format="png", precision="fp32")
    assert answer.version == "1"
    assert worst_levels(answer.data, first.output) <= MAX_LEVELS_FP32
    assert "version 1" in shown_version(cli).lower()
    children_before = cli.json("status")["services"]

    better = cli.json("promote", "super-resolution", "latest", "--if-better", "psnr_y")
    assert (better["previous"], better["version"]) == ("1", "2")
    assert "version 2" in shown_version(cli).lower()
    assert [each["restarts"] for each in cli.json("status")["services"]] == [
        each["restarts"] for each in children_before
    ]
    answer = upscale(cli, second.input, format="png", precision="fp32")
    assert worst_levels(answer.data, second.output) <= MAX_LEVELS_FP32

    environment = {"MLFLOW_TRACKING_URI": url_of(cli, "mlflow"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    runs = run([sys.executable, "-c", CLIENT], env=environment, timeout=PATIENCE).stdout.split()
    assert runs == [answer.run_id, answer.run_id]

    cli.run("down")
    assert cli.json("status")["state"] == "stopped"
    cli.run("up")
    assert served_model(cli)["version"] == "2"
    assert upscale(cli, second.input, format="png", precision="fp32").version == "2"
    runs = run([sys.executable, "-c", CLIENT], env=environment, timeout=PATIENCE).stdout.split()
    assert runs == [answer.run_id, answer.run_id]

    assert_no_secret_leaked(cli, engine)
    cli.run("destroy", "--yes", "--with-backups")
    assert remains_of(cli, engine) == ""


def assert_no_secret_leaked(cli: Cli, engine: str) -> None:
    """Look for every secret's value wherever a person or another program could read it."""
    folder = cli.folder
    assert folder is not None
    secrets = {
        word
        for file in (folder / "secrets").iterdir()
        for line in file.read_text().splitlines()
        for word in line.split()
        if len(word) >= 16
    }
    assert len(secrets) >= 3
    places = {
        str(file.relative_to(folder)): file.read_bytes().decode(errors="replace")
        for file in folder.rglob("*")
        if file.is_file() and folder / "secrets" not in file.parents and file.suffix != ".db"
    }
    places["logs"] = cli.run("logs").stdout
    places["status"] = cli.run("status", "--json", check=False).stdout
    places["processes"] = "\n".join(
        (process / name).read_bytes().decode(errors="replace")
        for process in Path("/proc").glob("[0-9]*")
        for name in ("cmdline",)
        if (process / name).exists()
    )
    if engine == "docker":
        ids = run(["docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={folder.name}"]).stdout.split()
        places["docker inspect"] = run(["docker", "inspect", *ids]).stdout
    leaks = [f"{place}" for place, text in places.items() for secret in secrets if secret in text]
    assert not leaks


def remains_of(cli: Cli, engine: str) -> str:
    """Return what is left of a destroyed stack: containers, volumes, networks, processes."""
    folder = cli.folder
    assert folder is not None
    if engine == "local":
        return "\n".join(
            command
            for process in Path("/proc").glob("[0-9]*")
            if process.exists() and str(folder) in (command := _cmdline(process))
        )
    name = f"label=com.docker.compose.project={folder.name}"
    kinds = (("ps", "-aq"), ("volume", "ls", "-q"), ("network", "ls", "-q"))
    return "".join(run(["docker", *words, "--filter", name]).stdout for words in kinds)


def _cmdline(process: Path) -> str:
    try:
        return (process / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
