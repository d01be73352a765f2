"""Settings that a person edits, and settings that point elsewhere."""

from __future__ import annotations

import pytest
from support.cli import Cli
from support.golden import starter_pair
from support.ports import free_port
from support.served import shown_url, upscale, url_of
from support.stacks import Stacks, edit_port

pytestmark = pytest.mark.slow


def test_a_port_edited_in_stack_yaml_moves_with_the_next_up(
    engine: str, stacks: Stacks, request: pytest.FixtureRequest
) -> None:
    if engine == "local":
        cli: Cli = request.getfixturevalue("promoted")
    else:
        cli = stacks.make("moving", engine)
        cli.run("up")
    before = shown_url(cli, "demo")
    port = free_port()
    edit_port(cli, "demo", port)
    report = cli.json("up")
    assert report["state"] == "healthy"
    assert shown_url(cli, "demo") == f"http://127.0.0.1:{port}" != before


@pytest.mark.docker
@pytest.mark.usefixtures("docker")
def test_a_stack_uses_the_mlflow_and_the_store_of_another_one(stacks: Stacks) -> None:
    host = stacks.make("host-stack", "docker")
    host.run("up")
    assert host.folder is not None
    guest = guest_of(host, stacks)
    report = guest.json("up")
    assert [service["name"] for service in report["services"]] == ["serving", "demo", "backup"]
    guest.run("models", "import", "starter")
    guest.run("promote", "super-resolution", "1")
    assert upscale(guest, starter_pair(1).input).version == "1"
    versions = host.json("models", "show", "super-resolution")["versions"]
    assert [version["stage"] for version in versions if version["version"] == "1"] == ["Production"]


def guest_of(host: Cli, stacks: Stacks) -> Cli:
    """Make a local stack whose MLflow and object store are those of ``host``."""
    assert host.folder is not None
    return stacks.make(
        "guest-stack",
        "local",
        "mlflow=external",
        f"mlflow_tracking_uri={url_of(host, 'mlflow')}",
        "store=s3",
        f"store_endpoint={url_of(host, 'store')}",
        options=("--s3-credentials-file", str(host.folder / "secrets" / "s3_credentials")),
    )
