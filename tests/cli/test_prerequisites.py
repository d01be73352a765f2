"""What is missing on the machine is told in one go, with the command that mends it, before anything starts."""

from __future__ import annotations

from pathlib import Path

from support.cli import Cli
from support.ports import stack_ports


def made(folder: Path, engine: str, **env: str) -> Cli:
    """Make a stack and return its command line."""
    ports = [word for name, port in stack_ports().items() for word in ("--data", f"port_{name}={port}")]
    Cli(cwd=folder).run("init", folder / "stack", "--defaults", "--data", f"engine={engine}", *ports)
    return Cli(folder / "stack", env=env)


def test_without_a_docker_engine_up_exits_4_and_says_what_to_do(tmp_path: Path) -> None:
    cli = made(tmp_path, "docker", DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")
    text = cli.fails(4, "up")
    assert "Docker" in text
    assert "→" in text


def test_without_the_docker_command_up_exits_4(tmp_path: Path) -> None:
    cli = made(tmp_path, "docker", PATH=str(tmp_path))
    assert "docker" in cli.fails(4, "up").lower()


def test_without_a_minio_program_up_names_the_command_that_builds_one(tmp_path: Path) -> None:
    cli = made(tmp_path, "local", PATH=str(tmp_path), STACKCTL_CACHE=str(tmp_path / "cache"))
    assert cli.folder is not None
    file = cli.folder / "stack.yaml"
    file.write_text(file.read_text().replace("kind: folder", "kind: minio"))
    assert "stackctl store build" in cli.fails(4, "up")


def test_doctor_puts_the_mending_command_under_each_failure(tmp_path: Path) -> None:
    cli = made(tmp_path, "local")
    assert cli.folder is not None
    (cli.folder / "secrets").chmod(0o755)
    done = cli.run("doctor", check=False)
    assert done.returncode == 3
    assert f"chmod 700 {cli.folder / 'secrets'}" in done.stdout.replace("\n", "")
    (cli.folder / "secrets").chmod(0o700)
    checks = {check["name"]: check["outcome"] for check in cli.json("doctor")["checks"]}
    assert {name: outcome for name, outcome in checks.items() if not name.startswith("backup")} == {
        "engine": "ok",
        "images": "ok",
        "ports": "ok",
        "disk and memory": "ok",
        "secrets": "ok",
    }


def test_destroy_wants_the_stacks_name_and_deletes_nothing_without_it(tmp_path: Path) -> None:
    cli = made(tmp_path, "local")
    assert cli.folder is not None
    (cli.folder / "var").mkdir()
    assert "--yes" in cli.fails(2, "destroy")
    assert (cli.folder / "var").is_dir()
    cli.run("destroy", "--yes")
    assert not (cli.folder / "var").exists()
    assert (cli.folder / "stack.yaml").is_file()
