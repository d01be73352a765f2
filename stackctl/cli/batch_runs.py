"""``batch status``, ``list``, ``report`` and ``cancel``: what is known of runs, and how one that was started ends."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackctl.cli.batch_progress import ProgressStyle, counted, preparing, watch
from stackctl.cli.batch_tables import plan_table, print_report, runs_table, state_table
from stackctl.cli.completion import complete_runs
from stackctl.cli.output import Terminal, print_error, print_json, terminal
from stackctl.errors import INTERRUPTED

if TYPE_CHECKING:
    from stackctl.batch.runs import Run, RunState
    from stackctl.engines import Engine
    from stackctl.errors import StackctlError
    from stackctl.lifecycle.batch import Launched
    from stackctl.lifecycle.batch_carrier import Carrier
    from stackctl.stack import Stack

RunWord = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="The run, or a part of its id; none: the newest.",
        show_default=False,
        autocompletion=complete_runs,
    ),
]
Style = Annotated[
    ProgressStyle,
    typer.Option(
        "--progress", metavar="auto|plain|json", help="auto: a bar on a terminal, lines elsewhere; json: every event."
    ),
]


def status(
    context: typer.Context,
    run: RunWord = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run ends.")] = False,
    progress: Style = ProgressStyle.AUTO,
) -> None:
    """Show how far a run is; with --follow until it ends, with its exit code (Ctrl-C leaves it running)."""
    from stackctl.batch.runs import state_of
    from stackctl.lifecycle.batch_carrier import Carrier
    from stackctl.lifecycle.batch_runs import runs_of, started

    screen = terminal(context)
    stack, engine = screen.engine()
    found = runs_of(stack).find(run)
    state = state_of(found, started=partial(started, engine, found))
    if follow and state.live:
        finish(screen, stack, engine, found, progress, owner=False)
        return
    if not state.live:
        with preparing(screen, progress) as told:
            Carrier(stack, found).rest(told)
        _deliver(screen, stack, [found])
    screen.data(_document(found, state), lambda: state_table(found, state))


def list_(context: typer.Context) -> None:
    """List the runs that are kept, the newest first."""
    from stackctl.batch.runs import state_of
    from stackctl.lifecycle.batch_runs import runs_of, started

    screen = terminal(context)
    stack, engine = screen.engine()
    found = [(run, state_of(run, started=partial(started, engine, run))) for run in runs_of(stack).all()]
    if not found and not screen.json:
        screen.note("No batch was run yet. Start one with `stackctl batch run`.")
        return
    screen.data({"runs": [_document(run, state) for run, state in found]}, lambda: runs_table(found))


def report(context: typer.Context, run: RunWord = None) -> None:
    """Print a run's report: what was done, skipped and quarantined and why, how fast, and the slowest images."""
    from stackctl.batch.runs import state_of
    from stackctl.errors import StackctlError
    from stackctl.lifecycle.batch_runs import report_of, runs_of

    screen = terminal(context)
    stack = screen.stack()
    found = runs_of(stack).find(run)
    state = state_of(found)
    if state.live:
        hint = f"Follow it with `stackctl batch status -f {found.id}`."
        raise StackctlError(f"The run {found.id} goes on: its report comes at its end.", hint)
    _deliver(screen, stack, [found])
    document = report_of(found)
    if document is None:
        raise StackctlError(f"The run {found.id} has no report. {state.message or 'It ended early.'}", state.hint)
    if screen.json:
        print_json({**_document(found, state), "report": document})
    else:
        print_report(screen, found, document)


def cancel(
    context: typer.Context,
    run: RunWord = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for the images in flight.")] = False,
) -> None:
    """End a run that goes on, after the images in flight; what is done is kept."""
    from stackctl.batch.runs import RunState
    from stackctl.lifecycle.batch_runs import followed, kill, live_run

    screen = terminal(context)
    stack, engine = screen.engine()
    found = live_run(stack, run)
    if now:
        kill(engine, found)
    else:
        found.cancel()
        screen.note(f"The run {found.id} finishes the images in flight and ends.")
    state = RunState()
    for event in followed(engine, found):
        state = state.after(event) if event else state
    _deliver(screen, stack, [found])
    screen.data(_document(found, state), lambda: state_table(found, state))


def leave(screen: Terminal, stack: Stack, launched: Launched) -> None:
    """Let a run go on by itself, and say how to follow it."""
    from stackctl.lifecycle.batch_carrier import carry_on

    run = launched.run
    carry_on(stack, run)
    if screen.json:
        print_json({"run": run.id, **_places(run.order())})
        return
    screen.line(run.id)
    screen.note(f"It runs in the background. Follow it: stackctl batch status -f {run.id}")


def finish(
    screen: Terminal,
    stack: Stack,
    engine: Engine,
    run: Run,
    style: ProgressStyle,
    *,
    owner: bool = True,
    keep: bool = True,
) -> None:
    """Follow a run to its end, print its report, and exit with the code that its outcome has.

    Args:
        screen: where to.
        stack: whose run.
        engine: what runs it.
        run: the run.
        style: how progress is shown.
        owner: an interrupt ends the run; otherwise only the looking on.
        keep: leave the run's folder (a dry run leaves none).
    """
    from stackctl.errors import UsageError
    from stackctl.lifecycle.batch_carrier import Carrier
    from stackctl.lifecycle.batch_runs import deliver_earlier, followed, report_of, runs_of

    told = screen if keep else replace(screen, quiet=True)
    with Carrier(stack, run) as carrier:
        state = watch(
            told, followed(engine, run), style, on_interrupt=lambda number: _interrupted(engine, run, number, owner)
        )
    if state.exit is None:
        screen.note(f"The run {run.id} goes on. Follow it again with `stackctl batch status -f`.")
        raise typer.Exit(INTERRUPTED)
    if not keep:
        _plan(screen, run, state)
    behind = _bring(screen, carrier, style) if keep else None
    deliver_earlier(stack, runs_of(stack).all())  # the run itself said whether something is left
    document = report_of(run) if keep else None
    outcome = state.exit or (1 if behind else 0)
    if screen.json and (document is not None or not outcome):
        print_json({**_document(run, state), "report": document})
        raise typer.Exit(outcome)
    if document is not None:
        print_report(screen, run, document)
    if state.exit:
        message = state.message or f"The run {run.id} ended early."
        usual = "See `stackctl batch run --help`." if state.exit == UsageError.code else f"See {run.log}."
        hint = (state.hint or usual).replace("the run's log.txt", str(run.log))
        _tell_error(screen, style, message, hint, state.exit)
    elif behind:
        _tell_error(screen, style, behind.message, behind.hint, 1)
    raise typer.Exit(outcome)


def _bring(screen: Terminal, carrier: Carrier, style: ProgressStyle) -> StackctlError | None:
    """Bring the results that are still in the store; return why they stay there, if they do."""
    from stackctl.errors import StackctlError

    try:
        with preparing(screen, style) as progress:
            carrier.rest(progress)
    except StackctlError as error:
        return error
    return None


def _tell_error(screen: Terminal, style: ProgressStyle, message: str, hint: str | None, code: int) -> None:
    """Say why a run fails; among events it is one of them."""
    if style is ProgressStyle.JSON and not screen.json:
        event = {"event": "error", "code": code, "message": message, "hint": hint}
        typer.echo(json.dumps(event), err=True)
    else:
        print_error(message, hint, code, as_json=screen.json, color=screen.color)


def _plan(screen: Terminal, run: Run, state: RunState) -> None:
    """Print what a run would do, leave nothing of it, and end well if it could be said."""
    if state.exit:
        return
    document, table = _document(run, state), plan_table(run, state)
    shutil.rmtree(run.folder, ignore_errors=True)
    screen.data({**document, "dry_run": True}, lambda: table)
    raise typer.Exit(0)


def _interrupted(engine: Engine, run: Run, number: int, owner: bool) -> str | None:
    """Act on the ``number``-th interrupt and return what to say; None: stop looking on."""
    from stackctl.lifecycle.batch_runs import kill

    if not owner:
        return None
    if number == 1:
        run.cancel()
        return "Finishing the images in flight. A second Ctrl-C ends at once."
    kill(engine, run)
    return "Ended at once."


def _deliver(screen: Terminal, stack: Stack, runs: list[Run]) -> None:
    from stackctl.lifecycle.batch_runs import deliver_earlier

    if left := deliver_earlier(stack, runs):
        screen.note(
            f"MLflow has not got everything yet, {counted(left, 'entry')} are left: the next batch command goes on."
        )


def _document(run: Run, state: RunState) -> dict[str, Any]:
    order = run.order()
    model = order.get("model") or {}
    return {
        "run": run.id,
        "created": order.get("created"),
        **_places(order),
        "model": {name: model.get(name) for name in ("name", "version", "digest")},
        "folder": str(run.folder),
        **state.to_dict(),
    }


def _places(order: dict[str, Any]) -> dict[str, Any]:
    """Return the places of a run: as a person knows them, and as its workers see them."""
    names = ("input", "output")
    shown = {name: order.get(f"{name}_folder") or order.get(name) for name in names}
    return {**shown, "urls": {name: order.get(name) for name in names}}
