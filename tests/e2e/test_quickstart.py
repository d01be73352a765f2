"""The README's first command, in a copy of the checkout with nothing installed."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.cli import Cli
from support.ports import stack_ports, usual_ports
from support.served import served_model
from support.stacks import edit_port
from support.waiting import PATIENCE, eventually

from stackctl.process import run, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", "my-stack", ".*_cache", "__pycache__", ".hypothesis")
INTERRUPTED = 130


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of processes that work for a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(folder) in words or str(process.info["cwd"] or "").startswith(str(folder)):
            found.append(words)
    return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a copy of this checkout without anything that was made in it."""
    folder = tmp_path_factory.mktemp("quickstart") / "stackctl"
    shutil.copytree(ROOT, folder, ignore=LEFT_BEHIND)
    yield folder
    if (folder / "my-stack").is_dir():
        run(
            [folder / ".venv/bin/stackctl", "-C", folder / "my-stack", "destroy", "--yes", "--with-backups"],
            check=False,
        )


def cli_of(checkout: Path) -> Cli:
    """Return the command line that quickstart installed, for the stack it made."""
    return Cli(checkout / "my-stack", executable=(str(checkout / ".venv/bin/stackctl"),), cwd=checkout)


def move(cli: Cli) -> None:
    """Give a stack ports of its own, before others take those that it leaves while it is down."""
    for name, port in stack_ports().items():
        edit_port(cli, name, port)


def test_one_command_leads_to_a_served_model_and_a_second_time_changes_nothing(checkout: Path) -> None:
    with usual_ports():
        printed = run([checkout / "scripts/quickstart"], cwd=checkout.parent, timeout=2 * PATIENCE).stdout
    assert all(word in printed for word in ("Demo", "MLflow", "Results", "Where the time went", "Try next"))
    assert served_model(cli_of(checkout))["version"] == "1"
    results = sorted(file.name for file in (checkout / "my-stack/data/outbound").glob("*_out.*"))
    assert len(results) == 5

    cli_of(checkout).run("promote", "super-resolution", "2")
    run([checkout / "scripts/quickstart"], cwd=checkout.parent, timeout=2 * PATIENCE)
    assert served_model(cli_of(checkout))["version"] == "2"
    assert len(cli_of(checkout).json("models", "show", "super-resolution")["versions"]) == 2


def test_another_engine_than_the_stacks_own_is_refused(checkout: Path) -> None:
    done = run([checkout / "scripts/quickstart", "--engine", "docker"], check=False)
    assert done.returncode == 2
    assert "stack.yaml" in done.stderr


def test_every_command_that_quickstart_suggests_exists(checkout: Path) -> None:
    text = (checkout / "scripts/quickstart").read_text().partition("Try next")[2]
    suggested = [line.split("  ")[1].split() for line in text.splitlines() if line.startswith("  stackctl ")]
    assert len(suggested) == 5
    for words in suggested:
        command = [word for word in words[1:3] if word.isalpha()]
        names = command if command[0] == "models" else command[:1]
        cli_of(checkout).run(*names, "--help")


def test_ctrl_c_leaves_nothing_running(checkout: Path) -> None:
    cli_of(checkout).run("down")
    move(cli_of(checkout))
    log = checkout.parent / "interrupted.log"
    quickstart = start([checkout / "scripts/quickstart"], cwd=checkout, log=log)
    eventually(lambda: any("supervisord" in words for words in processes_of(checkout / "my-stack")), "a start")
    os.killpg(quickstart.pid, signal.SIGINT)
    assert quickstart.wait(PATIENCE) == INTERRUPTED
    eventually(lambda: processes_of(checkout / "my-stack") == [], "the end of every process")


def test_ctrl_c_ends_a_followed_log_with_130(checkout: Path) -> None:
    cli = cli_of(checkout)
    cli.run("up")
    log = checkout.parent / "followed.log"
    following = start([*cli.executable, "-C", str(cli.folder), "logs", "-f", "serving"], log=log)
    eventually(lambda: "serving | " in log.read_text(), "a first line")
    os.kill(following.pid, signal.SIGINT)
    assert following.wait(PATIENCE) == INTERRUPTED
    assert cli.json("status")["state"] == "healthy"


def test_ctrl_c_during_up_exits_130_and_leaves_no_process(checkout: Path) -> None:
    cli = cli_of(checkout)
    cli.run("down")
    starting = start([*cli.executable, "-C", str(cli.folder), "up"], log=checkout.parent / "up.log")
    eventually(lambda: any("mlflow" in words for words in processes_of(checkout / "my-stack")), "a first service")
    os.kill(starting.pid, signal.SIGINT)
    assert starting.wait(PATIENCE) == INTERRUPTED
    eventually(lambda: processes_of(checkout / "my-stack") == [], "the end of every process")
