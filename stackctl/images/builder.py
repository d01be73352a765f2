"""Building images, and ``ensure``, which builds nothing when nothing changed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from stackctl import distribution, process
from stackctl.errors import MissingPrerequisite
from stackctl.images import base, client, registry
from stackctl.images.catalogue import checked, image
from stackctl.images.machine import Machine
from stackctl.images.recipe import Recipe
from stackctl.stack import Stack

Progress = Callable[[str, str], None]
LABEL = "stackctl.image"
VERSION_LABEL = "org.opencontainers.image.version"
_STEP = re.compile(r"^#\d+ \[(?:(?P<stage>[\w-]+) +)?(?P<step>\d+/\d+)\] (?P<what>.+)$")
_OUTPUT_LINES = 30


def ensure(stack: Stack | None, names: Iterable[str], progress: Progress) -> dict[str, str]:
    """Return the reference of each image, after pulling or building those that the engine lacks.

    Args:
        stack: whose settings (base image, registry) hold; None: the defaults.
        names: images; none of them: all that the stack's services need.
        progress: called with an image's name and what happens to it.

    Raises:
        MissingPrerequisite: no engine answers, or what a build needs is not on this machine.
        ProcessFailed: a build failed; the message quotes the end of its output.
    """
    wanted = checked(names, stack)
    base_image = base.ensure_base(stack, progress)
    recipes = {name: Recipe.of(image(name), base_image) for name in wanted}
    present = client.inspect([recipe.reference for recipe in recipes.values()])
    for name, recipe in recipes.items():
        if recipe.reference not in present:
            _obtain(stack, name, recipe, progress)
    return {name: recipe.reference for name, recipe in recipes.items()}


def find(stack: Stack | None, names: Iterable[str] = ()) -> dict[str, str | None]:
    """Return the reference of each image that the engine has in its present form, None for the others; builds nothing.

    Raises:
        MissingPrerequisite: no engine answers.
    """
    wanted = checked(names, stack)
    reference = base.base_reference(stack)
    bases = client.inspect(list(dict.fromkeys((reference, base.DEFAULT_BASE))))
    base_image = bases.get(reference) or bases.get(base.DEFAULT_BASE)
    if base_image is None:
        return dict.fromkeys(wanted)
    references = {name: Recipe.of(image(name), base_image).reference for name in wanted}
    present = client.inspect(list(references.values()))
    return {name: reference if reference in present else None for name, reference in references.items()}


def build(stack: Stack | None, names: Iterable[str], progress: Progress, *, force: bool = False) -> dict[str, str]:
    """Build images whose present form the engine lacks, or with ``force`` all of them; never pulls our own images.

    Raises:
        MissingPrerequisite: no engine answers, or what a build needs is not on this machine.
        ProcessFailed: a build failed; the message quotes the end of its output.
    """
    wanted = checked(names, stack)
    base_image = base.ensure_base(stack, progress)
    references: dict[str, str] = {}
    for name in wanted:
        recipe = Recipe.of(image(name), base_image)
        if force or not client.inspect([recipe.reference]):
            _build(stack, recipe, progress)
        references[name] = recipe.reference
    return references


def _obtain(stack: Stack | None, name: str, recipe: Recipe, progress: Progress) -> None:
    source = registry.registry_of(stack)
    if source and registry.answers(registry.host_of(f"{source}/x")):
        if registry.pull(recipe.reference, source, progress):
            return
        progress(name, f"is not in {source}")
    elif source:
        progress(name, f"the registry {source} does not answer")
    _build(stack, recipe, progress)


def _build(stack: Stack | None, recipe: Recipe, progress: Progress) -> None:
    _require_buildx()
    name = recipe.image.name
    machine = Machine.read()
    go = base.ensure_golang(stack, progress) if recipe.image.needs_go else None
    progress(name, "building")
    with tempfile.TemporaryDirectory(prefix=f"stackctl-build-{name}-") as folder:
        command = _command(recipe, machine, Path(folder), go)
        tail: list[str] = []

        def on_line(line: str) -> None:
            tail.append(line)
            if step := _STEP.match(line):
                progress(name, f"step {step['step']}: {_shortened(step['what'])}")

        completed = process.run(
            command, check=False, on_line=on_line, env={"DOCKER_BUILDKIT": "1", "BUILDX_GIT_INFO": "false"}
        )
    if completed.returncode != 0:
        client.require_engine()
        shortened = process.Completed(
            ("docker", "buildx", "build", name), completed.returncode, "", "\n".join(tail[-_OUTPUT_LINES:])
        )
        raise process.ProcessFailed(
            shortened,
            "Behind a private certificate authority set STACKCTL_CA_BUNDLE; behind a mirror PIP_INDEX_URL and GOPROXY.",
        )
    progress(name, "built")


def _command(recipe: Recipe, machine: Machine, folder: Path, go: client.Present | None) -> Sequence[str]:
    entry = recipe.image
    command = ["docker", "buildx", "build", "--builder=default", "--load", "--progress=plain", "--provenance=false"]
    command += [f"--tag={recipe.reference}", f"--build-arg=BASE_IMAGE={recipe.base.reference}"]
    command += [f"--label={LABEL}={entry.name}"]
    if entry.carries_wheel:
        command += [f"--label={VERSION_LABEL}={recipe.software_version}"]
    command += [f"--build-arg={name}={value}" for name, value in machine.proxies.items()]
    secrets = {"pip_conf": machine.pip_conf, "go_env": machine.go_env, "torch_index": machine.torch_index}
    for name, text in secrets.items():
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(text)
        command += [f"--secret=id={name},src={file}"]
    if machine.ca_bundle:
        command += [f"--secret=id=ca_bundle,src={machine.ca_bundle}"]
    if go:
        command += [f"--build-arg=GO_IMAGE={go.reference}"]
    if entry.carries_wheel:
        for name in ("pins", "wheel", "wheelhouse"):
            (folder / "contexts" / name).mkdir(parents=True)
        pins = folder / "contexts" / "pins"
        (pins / "constraints.txt").write_text(recipe.constraints)
        (pins / "requirements.txt").write_text("\n".join(recipe.requirements) + "\n")
        distribution.write_wheel(folder / "contexts" / "wheel")
        wheelhouse = machine.wheelhouse or folder / "contexts" / "wheelhouse"
        command += [f"--build-context=pins={pins}", f"--build-context=wheel={folder / 'contexts' / 'wheel'}"]
        command += [f"--build-context=wheelhouse={wheelhouse}"]
    return [*command, str(recipe.folder)]


def _shortened(text: str, limit: int = 60) -> str:
    text = re.sub(r"--mount=\S+ *", "", text)
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit]}…"


def _require_buildx() -> None:
    if client.docker(["buildx", "version"], check=False).returncode != 0:
        raise MissingPrerequisite(
            "Docker's buildx plugin is not installed.",
            "Install it: sudo apt-get install docker-buildx (Debian) or docker-buildx-plugin.",
        )
