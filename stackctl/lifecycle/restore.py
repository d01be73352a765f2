"""``stackctl restore``: a stack as a snapshot has it, proven by what its model server answers afterwards.

The order makes it safe to end anywhere: objects first (they only add to what is there, and what they replace is kept),
then the databases (each swapped whole), then the proof, and only then is what was replaced let go.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stackctl.backup.restore_places import snapshot_in
from stackctl.engines import Engine, Progress
from stackctl.errors import MissingPrerequisite, StackctlError, Unhealthy, UsageError
from stackctl.lifecycle import migration, open_restore, restore_folders, restore_secrets
from stackctl.lifecycle.up import up
from stackctl.process import ProcessFailed
from stackctl.stack import Stack

T = TypeVar("T")
UNDO = "What was there before is kept: `stackctl restore --undo` brings it back; `stackctl restore` goes on."


@dataclass(frozen=True)
class Restored:
    """What a restore did and proved.

    Attributes:
        snapshot: its id.
        at: the moment it shows, ISO 8601.
        only: the part that was restored, or None for all.
        put: for each bucket (and ``data``) how many files were added, replaced and there already, and bytes written.
        removed: artifacts of runs that the snapshot does not know.
        schema: revision of MLflow's schema in the snapshot and after the restore.
        production: the version in Production, or None.
        golden: what the model server answered to that version's golden images, or None where there is no such version.
        seconds: how long each phase took.
        notes: what a person should know.
    """

    snapshot: str
    at: str
    only: str | None
    put: dict[str, dict[str, int]]
    removed: int
    schema: dict[str, str | None]
    production: str | None
    golden: dict[str, Any] | None
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {**asdict(self), "notes": list(self.notes)}


@dataclass
class _Phases:
    """Seconds of each phase, and what people should know of it."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def run(self, name: str, work: Callable[[], T]) -> T:
        """Do one phase and note how long it took."""
        began = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[name] = round(time.monotonic() - began, 2)


def restore(
    stack: Stack,
    engine: Engine,
    snapshot: str | None,
    progress: Progress,
    *,
    only: str | None = None,
    identity: str | None = None,
) -> Restored:
    """Bring the stack to the state of a snapshot, start it, and prove it.

    Interrupted anywhere and called again it ends right; ``undo`` goes back instead.

    Args:
        stack: the stack that gets the data.
        engine: how it runs.
        snapshot: an id, its beginning, a snapshot's folder, or None: that of a restore that was interrupted, else the
            newest one.
        progress: called with (subject, what happens).
        only: ``db``, ``objects`` or ``outbound``.
        identity: text of an age identity that opens the snapshot's secrets: the stack gets these too.

    Raises:
        UsageError: there is no such snapshot, or the identity opens no secrets.
        StackctlError: the snapshot is damaged or newer than this MLflow; nothing was changed.
        Unhealthy: the stack is not what the snapshot promises; what was replaced is kept.
    """
    with open_restore.alone(stack):
        snapshot, only = open_restore.going_on(stack, snapshot, only)
        return _restore(stack, engine, snapshot, _Phases(progress), only, identity)


def _restore(
    stack: Stack, engine: Engine, snapshot: str | None, phases: _Phases, only: str | None, identity: str | None
) -> Restored:
    progress = phases.progress
    if snapshot is not None and "/" in snapshot:
        snapshot = engine.snapshot_in(Path(snapshot))
    planned = phases.run("verify", lambda: on_data(engine, "plan", snapshot, only, progress, phases.notes))
    which = str(planned["id"]) if snapshot is None or "/" not in snapshot else snapshot
    if planned["revision"]:
        phases.run("schema", lambda: _refuse_newer(engine, planned["revision"]))
    secrets = restore_secrets.opened(engine, which, planned["secrets"], identity) if identity is not None else {}
    open_restore.begin(stack, planned["id"], only, word=which)
    phases.run("stop", lambda: _stop_writers(stack, engine, progress))
    migration.forget(stack)
    restore_secrets.put(stack, secrets, planned["at"])
    applied = phases.run("apply", lambda: on_data(engine, "apply", which, only, progress, phases.notes))
    folders = phases.run(
        "folders",
        lambda: restore_folders.put_left(stack, engine, which, only, applied["left"], progress, phases.notes.append),
    )
    try:
        checked = phases.run("check", lambda: on_data(engine, "check", which, only, progress, phases.notes))
        _refuse_broken(planned["id"], checked["problems"])
        open_restore.applied(stack)
        own = planned["revision"] is None  # a database from the snapshot needs no other snapshot
        phases.run("start", lambda: up(stack, engine, progress, backup=own))
        production, golden, schema = phases.run("golden", lambda: _proven(stack, engine, planned, progress))
    except Unhealthy as error:
        raise Unhealthy(error.message, UNDO) from error
    finished = phases.run("finish", lambda: on_data(engine, "finish", which, only, progress, phases.notes))
    restore_folders.forget_kept(stack)
    if only in (None, "db"):
        phases.notes += restore_secrets.warnings(stack, which, planned["at"], planned["secrets"])
    restore_secrets.forget_kept(stack)
    open_restore.end(stack)
    return Restored(
        snapshot=planned["id"],
        at=planned["at"],
        only=only,
        put={**folders, **applied["put"]},
        removed=finished["removed"],
        schema={"snapshot": planned["revision"], "now": schema},
        production=production,
        golden=golden,
        seconds=phases.seconds,
        notes=tuple(phases.notes),
    )


def meant(engine: Engine, snapshot: str | None, progress: Progress) -> str:
    """Return the id of the snapshot that a person means, as ``restore`` takes it; nothing is changed.

    Raises:
        UsageError: there is no such snapshot.
    """
    if snapshot is not None and "/" in snapshot:
        return snapshot_in(Path(snapshot)).id
    return str(on_data(engine, "find", snapshot, None, progress)["id"])


def undo(stack: Stack, engine: Engine, progress: Progress) -> dict[str, Any]:
    """Bring back what an interrupted or failed restore replaced, and start the stack.

    Raises:
        StackctlError: there is nothing to bring back.
    """
    if not open_restore.is_open(stack):
        raise StackctlError("No restore is open here: there is nothing to bring back.")
    phases = _Phases(progress)
    with open_restore.alone(stack):
        _stop_writers(stack, engine, progress)
        done = on_data(engine, "undo", None, None, progress, phases.notes)
        files = done["objects"] + restore_folders.bring_back(stack)
        restore_secrets.bring_back(stack)
        open_restore.end(stack)
        up(stack, engine, progress)
    return {"databases": done["databases"], "objects": files, "notes": phases.notes}


def on_data(
    engine: Engine,
    step: str,
    snapshot: str | None,
    only: str | None,
    progress: Progress,
    notes: list[str] | None = None,
) -> dict[str, Any]:
    """Run one step of ``stackctl.backup.restore_run`` where the data is, and return its last event.

    Raises:
        StackctlError: it failed; with its own message, hint and exit status.
    """
    argv = ["python", "-m", "stackctl.backup.restore_run", step]
    argv += [snapshot] if snapshot else []
    argv += ["--only", only] if only else []
    last: dict[str, Any] = {}

    def hear(line: str) -> None:
        event = _event(line)
        match event.get("event"):
            case "step":
                of = f" of {event['total']}" if event.get("total") else ""
                progress(str(event["name"]), f"{step}: {event['done']}{of}")
            case "note":
                (notes if notes is not None else []).append(str(event["text"]))
            case "end":
                last.update(event)

    failed: ProcessFailed | None = None
    try:
        engine.run_once("restore", argv, on_line=hear)
    except ProcessFailed as error:
        failed = error
    if last.get("status") != "ok":
        if "message" in last:
            kind = {each.code: each for each in (UsageError, Unhealthy, MissingPrerequisite)}
            raise kind.get(last.get("exit", 1), StackctlError)(str(last["message"]), last.get("hint"))
        raise failed or StackctlError(f"The step {step} of the restore ended without a word.")
    return last


def _event(line: str) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _stop_writers(stack: Stack, engine: Engine, progress: Progress) -> None:
    """Stop every service but the store, and make the buckets that are missing."""
    progress("services", "stopping")
    engine.down()
    if stack.settings.store.kind == "minio":
        engine.prepare(progress)
        engine.up(["store"], progress)
    if stack.settings.store.kind != "folder":
        engine.run_once("mlflow", ["python", "-m", "stackctl.store.init"])


def _proven(
    stack: Stack, engine: Engine, planned: dict[str, Any], progress: Progress
) -> tuple[str | None, dict[str, Any] | None, str | None]:
    """Return the version in Production, its golden answers, and MLflow's schema revision.

    Raises:
        Unhealthy: the stack is not what the snapshot promises.
    """
    production, golden = _golden(stack, engine, progress)
    problems = _golden_problems(production, golden)
    schema = _schema(engine) if planned["revision"] else {}
    if schema and schema["state"] != "same":
        problems.append(f"MLflow's schema is {schema['revision']} after the start, not {schema['head']}")
    _refuse_broken(planned["id"], problems)
    return production, golden, schema.get("revision")


def _refuse_broken(snapshot: str, problems: list[str]) -> None:
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems[:20])
        raise Unhealthy(f"The snapshot {snapshot} is in place, but not everything is as it should be:{listed}")


def _schema(engine: Engine, *revision: str) -> dict[str, Any]:
    """Return how a schema revision (the live database's: none named) stands to this MLflow."""
    done = engine.run_once("mlflow", ["python", "-m", "stackctl.backup.restore_schema", *revision])
    return _last_document(done.stdout)


def _refuse_newer(engine: Engine, revision: str) -> None:
    judged = _schema(engine, revision)
    if judged["state"] == "unknown":
        raise StackctlError(
            f"The snapshot's database has schema {revision}; this MLflow's newest is {judged['head']}.",
            "Restore it with the version of stackctl that took it, or a newer one. Nothing was changed.",
        )


def _golden(stack: Stack, engine: Engine, progress: Progress) -> tuple[str | None, dict[str, Any] | None]:
    """Return the version in Production, and what the model server answers to its golden images."""
    from stackctl.models import Registry

    with Registry.of(stack) as registry:
        model = registry.find_model(stack.settings.model)
    version = model.production.version if model else None
    if version is None:
        progress("golden", "nothing is in Production")
        return None, None
    progress("golden", f"asking the model server for version {version}")
    argv = ["python", "-m", "stackctl.lifecycle.golden_worker", stack.settings.model, version]
    return version, _last_document(engine.run_once("serving", argv).stdout)


def _golden_problems(version: str | None, golden: dict[str, Any] | None) -> list[str]:
    if golden is None:
        return []
    problems = [] if golden["intact"] else [f"the files of version {version} are not those that were logged"]
    if golden["passed"] is False:
        problems.append(f"version {version} does not answer its golden images: {golden['reason']}")
    return problems


def _last_document(output: str) -> dict[str, Any]:
    for line in reversed(output.splitlines()):
        if document := _event(line):
            return document
    raise StackctlError("A check after the restore ended without a word.")
