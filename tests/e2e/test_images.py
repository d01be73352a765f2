"""Images on a real engine: made from packages, built by content, moved as files and through a real registry."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.cli import Cli
from support.registry import running_registry
from support.tiny_wheel import MODULE, PACKAGE, make_wheelhouse

from stackctl import images
from stackctl.errors import StackctlError
from stackctl.images import base
from stackctl.images.builder import build_layer
from stackctl.images.client import inspect
from stackctl.images.packages import ON_LABEL, PackagesLayer
from stackctl.process import run

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker"), pytest.mark.xdist_group("images")]
MARKER = f"marker-{uuid.uuid4().hex}"


@dataclass
class Progress:
    """Remembers what a build reported."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, subject: str, what: str) -> None:
        self.lines.append((subject, what))

    @property
    def text(self) -> str:
        return "\n".join(f"{subject}: {what}" for subject, what in self.lines)


@dataclass(frozen=True)
class Own:
    """A base of this module's own and the demo's image on it: no other test uses or misses them."""

    base: str
    demo: str


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """Build the demo on a base of our own, on a machine whose certificates and index settings carry a mark."""
    folder = tmp_path_factory.mktemp("own-base")
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    (folder / "ca.pem").write_text(f"# {MARKER}\n{certificates.read_text() if certificates.is_file() else ''}")
    name = f"stackctl-test/base:{MARKER[-12:]}"
    parent = images.bootstrap(None, Progress())[0]
    (folder / "Dockerfile").write_text(f"FROM {parent}\nRUN echo {name} > /etc/stackctl-test\n")
    run(["docker", "buildx", "build", "--builder=default", "--load", "--tag", name, folder])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STACKCTL_BASE_IMAGE", name)
        patch.setenv("STACKCTL_CA_BUNDLE", str(folder / "ca.pem"))
        patch.setenv("PIP_TRUSTED_HOST", f"{MARKER}.example.org")
        made = images.ensure(None, ["demo"], Progress())
    try:
        yield Own(name, made["demo"])
    finally:
        run(["docker", "rmi", "--force", made["demo"], name], check=False)


@pytest.fixture
def on_own_base(own: Own, monkeypatch: pytest.MonkeyPatch) -> Own:
    monkeypatch.setenv("STACKCTL_BASE_IMAGE", own.base)
    return own


def test_the_base_is_made_once() -> None:
    cli = Cli()
    first = json.loads(cli.run("--json", "images", "bootstrap").stdout)["images"]
    made = inspect(first)[first[0]].id
    assert json.loads(cli.run("--json", "images", "bootstrap").stdout)["images"] == first
    assert inspect(first)[first[0]].id == made


def test_unchanged_images_are_neither_built_nor_pulled(on_own_base: Own) -> None:
    progress = Progress()
    assert images.ensure(None, ["demo"], progress) == {"demo": on_own_base.demo}
    assert progress.lines == []
    assert images.find(None, ["demo"]) == {"demo": on_own_base.demo}


def test_certificates_and_index_settings_of_the_builder_stay_out_of_the_image(own: Own, tmp_path: Path) -> None:
    history = run(["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", own.demo]).stdout
    assert MARKER not in history
    assert "PIP_INDEX" not in history
    assert MARKER not in run(["docker", "image", "inspect", own.demo]).stdout.replace(own.demo, "")
    container = run(["docker", "create", own.demo]).stdout.strip()
    try:
        run(["docker", "export", "--output", tmp_path / "root.tar", container])
    finally:
        run(["docker", "rm", container])
    found = run(["grep", "--count", "--binary-files=text", MARKER, tmp_path / "root.tar"], check=False)
    assert found.stdout.strip() == "0"


def test_an_images_process_is_not_root(own: Own) -> None:
    assert run(["docker", "run", "--rm", "--network=none", own.demo, "id", "-u"]).stdout.strip() == "1000"


def test_images_come_back_from_a_file(on_own_base: Own, tmp_path: Path) -> None:
    file = tmp_path / "images.tar"
    saved = images.save(None, file, ["demo"], Progress())
    assert saved == [on_own_base.base, on_own_base.demo]
    run(["docker", "rmi", "--force", *saved])
    assert inspect(saved) == {}
    assert sorted(images.load(file, Progress())) == sorted(saved)
    assert images.find(None, ["demo"]) == {"demo": on_own_base.demo}


def test_images_come_back_from_a_registry_instead_of_being_built(
    on_own_base: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_registry() as address:
        pushed = images.push(None, f"{address}/team", ["demo"], Progress())
        assert pushed == [f"{address}/team/{on_own_base.base}", f"{address}/team/{on_own_base.demo}"]
        run(["docker", "rmi", "--force", on_own_base.demo])
        monkeypatch.setenv("STACKCTL_REGISTRY", f"{address}/team")
        progress = Progress()
        assert images.ensure(None, ["demo"], progress) == {"demo": on_own_base.demo}
        assert "building" not in progress.text
        assert images.find(None, ["demo"]) == {"demo": on_own_base.demo}


def test_a_base_in_a_registry_that_does_not_answer_is_replaced_by_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKCTL_BASE_IMAGE", "127.0.0.1:9/nobody/base:1")
    progress = Progress()
    assert base.ensure_base(None, progress).reference == base.DEFAULT_BASE
    assert "does not answer" in progress.text


def test_packages_of_served_models_are_a_layer_and_wrong_ones_are_named(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKCTL_WHEELHOUSE", str(make_wheelhouse(tmp_path / "wheelhouse")))
    layer = PackagesLayer(own.demo, (f"{PACKAGE}==1.5",))
    build_layer(layer, Progress())
    try:
        code = f"import {MODULE}, flask, os; print({MODULE}.VALUE, os.getuid())"
        done = run(["docker", "run", "--rm", "--network=none", layer.reference, "python", "-c", code])
        assert done.stdout.split() == ["42", "1000"]
        assert inspect([layer.reference])[layer.reference].labels[ON_LABEL] == own.demo
    finally:
        run(["docker", "rmi", "--force", layer.reference], check=False)
    with pytest.raises(StackctlError, match=r"serving\.packages(.|\n)*stackctl-test-nothing"):
        build_layer(PackagesLayer(own.demo, ("stackctl-test-nothing",)), Progress())
    with pytest.raises(StackctlError, match="flask"):
        build_layer(PackagesLayer(own.demo, ("flask<1",)), Progress())
