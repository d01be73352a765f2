"""Stacks under test: made by the real command line with free ports, and destroyed afterwards."""

from __future__ import annotations

from pathlib import Path

from support.cli import Cli
from support.ports import stack_ports


class Stacks:
    """Makes stacks in a folder and destroys each of them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Cli] = []

    def make(self, name: str, engine: str, *data: str, options: tuple[str, ...] = ()) -> Cli:
        """Run ``init`` with free ports and return the command line of the new stack."""
        answers = [
            f"engine={engine}",
            f"name={name}",
            *(f"port_{port}={number}" for port, number in stack_ports().items()),
        ]
        words = [word for answer in (*answers, *data) for word in ("--data", answer)]
        Cli(cwd=self.folder).run("init", self.folder / name, "--defaults", *words, *options)
        cli = Cli(self.folder / name)
        self.made.append(cli)
        return cli

    def destroy(self) -> None:
        """Destroy every stack that is still there."""
        for cli in reversed(self.made):
            if cli.folder and cli.folder.is_dir():
                cli.run("destroy", "--yes", "--with-backups", check=False)
        self.made.clear()


def edit_port(cli: Cli, name: str, port: int) -> None:
    """Change one port in ``stack.yaml`` as a person would: one line of text."""
    assert cli.folder is not None
    file = cli.folder / "stack.yaml"
    lines = file.read_text().splitlines(keepends=True)
    inside = lines.index("ports:\n")
    row = next(number for number in range(inside, len(lines)) if lines[number].startswith(f"  {name}:"))
    lines[row] = f"  {name}: {port}\n"
    file.write_text("".join(lines))
