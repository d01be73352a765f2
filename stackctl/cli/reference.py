"""The command reference of the README, generated from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

BEGIN = "<!-- reference: written by scripts/cli-reference -->"
END = "<!-- /reference -->"


def render() -> str:
    """Return the reference as Markdown: every command with its arguments and options."""
    from stackctl.cli.app import app

    root = typer.main.get_command(app)
    blocks = [_options(root, "Global options (before or after the command)")]
    blocks += [_command(path, command) for path, command in _leaves(root, ("stackctl",))]
    return "\n".join(blocks)


def insert(text: str) -> str:
    """Return ``text`` with the reference between its two marks brought up to date."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{render()}\n{END}{tail}"


def _leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, child in getattr(command, "commands", {}).items():
        if getattr(child, "commands", None):
            yield from _leaves(child, (*path, name))
        else:
            yield (*path, name), child


def _command(path: tuple[str, ...], command: Any) -> str:
    arguments = " ".join(_argument(each) for each in command.params if each.param_type_name == "argument")
    title = " ".join(part for part in (*path, arguments) if part)
    summary = " ".join((command.help or "").split("\f")[0].split())
    return _options(command, f"`{title}`", summary)


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()).strip("[]")
    many = "…" if parameter.nargs == -1 else ""
    return f"{name}{many}" if parameter.required else f"[{name}{many}]"


def _options(command: Any, title: str, summary: str = "") -> str:
    lines = [f"**{title}**" + (f": {summary}" if summary else ""), ""]
    lines += [
        f"- `{', '.join([*option.opts, *option.secondary_opts])}{_value(option)}`: {option.help}"
        for option in command.params
        if option.param_type_name == "option" and option.name != "help" and "completion" not in option.name
    ]
    return "\n".join(lines) + ("\n" if len(lines) > 2 else "")


def _value(option: Any) -> str:
    """Return what stands for an option's value: nothing for a switch."""
    return "" if option.is_flag else f" {option.metavar or option.name.upper()}"
