"""The base image and the Go tool chain's: pulled where a registry answers, otherwise made from Debian's packages.

A stack must not vanish when a vendor deletes an image, and a machine without a registry must be able to build one.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stackctl import process
from stackctl.errors import MissingPrerequisite, StackctlError
from stackctl.images import client, registry
from stackctl.stack import Stack

Progress = Callable[[str, str], None]
"""Called with (subject, what happens), for instance ("base", "installing packages")."""

DEFAULT_BASE = "stackctl/base:bookworm"
GO_IMAGE = "stackctl/golang:trixie"
PULL_SECONDS = 900.0
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_UNREAD = ("locale", "man", "info", "doc")


@dataclass(frozen=True)
class Suite:
    """An image made from a Debian suite's own packages.

    Attributes:
        reference: the image's name.
        codename: the suite.
        packages: what it holds beyond Debian's essential packages.
        command: what it runs by default.
    """

    reference: str
    codename: str
    packages: tuple[str, ...]
    command: str


BASE = Suite(DEFAULT_BASE, "bookworm", ("ca-certificates", "python3", "python3-venv"), "python3")
GOLANG = Suite(GO_IMAGE, "trixie", ("ca-certificates", "golang-go"), "bash")


def bootstrap(stack: Stack | None, progress: Progress, *, force: bool = False, go: bool = False) -> list[str]:
    """Make the base image, and with ``go`` the Go tool chain's too, unless they are here already; return their names.

    Args:
        stack: whose base image setting and registry hold; None: the defaults.
        progress: called with an image's name and what happens to it.
        force: make them again from today's packages.
        go: also make the image that MinIO is built in.

    Raises:
        MissingPrerequisite: mmdebstrap is not installed, or no engine answers.
    """
    if force:
        return [make(suite, progress).reference for suite in ((BASE, GOLANG) if go else (BASE,))]
    made = [ensure_base(stack, progress)]
    if go:
        made.append(ensure_golang(stack, progress))
    return [present.reference for present in made]


def base_reference(stack: Stack | None) -> str:
    """Return the base image that is asked for: ``STACKCTL_BASE_IMAGE``, the stack's setting, or our own."""
    return os.environ.get("STACKCTL_BASE_IMAGE") or (stack.settings.images.base if stack else DEFAULT_BASE)


def ensure_base(stack: Stack | None, progress: Progress) -> client.Present:
    """Return the base image, pulled or made if the engine lacks it.

    Where the setting names an image of a registry that does not answer, our own base takes its place.
    """
    return _ensure(BASE, base_reference(stack), registry.registry_of(stack), progress)


def ensure_golang(stack: Stack | None, progress: Progress) -> client.Present:
    """Return the image with the Go tool chain, pulled or made if the engine lacks it."""
    wanted = os.environ.get("STACKCTL_GO_IMAGE") or GO_IMAGE
    return _ensure(GOLANG, wanted, registry.registry_of(stack), progress)


def make(suite: Suite, progress: Progress) -> client.Present:
    """Make an image from a Debian suite's packages and import it, replacing one of the same name.

    Raises:
        MissingPrerequisite: mmdebstrap is not installed, or no engine answers.
        ProcessFailed: the packages could not be fetched or installed.
    """
    subject = suite.reference
    if shutil.which("mmdebstrap") is None:
        raise MissingPrerequisite(
            f"mmdebstrap is not installed, so {suite.reference} cannot be made from Debian's packages.",
            "Install it: sudo apt-get install --yes mmdebstrap debian-archive-keyring; or load images from elsewhere: "
            "stackctl images load FILE; or set images.base in stack.yaml to an image that has Python 3.11.",
        )
    client.require_engine()
    progress(subject, f"making it from Debian {suite.codename}'s packages")
    with tempfile.TemporaryDirectory(prefix="stackctl-base-") as folder:
        tar = Path(folder) / "root.tar"
        process.run(_mmdebstrap(suite, tar), on_line=lambda line: _report(line, subject, progress))
        progress(subject, "importing")
        client.docker(["import", "--change", f'CMD ["{suite.command}"]', os.fspath(tar), suite.reference])
    return client.inspect([suite.reference])[suite.reference]


def _ensure(suite: Suite, wanted: str, source: str | None, progress: Progress) -> client.Present:
    present = client.inspect([wanted])
    if wanted in present:
        return present[wanted]
    if wanted == suite.reference:
        pulled = registry.pull(wanted, source, progress) if source else None
        return pulled or make(suite, progress)
    host = registry.host_of(wanted)
    if registry.answers(host):
        progress(wanted, f"pulling from {host}")
        try:
            client.docker(["pull", "--quiet", wanted], timeout=PULL_SECONDS)
            return client.inspect([wanted])[wanted]
        except StackctlError as error:
            progress(wanted, f"could not be pulled: {error.message.splitlines()[-1]}")
    else:
        progress(wanted, f"the registry {host} does not answer")
    return _ensure(suite, suite.reference, source, progress)


def _report(line: str, subject: str, progress: Progress) -> None:
    if line.startswith("I: ") and line.endswith("..."):
        progress(subject, line.removeprefix("I: "))


def _mmdebstrap(suite: Suite, tar: Path) -> list[str]:
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(suite.packages)}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _UNREAD]
    command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    if _KEYRING.is_file():
        command += [f"--keyring={_KEYRING}"]
    if proxy := _apt_setting("Acquire::http::Proxy"):
        command += [f'--aptopt=Acquire::http::Proxy "{proxy}"']
    return [*command, suite.codename, os.fspath(tar), *_sources(suite.codename)]


def _sources(codename: str) -> list[str]:
    """Return the suite's sources at this machine's mirrors; none where it is no Debian: mmdebstrap has its own."""
    if shutil.which("apt-get") is None or platform.freedesktop_os_release().get("ID") != "debian":
        return []
    main = security = ""
    form = "$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
    listing = process.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"], check=False, timeout=30
    )
    for line in listing.stdout.splitlines():
        release, component, uri = [*line.split("|"), "", ""][:3]
        if component != "main" or not uri:
            continue
        if release.endswith("-security"):
            security = uri.rstrip("/")
        elif "-" not in release:
            main = uri.rstrip("/")
    if not main:
        return []
    sources = [f"deb {main} {codename} main", f"deb {main} {codename}-updates main"]
    return [*sources, f"deb {security} {codename}-security main"] if security else sources


def _apt_setting(name: str) -> str | None:
    if shutil.which("apt-config") is None:
        return None
    listing = process.run(["apt-config", "shell", "VALUE", name], check=False, timeout=30).stdout
    words = shlex.split(listing.partition("=")[2])
    return words[0] if words else None
