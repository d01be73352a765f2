"""The one place where errors become exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import typer

from stackctl.cli.output import print_error
from stackctl.errors import INTERRUPTED, StackctlError

TRUE = {"1", "true", "t", "yes", "y", "on"}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that the outcome has."""
    gc.set_threshold(50_000)  # a short command makes little garbage, and imports make collections expensive
    # Looking for pydantic's plugins reads the metadata of every installed distribution; none is wanted here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from stackctl.cli.app import app

    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _interrupt)  # a terminated command cleans up as an interrupted one does
    try:
        outcome = app(args=arguments, prog_name="stackctl", standalone_mode=False)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place that catches
        message, hint, code = _explain(error)
        as_json = "--json" in arguments or os.environ.get("STACKCTL_JSON", "").lower() in TRUE
        if not message:  # the help was printed instead
            sys.exit(code)
        print_error(message, hint, code, as_json=as_json, color="--no-color" not in arguments)
        sys.exit(code)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _explain(error: BaseException) -> tuple[str, str | None, int]:
    """Return message, hint and exit code; what was not expected keeps its traceback."""
    if isinstance(error, StackctlError):
        return error.message, error.hint, error.code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "Interrupted.", None, INTERRUPTED
    words = getattr(error, "format_message", None)  # the errors of the command line's own parser
    if words is not None:
        command = getattr(getattr(error, "ctx", None), "command_path", "stackctl")
        return words(), f"See `{command} --help`.", int(getattr(error, "exit_code", 2))
    traceback.print_exception(error)
    return f"stackctl met something it did not expect: {error!r}", "This is a bug: please report the lines above.", 1
