"""``backup``: take, list, show, verify, drill and prune snapshots, and see the schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackctl.cli.backup_progress import watched
from stackctl.cli.output import Terminal, bytes_in_words, terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(help="Take a snapshot now (no command), or look at those there are.")

STATES = {
    "verified": "[green]verified[/]",
    "damaged": "[red]damaged[/]",
    "incomplete": "[red]incomplete[/]",
    "unproven": "unproven",
}
SHOWN = 10
"""Lines of one kind that are printed at most."""
SnapshotName = Annotated[
    str | None, typer.Argument(help="Its name or the beginning of it; none: the newest.", show_default=False)
]


@app.callback(invoke_without_command=True)
def backup(context: typer.Context) -> None:
    """Take a snapshot now, verify it, copy it elsewhere where that is set up, and delete what retention lets go."""
    if context.invoked_subcommand is not None:
        return
    from stackctl.lifecycle.backup import run_backup

    screen = terminal(context)
    stack, engine = screen.engine()
    with watched(screen) as heard:
        end = run_backup(stack, engine, heard)
    screen.data(
        {"snapshot": end["snapshot"], "seconds": end["seconds"]},
        lambda: f"[green]✓[/] {end['snapshot']} is taken and verified ({end['seconds']:.1f} s)",
    )


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the snapshots, oldest first."""
    screen = terminal(context)
    found = _ask(screen, "list")
    screen.data(found, lambda: _table(found))
    for name in found["partial"]:
        screen.warn(f"{name} is unfinished: a backup is at work, or was interrupted; the next one removes it then.")
    for name in found["unreadable"]:
        screen.warn(f"{name} has lost its header: it is no snapshot any more. Delete it in {found['repository']}.")
    for state, what in (("damaged", "names the wrong files"), ("incomplete", "says what they lack")):
        if names := [each["id"] for each in found["snapshots"] if each["state"] == state]:
            screen.warn(f"{state}: {', '.join(names)} (`stackctl backup show ID` {what})")


@app.command()
def show(context: typer.Context, snapshot: SnapshotName = None) -> None:
    """Show what a snapshot holds."""
    screen = terminal(context)
    found = _ask(screen, "show", *_words(snapshot))
    screen.data(found, lambda: _contents(found))


@app.command()
def verify(
    context: typer.Context,
    snapshot: SnapshotName = None,
    every: Annotated[bool, typer.Option("--all", help="Every snapshot.")] = False,
) -> None:
    """Read every byte of a snapshot again and compare it with its manifest (exit 3 when something is wrong)."""
    screen = terminal(context)
    found = _ask(screen, "verify", *_words(snapshot), *(["--all"] if every else []))

    def lines() -> str:
        said = []
        for each in found["snapshots"]:
            mark = "[green]✓[/]" if each["ok"] else "[red]✗[/]"
            said.append(f"{mark} {each['id']}: {each['files']} files " + ("are right" if each["ok"] else "were read"))
            said += [f"    {_escaped(problem)}" for problem in each["problems"]]
        return "\n".join(said)

    screen.data(found, lines)
    if not found["ok"]:
        raise typer.Exit(3)


@app.command()
def drill(context: typer.Context, snapshot: SnapshotName = None) -> None:
    """Restore a snapshot into a scratch stack, have its model predict, and say how much would be lost, and how long."""
    from stackctl.lifecycle.drill import drill as practise

    screen = terminal(context)
    stack, engine = screen.engine()
    with screen.progress() as progress:
        report = practise(stack, engine, snapshot, progress)
    document = report.to_dict()

    def lines() -> str:
        mark = "[green]✓[/]" if report.ok else "[red]✗[/]"
        loss, needed = _span(report.rpo_seconds), _span(report.rto_seconds)
        said = f"{mark} {report.snapshot}: data loss (RPO) {loss}, restored in (RTO) {needed}"
        return "\n".join([said, *(f"    {_escaped(problem)}" for problem in report.problems)])

    screen.data(document, lines)
    if not report.ok:
        raise typer.Exit(3)


@app.command()
def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
) -> None:
    """Delete the snapshots that retention lets go; asks where the source shrank."""
    screen = terminal(context)
    found = _ask(screen, "prune", "--dry-run")
    shrunk = found["refused"] if "shrank" in (found["refused"] or "") else None
    if not dry_run:
        if shrunk:
            screen.warn(f"Older snapshots hold more: {shrunk.partition(': ')[2]}.")
            screen.confirm("Type shrunk if that is right, and older snapshots may go", "shrunk")
        found = _ask(screen, "prune", *(["--accept"] if shrunk else []))
    screen.data(found, lambda: _pruned(found))


@app.command()
def schedule(context: typer.Context) -> None:
    """Show when backups run, as declared and as the scheduler has it (exit 3 when these differ)."""
    from stackctl.lifecycle.backup import schedule_report

    screen = terminal(context)
    report = schedule_report(screen.stack())

    def lines() -> str:
        said = []
        for name, each in report.declared.items():
            live = (report.live or {}).get(name, {})
            following = f"; next {_when(live['next'])}" if live.get("next") else ""
            last = live.get("last")
            ended = f"; last {_when(last['at'])}, {'ok' if last['exit'] == 0 else 'failed'}" if last else ""
            said.append(f"{name}: {each['line']} ({each['timezone']}){following}{ended}")
        mend = "edit it, then stackctl up" if not report.declared else "stackctl up"
        return "\n".join([*said, *([f"[yellow]⚠ {report.problem}[/]", f"→ {mend}"] if report.problem else [])])

    screen.data(report.to_dict(), lines)
    if report.problem:
        raise typer.Exit(3)


def _ask(screen: Terminal, *words: str) -> dict[str, Any]:
    from stackctl.lifecycle.backup import ask

    stack, engine = screen.engine()
    with watched(screen) as heard:
        return ask(stack, engine, words, lambda event: heard(event) if event["event"] != "removed" else None)


def _words(snapshot: str | None) -> list[str]:
    return [snapshot] if snapshot else []


def _table(found: dict[str, Any]) -> RenderableType:
    from rich.table import Table

    if not found["snapshots"]:
        return f"There is no snapshot in {_escaped(found['repository'])} yet. Take one with `stackctl backup`."
    table = Table(box=None, pad_edge=False)
    for title in ("Snapshot", "Files", "Size", "New", "State", "Kept as"):
        table.add_column(
            title, justify="right" if title in {"Files", "Size", "New"} else "left", no_wrap=title != "Kept as"
        )
    for each in found["snapshots"]:
        state = STATES[each["state"]]
        sizes = [bytes_in_words(each[key]) for key in ("bytes", "new_bytes")]
        kept = ", ".join(why for why in each["keep"] if why != "last verified") or "–"
        table.add_row(each["id"], str(each["files"] or "–"), *sizes, state, kept)
    return table


def _contents(found: dict[str, Any]) -> str:
    lines = [f"[bold]{found['id']}[/]  {_when(found['at'])}  {_escaped(found['folder'])}"]
    for name, count in sorted(found["counts"].items()):
        lines.append(f"  {name:<24} {count['files']:>8} files  {bytes_in_words(count['bytes']):>10}")
    known = {**found["versions"], **found["versions"].get("schemas", {}), "schemas": None}
    versions = ", ".join(f"{name} {version}" for name, version in known.items() if version)
    lines.append(f"  versions: {_escaped(versions)}")
    lines.append(f"  secrets: {_escaped(_secrets(found['parts'].get('secrets', {})))}")
    lines.append(f"  {STATES[found['state']]}" + (f" {_when(found['verified'])}" if found["verified"] else ""))
    closed = found["closure"]
    gone = [f"{key} is gone, though its run is active." for key in closed["vanished"]]
    for sentences in (found["damaged"], closed["incomplete"], gone, closed["notes"]):
        lines += [f"    {_escaped(sentence)}" for sentence in sentences[:SHOWN]]
        if len(sentences) > SHOWN:
            lines.append(f"    and {len(sentences) - SHOWN} more (--json lists them)")
    return "\n".join(lines)


def _secrets(part: dict[str, Any]) -> str:
    if not part.get("included"):
        return f"not in it, {part.get('why', 'nobody knows why')}"
    readers = len(part["recipients"])
    return f"{', '.join(part['names'])}; encrypted for {readers} recipient{'' if readers == 1 else 's'}"


def _pruned(found: dict[str, Any]) -> str:
    verb = "would be deleted" if found["dry_run"] else "deleted"
    damaged = dict.fromkeys(found["damaged"], " (damaged)")
    lines = [f"{verb}: {name}{damaged.get(name, '')}" for name in found["removed"]] or [f"nothing {verb}"]
    if found["refused"]:
        lines.append(f"[yellow]⚠ {found['refused']}[/]")
    return "\n".join([*lines, *(f"kept: {name} ({', '.join(why)})" for name, why in found["keep"].items())])


def _when(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _span(seconds: float) -> str:
    from datetime import timedelta

    from stackctl.backup.freshness import in_days

    return in_days(timedelta(seconds=seconds)) if seconds >= 60 else f"{seconds:.1f} s"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
