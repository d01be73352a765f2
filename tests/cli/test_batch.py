"""``batch`` on the command line: what is refused, what is shown of runs that are over, how events look."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import HEAVY, Cli, loaded_by
from support.local_stack import make_local_stack
from typer.testing import CliRunner

from stackctl import process
from stackctl.batch.events import EventLog
from stackctl.batch.runs import Run, Runs, RunState
from stackctl.cli.app import app
from stackctl.cli.batch_progress import ProgressStyle, figures, opening, printable, warner, watch
from stackctl.cli.batch_runs import _tell_error
from stackctl.cli.batch_steps import _show
from stackctl.cli.output import Terminal
from stackctl.errors import StackctlError

REPORT = {
    "status": "ok",
    "output": "/photos/out",
    "quarantine": "/photos/bad",
    "model": {"name": "super-resolution", "version": "3", "digest": "sha256:0123456789abcdef"},
    "figures": {
        **dict.fromkeys(("unchanged", "known_bad", "left"), 0),
        "done": 1200,
        "skipped": 7,
        "quarantined": 1,
        "seconds": 75.2,
        "images_per_s": 15.96,
        "pixels_per_s": 4_200_000.0,
    },
    "reasons": {"corrupt_image": 1},
    "quarantined": [{"name": "bad\x1b[2J.png", "reason": "The data end early."}],
    "slowest": [{"name": "large.png", "seconds": 3.25}],
}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(make_local_stack(tmp_path / "stack").home)


@pytest.fixture
def ended(cli: Cli) -> Run:
    """A run that is over, with its report."""
    assert cli.folder is not None
    run = Runs(cli.folder / "var" / "batch").create()
    (run.folder / "lock").touch()
    order = {"input": "/photos/in", "output": "/photos/out", "model": REPORT["model"]}
    (run.folder / "order.json").write_text(json.dumps(order))
    run.report.write_text(json.dumps(REPORT))
    log = EventLog(run.events)
    log.say("begin", total=1208, pending=1201, skipped=7, known_bad=0)
    log.say("progress", done=1200, quarantined=1, pending=0, skipped=7, images_per_s=16, pixels_per_s=4e6, workers=2)
    log.say("end", status="ok", exit=0, message=None, hint=None)
    return run


def shown(cli: Cli, *words: str) -> str:
    """Return what a command prints on standard output; in this very process, which is quicker."""
    done = CliRunner().invoke(app, ["-C", str(cli.folder), "batch", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(cli: Cli, code: int, *words: str) -> str:
    """Return the message and the hint of a command that must fail."""
    done = CliRunner().invoke(app, ["-C", str(cli.folder), "batch", *words])
    assert isinstance(done.exception, StackctlError)
    assert done.exception.code == code
    return f"{done.exception.message} {done.exception.hint}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--workers", "many"), "--workers auto or --workers 4"),
        (("run", "--workers", "0"), "--workers"),
        (("run", "--batch-size", "-1"), "--batch-size"),
        (("run", "--dry-run", "--detach"), "exclude each other"),
        (("run", "--dry-run", "--watch"), "exclude each other"),
        (("run", "--scheduler", "http://dask:8786"), "tls://HOST:8786"),
        (("run", "-i", "no-such-folder"), "s3://BUCKET/PREFIX"),
        (("status",), "stackctl batch run"),
        (("report", "x"), "stackctl batch run"),
        (("cancel",), "stackctl batch list"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_type_next(cli: Cli, words: tuple[str, ...], said: str) -> None:
    assert said in refused(cli, 2, *words)


def test_where_mlflow_never_answered_a_run_says_how_to_start_it(cli: Cli) -> None:
    assert cli.folder is not None
    (cli.folder / "data" / "inbound").mkdir(parents=True)
    said = cli.fails(3, "batch", "run")
    assert "MLflow cannot be reached" in said
    assert "stackctl up" in said
    assert cli.json("batch", "list")["runs"] == []


def test_a_run_that_is_over_is_listed_shown_and_reported_by_a_part_of_its_name(cli: Cli, ended: Run) -> None:
    assert "1,200" in shown(cli, "list")
    document = json.loads(shown(cli, "status", ended.id[-4:], "--json"))
    assert (document["run"], document["phase"], document["done"]) == (ended.id, "done", 1200)
    told = shown(cli, "report")
    for part in ("1,200 images (15.96 images/s, 4.20 Mpixel/s)", "1 corrupt_image", "3.25 s  large.png", "/photos/bad"):
        assert part in told
    assert "bad\\x1b[2J.png: The data end early." in told
    assert json.loads(shown(cli, "report", ended.id, "--json"))["report"] == REPORT


def test_a_run_that_died_says_so_and_has_no_report(cli: Cli, ended: Run) -> None:
    ended.report.unlink()
    ended.events.write_text('{"event": "begin", "total": 3, "pending": 3}\n')
    told = shown(cli, "status")
    assert "died" in told
    assert "Run the same command again" in told
    assert "Run the same command again" in refused(cli, 1, "report")
    assert f"batch report {ended.id}" in refused(cli, 2, "cancel", ended.id)


EVENTS: list[dict[str, Any]] = [
    {"event": "begin", "total": 4, "pending": 3, "skipped": 1, "known_bad": 0},
    {"event": "worker", "name": "w", "state": "joined"},
    {"event": "image", "name": "a.png", "status": "done"},
    {"event": "image", "name": "b.png", "status": "quarantined", "code": "corrupt_image", "reason": "It ends early."},
    {"event": "waiting", "why": "the disk is full"},
    {"event": "resumed"},
    {"event": "mlflow", "state": "unreachable: refused"},
    {"event": "progress", "done": 1, "skipped": 1, "quarantined": 1, "pending": 1, "images_per_s": 2.0, "workers": 2},
    {"event": "end", "status": "ok", "exit": 0},
]


def test_without_a_terminal_a_person_reads_lines(capsys: pytest.CaptureFixture[str]) -> None:
    state = watch(Terminal(), iter(EVENTS), ProgressStyle.AUTO, on_interrupt=lambda _number: None)
    assert capsys.readouterr().err.splitlines() == [
        "4 images: 3 to do, 1 done before.",
        "⚠ b.png: It ends early. (quarantined)",
        "⚠ Waiting: the disk is full",
        "Going on.",
        "⚠ MLflow is unreachable: refused. The run goes on; MLflow is told later.",
    ]
    assert (state.phase, state.done, state.quarantined) == ("done", 1, 1)


def test_a_program_gets_every_event_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    watch(Terminal(), iter(EVENTS), ProgressStyle.JSON, on_interrupt=lambda _number: None)
    assert [json.loads(line) for line in capsys.readouterr().err.splitlines()] == EVENTS


@pytest.mark.serial
def test_interrupts_are_handed_over_one_by_one_and_end_nothing_by_themselves() -> None:
    import os
    import signal

    numbers: list[int] = []

    def interrupted(number: int) -> str:
        numbers.append(number)
        return "once more"

    def events() -> Iterator[dict[str, Any]]:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            yield {}
        yield EVENTS[-1]

    before = signal.getsignal(signal.SIGINT)
    assert watch(Terminal(quiet=True), events(), ProgressStyle.AUTO, on_interrupt=interrupted).phase == "done"
    assert numbers == [1, 2]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_files_that_the_next_step_needs_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"/{'a-long-folder/' * 9}{number:04}.json" for number in (1, 2)]
    _show(Terminal(), {"known_bad": 0, "files": files})
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["0", *files]


def test_figures_are_said_as_a_person_reads_them() -> None:
    state = RunState("running", total=4, done=1, pending=3, images_per_s=0.5, pixels_per_s=1.5e6, eta_s=3700, workers=1)
    assert figures(state) == "1 of 4 done · 0.50 images/s · 1.50 Mpixel/s · ETA 1:01:40 · 1 worker"
    assert opening(RunState()) == "There is no image in the input yet."
    assert printable("ä b\n\udcff") == "ä b\\n\\udcff"


def test_looking_at_runs_loads_nothing_heavy(cli: Cli, ended: Run) -> None:
    assert cli.folder is not None
    assert loaded_by("-C", cli.folder, "batch", "list") & {*HEAVY, "httpx", "obstore"} == set()


def test_the_shell_completes_runs(cli: Cli, ended: Run) -> None:
    line = f"stackctl -C {cli.folder} batch status {ended.id[:6]}"
    words = {"_STACKCTL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "5"}
    assert process.run([sys.executable, "-m", "stackctl"], env=words).stdout.split() == [ended.id]


def test_among_events_warnings_and_the_reason_of_a_failure_are_events_too(capsys: pytest.CaptureFixture[str]) -> None:
    warner(Terminal(), ProgressStyle.JSON)("1 worker instead of 4")
    _tell_error(Terminal(), ProgressStyle.JSON, "Too many.", "Look.", 1)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["warning"], first["text"]) == ("note", True, "1 worker instead of 4")
    assert second == {"event": "error", "code": 1, "message": "Too many.", "hint": "Look."}
