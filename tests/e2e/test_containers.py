"""What the containers of a running stack may and may not do, seen from inside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import Cli
from support.served import url_of
from support.stacks import Stacks
from testcontainers.compose import DockerCompose

from stackctl.process import run

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.usefixtures("docker")]

REACHES = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
    print("reached")
except OSError:
    print("no way")
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """Return a running stack under Docker."""
    maker = Stacks(tmp_path_factory.mktemp("containers"))
    try:
        cli = maker.make("contained", "docker")
        cli.run("up")
        yield cli
    finally:
        maker.destroy()


@pytest.fixture
def compose(running: Cli) -> DockerCompose:
    """Return the running stack as testcontainers sees it: its own Compose file and derived variables."""
    assert running.folder is not None
    return DockerCompose(context=running.folder, compose_file_name="compose.yaml", env_file=[".env"])


def container_ids(cli: Cli) -> str:
    """Return the ids of the stack's running containers, one a line."""
    assert cli.folder is not None
    return run(["docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={cli.folder.name}"]).stdout


def says(compose: DockerCompose, service: str, *command: str) -> str:
    """Return what a command prints inside a service's container."""
    output, _error, _status = compose.exec_in_container(list(command), service)
    return str(output).strip()


@pytest.mark.parametrize(
    ("service", "host", "port", "expected"),
    [
        ("demo", "serving", "8888", "reached"),
        ("demo", "store", "9000", "no way"),
        ("demo", "mlflow", "5000", "no way"),
        ("serving", "mlflow", "5000", "reached"),
    ],
)
def test_the_demo_reaches_the_model_server_and_nothing_behind_it(
    compose: DockerCompose, service: str, host: str, port: str, expected: str
) -> None:
    assert says(compose, service, "python", "-c", REACHES, host, port) == expected


@pytest.mark.parametrize("service", ["mlflow", "serving", "demo"])
def test_a_service_is_not_root_and_cannot_change_its_own_system(compose: DockerCompose, service: str) -> None:
    assert says(compose, service, "id", "-u") == "1000"
    script = "touch /opt/changed 2>/dev/null && echo changed || echo refused"
    assert says(compose, service, "sh", "-c", script) == "refused"


def test_every_container_has_limits_and_no_privileges(running: Cli) -> None:
    fields = ("Memory", "PidsLimit", "ReadonlyRootfs", "CapDrop", "SecurityOpt")
    wanted = " ".join(f"{{{{.HostConfig.{field}}}}}" for field in fields)
    ids = container_ids(running).split()
    assert len(ids) == 5
    for line in run(["docker", "inspect", "--format", wanted, *ids]).stdout.splitlines():
        memory, pids, read_only, capabilities, options = line.split(" ", 4)
        assert int(memory) > 0
        assert int(pids) > 0
        assert read_only == "true"
        assert capabilities == "[ALL]"
        assert "no-new-privileges" in options


def test_no_secret_shows_in_what_docker_tells_of_a_container(running: Cli) -> None:
    assert running.folder is not None
    ids = container_ids(running).split()
    told = run(["docker", "inspect", *ids]).stdout
    for each in ids:
        told += run(["docker", "top", each, "-eo", "pid,args"]).stdout
        logs = run(["docker", "logs", each])
        told += logs.stdout + logs.stderr
    words = {word for file in (running.folder / "secrets").iterdir() for word in file.read_text().split()}
    secrets = {word for word in words if len(word) >= 16 and not word.startswith("aws_")}
    assert len(secrets) >= 5
    assert not [secret for secret in secrets if secret in told]


def test_published_ports_are_on_loopback_only(compose: DockerCompose) -> None:
    published = [
        port.URL for container in compose.get_containers() for port in container.Publishers if port.PublishedPort
    ]
    assert published
    assert set(published) == {"127.0.0.1"}


def test_an_unchanged_up_starts_and_builds_nothing(running: Cli) -> None:
    assert running.folder is not None
    command = [
        "docker",
        "ps",
        "-q",
        "--no-trunc",
        "--filter",
        f"label=com.docker.compose.project={running.folder.name}",
    ]
    before = run(command).stdout
    done = running.run("up")
    assert "build" not in done.stderr
    assert run(command).stdout == before


def test_a_killed_service_comes_back(running: Cli, compose: DockerCompose) -> None:
    container = compose.get_container("demo")
    run(["docker", "exec", str(container.ID), "python", "-c", "import os, signal; os.kill(1, signal.SIGTERM)"])
    report = running.json("up")
    assert report["state"] == "healthy"


def test_wrong_credentials_for_the_store_stop_up_with_its_address_and_without_the_key(
    running: Cli, stacks: Stacks, tmp_path: Path
) -> None:
    wrong = tmp_path / "credentials"
    wrong.write_text("[default]\naws_access_key_id = nobody\naws_secret_access_key = not-the-right-one\n")
    endpoint = url_of(running, "store")
    answers = ("store=s3", f"store_endpoint={endpoint}")
    guest = stacks.make("wrong-key", "local", *answers, options=("--s3-credentials-file", str(wrong)))
    text = guest.fails(1, "up")
    assert endpoint in text
    assert "s3_credentials" in text
    assert "not-the-right-one" not in text


def test_files_brought_by_another_person_join_the_compose_files(running: Cli) -> None:
    assert running.folder is not None
    override = Path(running.folder / "compose.override.yaml")
    override.write_text("services:\n  demo:\n    labels:\n      added: by-hand\n")
    try:
        running.run("up")
        found = run(["docker", "ps", "-q", "--filter", "label=added=by-hand"]).stdout.split()
        assert len(found) == 1
    finally:
        override.unlink()
