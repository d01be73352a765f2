"""Building images, and ``ensure``, which builds nothing when nothing changed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from stackctl import distribution, process
from stackctl.errors import MissingPrerequisite, StackctlError
from stackctl.images import base, client, packages, registry
from stackctl.images.catalogue import checked, image, startable
from stackctl.images.machine import Machine
from stackctl.images.packages import PackagesLayer
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
    layers = {name: PackagesLayer.of(stack, name, recipe.reference) for name, recipe in recipes.items()}
    references = {name: _final(recipe, layers[name]) for name, recipe in recipes.items()}
    present = client.inspect([*references.values(), *(recipe.reference for recipe in recipes.values())])
    for name, recipe in recipes.items():
        layer = layers[name]
        if references[name] in present or (layer and _pull(stack, name, layer.reference, progress)):
            continue
        if recipe.reference not in present and not _pull(stack, name, recipe.reference, progress):
            _build(stack, recipe, progress)
        if layer:
            build_layer(layer, progress)
    return references


def find(stack: Stack | None, names: Iterable[str] = ()) -> dict[str, str | None]:
    """Return the reference of each image that the engine has in its present form, None for the others; builds nothing.

    Raises:
        MissingPrerequisite: no engine answers.
    """
    standing = standing_references(stack, checked(names, stack))
    present = client.inspect([references[0] for references in standing.values() if references])
    return {
        name: references[0] if references and references[0] in present else None
        for name, references in standing.items()
    }


def standing_references(stack: Stack | None, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the names that images have in their present form: the one that runs, then one it stands on, if any.

    Whether the engine has them is another matter; without a base image there are none.
    """
    wanted = base.base_reference(stack)
    bases = client.inspect(list(dict.fromkeys((wanted, base.DEFAULT_BASE))))
    base_image = bases.get(wanted) or bases.get(base.DEFAULT_BASE)
    if base_image is None:
        return dict.fromkeys(names, ())
    plain = {name: Recipe.of(image(name), base_image).reference for name in names}
    layers = {name: PackagesLayer.of(stack, name, reference) for name, reference in plain.items()}
    return {name: (layer.reference, plain[name]) if layer else (plain[name],) for name, layer in layers.items()}


def build(stack: Stack | None, names: Iterable[str], progress: Progress, *, force: bool = False) -> dict[str, str]:
    """Build images whose present form the engine lacks, or with ``force`` all of them; never pulls our own images.

    Without names it is all that the stack can start.

    Raises:
        MissingPrerequisite: no engine answers, or what a build needs is not on this machine.
        ProcessFailed: a build failed; the message quotes the end of its output.
    """
    wanted = checked(tuple(names) or startable(stack), stack)
    base_image = base.ensure_base(stack, progress)
    references: dict[str, str] = {}
    for name in wanted:
        recipe = Recipe.of(image(name), base_image)
        layer = PackagesLayer.of(stack, name, recipe.reference)
        references[name] = _final(recipe, layer)
        if force or not client.inspect([recipe.reference]):
            _build(stack, recipe, progress)
        if layer and (force or not client.inspect([layer.reference])):
            build_layer(layer, progress)
    return references


def _final(recipe: Recipe, layer: PackagesLayer | None) -> str:
    return layer.reference if layer else recipe.reference


def _pull(stack: Stack | None, name: str, reference: str, progress: Progress) -> bool:
    """Return whether the stack's registry, if it has one, had the image."""
    source = registry.registry_of(stack)
    if source is None:
        return False
    if not registry.answers(registry.host_of(f"{source}/x")):
        progress(name, f"the registry {source} does not answer")
        return False
    if registry.pull(reference, source, progress):
        return True
    progress(name, f"is not in {source}")
    return False


def _build(stack: Stack | None, recipe: Recipe, progress: Progress) -> None:
    name = recipe.image.name
    go = base.ensure_golang(stack, progress) if recipe.image.needs_go else None
    with tempfile.TemporaryDirectory(prefix=f"stackctl-build-{name}-") as folder:
        _run(name, _command(recipe, Machine.read(), Path(folder), go), progress)


def build_layer(layer: PackagesLayer, progress: Progress) -> None:
    """Build what ``serving.packages`` adds above an image that is here.

    Raises:
        StackctlError: pip refuses a package; the message quotes it.
        ProcessFailed: the build failed for another reason.
    """
    with tempfile.TemporaryDirectory(prefix="stackctl-build-packages-") as name:
        folder, machine = Path(name), Machine.read()
        command = [*_start(layer.reference, machine, folder), f"--build-arg=SERVING_IMAGE={layer.serving}"]
        command += [f"--label={LABEL}={packages.NAME}", f"--label={packages.ON_LABEL}={layer.serving}"]
        (folder / "packages").mkdir()
        (folder / "packages" / "packages.txt").write_text("\n".join(layer.packages) + "\n")
        (folder / "wheelhouse").mkdir()
        command += [f"--build-context=packages={folder / 'packages'}"]
        command += [f"--build-context=wheelhouse={machine.wheelhouse or folder / 'wheelhouse'}"]
        try:
            _run("serving", [*command, str(layer.folder)], progress)
        except process.ProcessFailed as error:
            if not (said := packages.refusals(error.completed.stdout.splitlines())):
                raise
            raise StackctlError(
                "serving.packages in stack.yaml cannot be installed:\n" + "\n".join(f"  {line}" for line in said[-5:]),
                "Correct serving.packages, then run `stackctl up`; what runs was left alone.",
            ) from error


def _run(name: str, command: Sequence[str], progress: Progress) -> None:
    _require_buildx()
    progress(name, "building")
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if step := _STEP.match(line):
            progress(name, f"step {step['step']}: {_shortened(step['what'])}")

    completed = process.run(
        command, check=False, on_line=on_line, env={"DOCKER_BUILDKIT": "1", "BUILDX_GIT_INFO": "false"}
    )
    if completed.returncode != 0:
        client.require_engine()
        shortened = process.Completed(
            ("docker", "buildx", "build", name),
            completed.returncode,
            stdout="\n".join(lines),
            stderr="\n".join(lines[-_OUTPUT_LINES:]),  # what the message quotes
        )
        raise process.ProcessFailed(
            shortened,
            "Behind a private certificate authority set STACKCTL_CA_BUNDLE; behind a mirror PIP_INDEX_URL and GOPROXY.",
        )
    progress(name, "built")


def _start(reference: str, machine: Machine, folder: Path) -> list[str]:
    """Return the beginning of every build's command; ``folder`` gets the files of its secrets."""
    command = ["docker", "buildx", "build", "--builder=default", "--load", "--progress=plain", "--provenance=false"]
    command += [f"--tag={reference}", *(f"--build-arg={name}={value}" for name, value in machine.proxies.items())]
    secrets = {"pip_conf": machine.pip_conf, "go_env": machine.go_env, "torch_index": machine.torch_index}
    for name, text in secrets.items():
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(text)
        command += [f"--secret=id={name},src={file}"]
    if machine.ca_bundle:
        command += [f"--secret=id=ca_bundle,src={machine.ca_bundle}"]
    return command


def _command(recipe: Recipe, machine: Machine, folder: Path, go: client.Present | None) -> Sequence[str]:
    entry = recipe.image
    command = [*_start(recipe.reference, machine, folder), f"--build-arg=BASE_IMAGE={recipe.base.reference}"]
    command += [f"--label={LABEL}={entry.name}"]
    if entry.carries_wheel:
        command += [f"--label={VERSION_LABEL}={recipe.software_version}"]
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
