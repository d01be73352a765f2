"""What ``doctor`` looks at of backups: are they fresh, will the next one come, is there a second copy."""

from __future__ import annotations

from collections.abc import Iterator

from stackctl.backup import rsync
from stackctl.engines import Engine
from stackctl.errors import MissingPrerequisite, StackctlError
from stackctl.lifecycle import open_restore
from stackctl.lifecycle.backup import schedule_report
from stackctl.lifecycle.backup_status import read_freshness
from stackctl.lifecycle.doctor_check import Check
from stackctl.lifecycle.doctor_readable import readable_checks
from stackctl.stack import Stack

NEEDED_FILES = {"rsync": ("backup_ssh_key", "backup_known_hosts"), "restic": ("restic_password",)}


def backup_checks(stack: Stack, engine: Engine) -> list[Check]:
    """Run every check of backups; none of them changes anything."""
    running = any(state.state == "running" for state in engine.states())
    unfinished = open_restore.sentence(stack)
    return [
        *([Check("restore", "failed", unfinished, "stackctl restore")] if unfinished else []),
        *readable_checks(stack, engine),
        _age(stack, engine, running=running),
        _schedule(stack, running=running),
        _copies(stack),
        _secrets(stack),
    ]


def _age(stack: Stack, engine: Engine, *, running: bool) -> Check:
    try:
        if engine.name == "local":
            rsync.require()
    except MissingPrerequisite as error:
        return Check("backup", "failed", error.message, error.hint)
    if not running:
        return Check(
            "backup", "warning", "the stack is stopped: nothing tells how old the newest backup is", "stackctl up"
        )
    try:
        found = read_freshness(stack)
    except StackctlError as error:
        return Check("backup", "failed", f"nothing tells how old the newest backup is: {error.message}", error.hint)
    if found.problem:
        return Check("backup", "failed", found.problem, "stackctl backup")
    if found.note:
        return Check("backup", "warning", found.note, "stackctl backup")
    return Check("backup", "ok", f"{found.snapshot} is verified")


def _schedule(stack: Stack, *, running: bool) -> Check:
    settings = stack.settings.backup
    if settings.schedule is None:
        fix = 'set backup.schedule in stack.yaml, for instance "0 5 * * 6", then stackctl up'
        return Check("backup schedule", "failed", "none: nobody takes backups", fix)
    declared = f"{settings.schedule} ({settings.timezone})"
    problem = schedule_report(stack).problem if running else None
    if problem:
        return Check("backup schedule", "failed", problem, "stackctl up")
    return Check("backup schedule", "ok", declared)


def _copies(stack: Stack) -> Check:
    copies = stack.settings.backup.copies
    places = {name: place for name, place in copies if place}
    if not places:
        what = "there is no second copy: snapshots share what did not change, one bad disk takes all of them"
        return Check("backup copies", "warning", what, "set backup.copies.restic or backup.copies.rsync in stack.yaml")
    absent = sorted(_absent(stack, places))
    if absent:
        paths = ", ".join(f"secrets/{name}" for name in absent)
        return Check("backup copies", "failed", f"missing: {paths}", "see README.md of this stack")
    return Check("backup copies", "ok", ", ".join(f"{name} {place}" for name, place in places.items()))


def _absent(stack: Stack, places: dict[str, str]) -> Iterator[str]:
    for name in places:
        yield from (file for file in NEEDED_FILES[name] if not (stack.home / "secrets" / file).is_file())


def _secrets(stack: Stack) -> Check:
    recipients = stack.settings.backup.encrypt_to
    if recipients:
        return Check("backup secrets", "ok", f"encrypted for {len(recipients)} recipient(s)")
    what = "secrets/ is in no snapshot: keep a copy of it elsewhere"
    return Check("backup secrets", "warning", what, "or set backup.encrypt_to in stack.yaml to an age recipient")
