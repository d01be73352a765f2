"""What a build takes from the machine it runs on: certificates, package indexes, proxies, a wheelhouse.

None of it may stay in an image. It reaches the build as BuildKit secrets (files that exist for one step only) and as
the proxy arguments that BuildKit itself keeps out of an image's history.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stackctl import process
from stackctl.errors import MissingPrerequisite, StackctlError, UsageError

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "default-timeout", "timeout", "retries", "proxy")
PIP_VARIABLES = tuple(f"PIP_{key.upper().replace('-', '_')}" for key in PIP_KEYS)
GO_KEYS = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOINSECURE", "GOPRIVATE", "GONOPROXY")


@dataclass(frozen=True)
class Machine:
    """The settings of this machine that a build needs.

    Attributes:
        ca_bundle: file of the certificate authorities that its package registries are signed by, or None.
        wheelhouse: folder of wheels that pip may take instead of downloading them, or None.
        pip_conf: text of a pip configuration file that names its index.
        go_env: text of a Go environment file that names its module proxy.
        torch_index: address of an index of torch's CPU builds, or empty for PyTorch's own.
        proxies: HTTP proxy variables.
    """

    ca_bundle: Path | None
    wheelhouse: Path | None
    pip_conf: str
    go_env: str
    torch_index: str
    proxies: Mapping[str, str]

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Machine:
        """Read the settings from the environment and from the configuration of pip and go.

        Raises:
            UsageError: a setting names a file or folder that does not exist.
        """
        environ = os.environ if environ is None else environ
        ca_bundle = _ca_bundle(environ)
        return cls(
            ca_bundle=ca_bundle,
            wheelhouse=_wheelhouse(environ),
            pip_conf=_pip_conf(_pip_settings(environ), with_ca=ca_bundle is not None),
            go_env="".join(f"{key}={value}\n" for key, value in _go_settings(environ).items()),
            torch_index=environ.get("STACKCTL_TORCH_INDEX", ""),
            proxies={name: environ[name] for name in PROXY_VARIABLES if environ.get(name)},
        )


def _ca_bundle(environ: Mapping[str, str]) -> Path | None:
    for name in ("STACKCTL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if value := environ.get(name):
            file = Path(value)
            if file.is_file():
                return file.resolve()
            if name == "STACKCTL_CA_BUNDLE":
                raise UsageError(
                    f"STACKCTL_CA_BUNDLE names {value}, which is not a file.", "Name a file of PEM certificates."
                )
    return None


def _wheelhouse(environ: Mapping[str, str]) -> Path | None:
    value = environ.get("STACKCTL_WHEELHOUSE")
    if not value:
        return None
    folder = Path(value)
    if not folder.is_dir():
        raise UsageError(
            f"STACKCTL_WHEELHOUSE names {value}, which is not a folder.", "Name a folder that holds *.whl files."
        )
    return folder.resolve()


def _pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what pip itself would use here: its configuration files, overridden by ``PIP_*``."""
    settings: dict[str, str] = {}
    try:
        listing = process.run([sys.executable, "-m", "pip", "config", "list"], timeout=30, check=False).stdout
    except StackctlError:
        listing = ""
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"")
    settings |= {key: environ[name] for key, name in zip(PIP_KEYS, PIP_VARIABLES, strict=True) if environ.get(name)}
    return {key: settings[key] for key in PIP_KEYS if settings.get(key)}


def _pip_conf(settings: Mapping[str, str], *, with_ca: bool) -> str:
    lines = ["[global]", "disable-pip-version-check = true", "root-user-action = ignore", "progress-bar = off"]
    lines += [f"{key} = {value}" for key, value in settings.items()]
    if with_ca:
        lines.append("cert = /run/secrets/ca_bundle")
    return "\n".join(lines) + "\n"


def _go_settings(environ: Mapping[str, str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    if shutil.which("go"):
        try:
            values = process.run(["go", "env", *GO_KEYS], timeout=30, check=False).stdout.splitlines()
        except (MissingPrerequisite, process.ProcessTimeout):
            values = []
        settings = dict(zip(GO_KEYS, values, strict=False))
    settings |= {key: environ[key] for key in GO_KEYS if environ.get(key)}
    return {key: value for key, value in settings.items() if value}
