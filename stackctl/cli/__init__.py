"""The command line: parses, calls one function of a room, prints. The only place that prints, prompts or exits."""

from stackctl.cli.main import main

__all__ = ["main"]
