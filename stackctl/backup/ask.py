"""``python -m stackctl.backup.ask``: what the repository holds, and whether it is right; run where the repository is.

The last line on standard output is the answer: an event ``answer``, or ``end`` with what went wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from stackctl.backup import untold
from stackctl.backup.events import Events, to_stdout
from stackctl.backup.freshness import Told
from stackctl.backup.place import Place
from stackctl.backup.pruning import accept, planned, prune
from stackctl.backup.repository import Repository, Snapshot
from stackctl.backup.verify import Gone, check
from stackctl.errors import StackctlError
from stackctl.models.versions import iso


def listing(place: Place, repository: Repository) -> dict[str, Any]:
    """Return every snapshot, oldest first, and why retention keeps it."""
    snapshots = repository.snapshots()
    decided = planned(repository, place.settings, datetime.now(UTC))
    verified, damaged = repository.marks.verified(), repository.marks.damaged()
    return {
        "repository": str(repository.root),
        "snapshots": [
            {
                "id": each.id,
                "at": iso(each.at),
                **{key: each.header.get(key) for key in ("files", "bytes", "new_bytes", "seconds")},
                "verified": iso(verified[each.id]) if each.id in verified else None,
                "damaged": list(damaged.get(each.id, ())),
                "state": _state(each.id, verified, damaged),
                "keep": list(decided.keep.get(each.id, ())),
            }
            for each in snapshots
        ],
        "partial": [folder.name for folder in repository.partial()],
        "unreadable": [folder.name for folder in repository.unreadable()],
        "refused": decided.refused,
    }


def show(repository: Repository, word: str | None) -> dict[str, Any]:
    """Return what one snapshot holds."""
    snapshot = repository.find(word)
    manifest = snapshot.manifest
    verified, damaged = repository.marks.verified(), repository.marks.damaged()
    return {
        "id": snapshot.id,
        "at": iso(snapshot.at),
        "folder": str(snapshot.folder),
        "header": dict(snapshot.header),
        "parts": dict(manifest.parts),
        "counts": {name: dict(count) for name, count in manifest.counts.items()},
        "versions": dict(manifest.versions),
        "closure": manifest.closure.to_dict(),
        "verified": _iso(verified.get(snapshot.id)),
        "damaged": list(damaged.get(snapshot.id, ())),
        "state": _state(snapshot.id, verified, damaged),
    }


def verify(
    place: Place, repository: Repository, word: str | None, events: Events, *, every: bool = False
) -> dict[str, Any]:
    """Read every byte of a snapshot (or of all) again, mark what was found, and tell MLflow of it."""
    chosen = repository.snapshots() if every else [repository.find(word)]
    answers = []
    for snapshot in chosen:
        try:
            verdict = check(repository, snapshot, events=events)
        except Gone as error:
            if not every:
                raise
            events("note", text=error.message)
            continue
        if not verdict.ok and (late := untold.retract(repository, place.stack, datetime.now(UTC))):
            events("warning", text=late)
        _tell(place, repository, snapshot, None if verdict.ok else "; ".join(verdict.problems[:5]), events)
        shared = f"shares what is damaged with {snapshot.id}"
        for other in (each for each in repository.snapshots() if each.id in verdict.also):
            _tell(place, repository, other, shared, events)
        also = [f"{name} {shared}" for name in verdict.also]
        answers.append(
            {"id": snapshot.id, "ok": verdict.ok, "problems": [*verdict.problems, *also], "files": verdict.files}
        )
    return {"ok": all(answer["ok"] for answer in answers), "snapshots": answers}


def pruned(
    place: Place, repository: Repository, events: Events, *, dry_run: bool = False, accepted: bool = False
) -> dict[str, Any]:
    """Delete what retention lets go; ``accepted``: also though the source shrank."""
    now = datetime.now(UTC)
    if accepted and not dry_run:
        accept(repository)
    damaged = repository.marks.damaged()
    plan = (
        planned(repository, place.settings, now)
        if dry_run
        else prune(repository, place.settings, now=now, events=events)
    )
    return {
        "keep": {name: list(reasons) for name, reasons in plan.keep.items()},
        "removed": list(plan.remove),
        "damaged": sorted(set(plan.remove).intersection(damaged)),
        "refused": plan.refused,
        "dry_run": dry_run,
    }


def _tell(place: Place, repository: Repository, snapshot: Snapshot, problem: str | None, events: Events) -> None:
    outcome = "damaged" if problem else "verified"
    told = Told(datetime.now(UTC), "verify", outcome, snapshot.id, snapshot.at, problem)
    if late := untold.tell(repository, place.stack, told):
        events("warning", text=late)


def _state(identity: str, verified: Container[str], damaged: Mapping[str, Sequence[str]]) -> str:
    """Return ``verified``, ``damaged``, ``incomplete`` (as it was taken, but that was not whole) or ``unproven``."""
    if identity in damaged:
        return "damaged" if damaged[identity] else "incomplete"
    return "verified" if identity in verified else "unproven"


def _iso(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stackctl.backup.ask")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    for name in ("show", "verify"):
        one = commands.add_parser(name)
        one.add_argument("snapshot", nargs="?")
        if name == "verify":
            one.add_argument("--all", action="store_true")
    less = commands.add_parser("prune")
    less.add_argument("--dry-run", action="store_true")
    less.add_argument("--accept", action="store_true")
    return parser.parse_args(arguments)


def answer(place: Place, words: argparse.Namespace, events: Events) -> dict[str, Any]:
    """Return the document that answers one command."""
    repository = Repository(place.repository)
    match words.command:
        case "list":
            return listing(place, repository)
        case "show":
            return show(repository, words.snapshot)
        case "verify":
            return verify(place, repository, words.snapshot, events, every=words.all)
        case _:
            return pruned(place, repository, events, dry_run=words.dry_run, accepted=words.accept)


def main(arguments: Sequence[str]) -> int:
    """Answer one command; return the exit status."""
    try:
        to_stdout("answer", **answer(Place.from_env(), _parsed(arguments), to_stdout))
    except StackctlError as error:
        to_stdout("end", status="failed", exit=error.code, message=error.message, hint=error.hint)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
