"""Making a new stack folder."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackctl import __version__
from stackctl.errors import UsageError
from stackctl.scaffold import credentials as given
from stackctl.scaffold import place, ports
from stackctl.scaffold.questions import Prompts, check, details, questions
from stackctl.scaffold.render import render
from stackctl.scaffold.secret_files import write_secrets
from stackctl.stack import Settings, Stack
from stackctl.stack.stack import SETTINGS_FILE


@dataclass(frozen=True)
class Created:
    """A stack folder that was just made.

    Attributes:
        stack: the stack in it.
        answers: what the template was rendered with.
        notes: what the person should know: ports that were changed, ports that are taken, files that were not needed.
    """

    stack: Stack
    answers: dict[str, Any]
    notes: tuple[str, ...]


def init(
    destination: Path | None,
    *,
    data: Mapping[str, Any],
    defaults: bool,
    prompts: Prompts | None = None,
    s3_credentials_file: Path | None = None,
    mlflow_token_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Created:
    """Make a stack folder: render the template, check the outcome, add the secrets, and only then put it in its place.

    Args:
        destination: the folder, new or empty; None stands for one of the stack's name in the working directory.
        data: answers that are settled.
        defaults: take the defaults of all others; otherwise ``prompts`` (if given) and copier ask a person.
        prompts: asks for what copier must not know; None where nobody is there to ask.
        s3_credentials_file: an AWS credentials file for an S3 endpoint.
        mlflow_token_file: a file with the token of an external MLflow server.
        environ: where credentials may come from (default: this process's environment).

    Raises:
        UsageError: the destination is taken, or an answer or a credential cannot be used. Nothing was written.
    """
    if destination is not None:
        destination = Path(os.path.abspath(destination))  # noqa: PTH100 - a dangling link must stay visible
        place.refuse_taken(destination)
    known = questions()
    settled = check(data, known)
    offered = _offers(known, settled, destination)
    prompts = None if defaults else prompts
    if destination is None and (prompts is None or "name" in settled):
        destination = Path.cwd() / settled.get("name", offered["name"])
        place.refuse_taken(destination)
    with place.workshop(destination or Path.cwd()) as workshop:
        rendered = workshop / "stack"
        answers = render(
            rendered, _with_details(known, settled, offered, prompts), offered=offered, ask=prompts is not None
        )
        _refuse_useless(settled, answers)
        if destination is None:
            destination = Path.cwd() / answers["name"]
            place.refuse_taken(destination)
        settings = Settings.parse(_yaml(rendered / SETTINGS_FILE), source=SETTINGS_FILE)
        found = given.collect(
            settings,
            s3_file=s3_credentials_file,
            token_file=mlflow_token_file,
            environ=os.environ if environ is None else environ,
            prompts=prompts,
        )
        _keep_base(rendered, answers)
        write_secrets(rendered / "secrets", found)
        place.move_into_place(rendered, destination)
    stack = Stack.from_folder(destination)
    notes = [*_port_notes(stack, known, settled), *_unused(settings, s3_credentials_file, mlflow_token_file)]
    return Created(stack, answers, tuple(notes))


def _offers(known: Mapping[str, Any], settled: Mapping[str, Any], destination: Path | None) -> dict[str, Any]:
    """Return better defaults than the template's: free ports, and the folder's name where it can name a stack."""
    wanted = {key: int(known[key]["default"]) for key in known if key.startswith("port_") and key not in settled}
    offered: dict[str, Any] = {**ports.offers(wanted, [settled[key] for key in settled if key.startswith("port_")])}
    name = re.sub(r"[^a-z0-9]+", "-", destination.name.lower()).strip("-")[:40].strip("-") if destination else ""
    offered["name"] = name if re.fullmatch(r"[a-z][a-z0-9-]{1,38}[a-z0-9]", name) else known["name"]["default"]
    return offered


def _with_details(
    known: Mapping[str, Any], settled: Mapping[str, Any], offered: Mapping[str, Any], prompts: Prompts | None
) -> dict[str, Any]:
    """Return the settled answers, and the defaults of the details unless the person wants to be asked for them."""
    if prompts is None or prompts.confirm("Choose ports, memory limits, buckets, images and GPUs too?"):
        return dict(settled)
    return {**settled, **details(known, settled, offered)}


def _refuse_useless(settled: Mapping[str, Any], answers: Mapping[str, Any]) -> None:
    """Refuse an answer to a question that the other answers made pointless."""
    for key in settled:
        if key not in answers:
            subject = key.partition("_")[0]
            needed = {"store": "store=s3", "mlflow": "mlflow=external"}[subject]
            raise UsageError(f"{key} is used with {needed} only.", f"Add --data {needed}, or leave {key} out.")


def _keep_base(rendered: Path, answers: Mapping[str, Any]) -> None:
    """Keep the pristine render, and what it was made with, for a later merge with another version of the template."""
    state = rendered / ".stackctl"
    state.mkdir()
    shutil.copytree(rendered, state / "base", ignore=shutil.ignore_patterns(".stackctl"))
    document = {"schema_version": 1, "template_version": __version__, "answers": dict(answers)}
    (state / "base.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _port_notes(stack: Stack, known: Mapping[str, Any], settled: Mapping[str, Any]) -> list[str]:
    used = {f"port_{service.port_setting}" for service in stack.services}
    if "port_store" in used:
        used.add("port_store_console")
    notes: list[str] = []
    for name, port in stack.settings.ports:
        key, usual = f"port_{name}", int(known[f"port_{name}"]["default"])
        if key not in used:
            continue
        if not ports.is_free(port):
            notes.append(
                f"Port {port} ({name}) is taken now: before `stackctl up`, free it or set another in {SETTINGS_FILE}."
            )
        elif key not in settled and port != usual:
            notes.append(f"Port {usual} is taken: {name} got {port}.")
    return notes


def _unused(settings: Settings, s3_file: Path | None, token_file: Path | None) -> list[str]:
    notes: list[str] = []
    if s3_file is not None and settings.store.kind != "s3":
        notes.append(f"The S3 credentials file was not used: the object store is {settings.store.kind}.")
    if token_file is not None and settings.mlflow.kind != "external":
        notes.append("The MLflow token file was not used: MLflow is the stack's own.")
    return notes


def _yaml(file: Path) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(file)
