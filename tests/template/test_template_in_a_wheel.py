"""The template as an installed distribution carries it."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from stackctl import process
from stackctl.distribution import write_wheel
from stackctl.scaffold import init
from stackctl.scaffold.render import read_answers


def test_a_wheel_far_from_the_checkout_makes_the_same_stack(tmp_path: Path) -> None:
    with zipfile.ZipFile(write_wheel(tmp_path)) as wheel:
        wheel.extractall(tmp_path / "installed")
    installed = {"PYTHONPATH": str(tmp_path / "installed")}
    where = process.run(
        [sys.executable, "-c", "import stackctl; print(stackctl.__file__)"], cwd=tmp_path, env=installed
    )
    assert where.stdout.startswith(str(tmp_path / "installed"))
    process.run([sys.executable, "-m", "stackctl", "init", "from-wheel", "--defaults"], cwd=tmp_path, env=installed)
    from_wheel = tmp_path / "from-wheel"
    expected = init(tmp_path / "from-checkout", data=read_answers(from_wheel), defaults=True, environ={}).stack.home
    assert rendered(from_wheel) == rendered(expected)
    checkout = str(Path(__file__).parents[2]).encode()
    assert not [path for path, content in rendered(from_wheel).items() if checkout in content]


def rendered(folder: Path) -> dict[str, bytes]:
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return {path: content for path, content in files.items() if not path.startswith("secrets/")}
