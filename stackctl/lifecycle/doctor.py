"""``stackctl doctor``: checks of a stack and its machine, each failure with the command that mends it."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable

from stackctl.engines import Engine
from stackctl.errors import StackctlError
from stackctl.lifecycle.doctor_backup import backup_checks
from stackctl.lifecycle.doctor_check import Check
from stackctl.lifecycle.preflight import LEAST_FREE_DISK, port_problems
from stackctl.process import run
from stackctl.scaffold.secret_files import missing
from stackctl.stack import Stack

LEAST_MEMORY = 2 * 1024**3
"""Bytes of available memory that all services and one upscaled photo need."""


def doctor(stack: Stack, engine: Engine) -> list[Check]:
    """Run every check; none of them changes anything."""
    checks: tuple[Callable[[Stack, Engine], Check], ...] = (_engine, _images, _ports, _disk_and_memory, _secrets)
    return [*(_guarded(check, stack, engine) for check in checks), *backup_checks(stack, engine)]


def _guarded(check: Callable[[Stack, Engine], Check], stack: Stack, engine: Engine) -> Check:
    try:
        return check(stack, engine)
    except StackctlError as error:
        return Check(check.__name__.strip("_").replace("_", " "), "failed", error.message, error.hint)


def _engine(_stack: Stack, engine: Engine) -> Check:
    problems = engine.preflight()
    if not problems:
        return Check("engine", "ok", f"the {engine.name} engine is there")
    return Check("engine", "failed", "; ".join(problem.what for problem in problems), problems[0].fix)


def _images(stack: Stack, engine: Engine) -> Check:
    if engine.name != "docker":
        return Check("images", "ok", f"the {engine.name} engine needs none")
    from stackctl.images import find

    absent = [name for name, reference in find(stack).items() if reference is None]
    if absent:
        return Check("images", "failed", f"not built: {', '.join(absent)}", "stackctl images build")
    return Check("images", "ok", "all are there")


def _ports(stack: Stack, engine: Engine) -> Check:
    problems = port_problems(stack, engine)
    if problems:
        return Check("ports", "failed", "; ".join(problem.what for problem in problems), problems[0].fix)
    return Check("ports", "ok", ", ".join(f"{service.name} {service.port}" for service in stack.services))


def _disk_and_memory(stack: Stack, engine: Engine) -> Check:
    import psutil

    free = shutil.disk_usage(stack.home).free
    memory = psutil.virtual_memory().available
    detail = f"{free / 1024**3:.1f} GiB of disk free, {memory / 1024**3:.1f} GiB of memory available"
    if free < LEAST_FREE_DISK:
        return Check("disk and memory", "failed", detail, "free some disk space: 2 GiB are the least")
    running = any(state.state == "running" for state in engine.states())
    if memory < LEAST_MEMORY and not running:
        return Check("disk and memory", "warning", detail, "stop other programs: 2 GiB of memory are the least")
    return Check("disk and memory", "ok", detail)


def _secrets(stack: Stack, _engine: Engine) -> Check:
    folder = stack.home / "secrets"
    if not folder.is_dir():
        return Check("secrets", "failed", f"{folder} is missing", f"restore it from your backup to {folder}")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        return Check("secrets", "failed", f"{folder} is open to others (mode {mode:o})", f"chmod 700 {folder}")
    absent = [name for name in stack.secret_names if not (folder / name).is_file()]
    if absent:
        paths = " ".join(str(folder / name) for name in absent)
        return Check("secrets", "failed", f"missing: {', '.join(absent)}", f"restore from your backup: {paths}")
    if late := missing(folder):
        return Check("secrets", "warning", f"not made yet: {', '.join(late)}", "stackctl up")
    unreadable = [file.name for file in sorted(folder.iterdir()) if not file.lstat().st_mode & stat.S_IROTH]
    if unreadable:
        fix = f"chmod 444 {' '.join(str(folder / name) for name in unreadable)}"
        return Check("secrets", "failed", f"services cannot read {', '.join(unreadable)}", fix)
    if _in_git(stack) and run(["git", "check-ignore", "-q", "secrets/x"], cwd=stack.home, check=False).returncode:
        return Check("secrets", "failed", "git does not ignore secrets/", "echo /secrets/ >> .gitignore")
    return Check("secrets", "ok", "readable by the services only, ignored by git")


def _in_git(stack: Stack) -> bool:
    if shutil.which("git") is None:
        return False
    return run(["git", "rev-parse", "--is-inside-work-tree"], cwd=stack.home, check=False).returncode == 0
