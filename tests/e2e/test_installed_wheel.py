"""An installed distribution is enough: no path leads back to the source."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from support.cli import Cli
from support.golden import starter_pair
from support.ports import stack_ports
from support.served import upscale

from stackctl import distribution
from stackctl.process import run

ROOT = Path(__file__).parents[2]
LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", "my-stack", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment that holds the wheel of a checkout which is gone by then."""
    folder = tmp_path_factory.mktemp("installed")
    checkout = folder / "checkout"
    shutil.copytree(ROOT, checkout, ignore=LEFT_BEHIND)
    uv = [sys.executable, "-m", "uv"]
    run([*uv, "build", "--wheel", "--out-dir", folder, checkout])
    run([*uv, "venv", "--python", sys.executable, folder / "venv"])
    (wheel,) = folder.glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    run([*uv, "pip", "install", "--python", python, "-c", checkout / "constraints.txt", f"stackctl[local] @ {wheel}"])
    shutil.rmtree(checkout)
    wheel.unlink()
    return folder / "venv" / "bin"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stack_made_by_an_installed_wheel_comes_up_far_from_any_checkout(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "far" / "away"
    folder.parent.mkdir()
    ports = [word for name, port in stack_ports().items() for word in ("--data", f"port_{name}={port}")]
    executable = (str(installed / "stackctl"),)
    Cli(executable=executable, cwd=tmp_path).run("init", folder, "--defaults", "--data", "name=away", *ports)
    cli = Cli(folder, executable=executable, cwd=tmp_path)
    try:
        assert cli.json("up")["state"] == "healthy"
        cli.run("models", "import", "starter")
        cli.run("promote", "super-resolution", "1")
        assert upscale(cli, starter_pair(1).input).version == "1"
    finally:
        cli.run("destroy", "--yes", "--with-backups", check=False)
    assert str(ROOT) not in "".join(
        file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file() and file.suffix != ".db"
    )


@pytest.mark.slow
def test_the_wheel_an_installation_rebuilds_from_itself_installs_and_has_the_same_content(
    installed: Path, tmp_path: Path
) -> None:
    script = (
        "from pathlib import Path; from stackctl import distribution as d; import sys;"
        "print(d.content_hash()); print(d.write_wheel(Path(sys.argv[1])))"
    )
    first = run([installed / "python", "-c", script, tmp_path], cwd=tmp_path).stdout.split()
    run([sys.executable, "-m", "uv", "venv", "--python", sys.executable, tmp_path / "again"])
    python = tmp_path / "again" / "bin" / "python"
    run([sys.executable, "-m", "uv", "pip", "install", "--python", python, "--no-deps", first[1]])
    again = run([python, "-c", script, tmp_path / "second"], cwd=tmp_path).stdout.split()
    assert again[0] == first[0] == distribution.content_hash()  # so images of either carry the same tag
    assert Path(again[1]).read_bytes() == Path(first[1]).read_bytes()
