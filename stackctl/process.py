"""The only place that starts a process.

Whatever is started gets a session of its own, so that an interrupt or a time-out ends its group and leaves
no orphan.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stackctl.errors import MissingPrerequisite, StackctlError

TAIL_LINES = 20


@dataclass(frozen=True)
class Completed:
    """A finished process: its argv, exit status and what it wrote."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class ProcessFailed(StackctlError):
    """A process ended with another status than 0; carries argv, exit status and output."""

    def __init__(self, completed: Completed, hint: str | None = None) -> None:
        self.completed = completed
        output = "\n".join((completed.stderr.strip() or completed.stdout.strip()).splitlines()[-TAIL_LINES:])
        text = f"`{shlex.join(completed.argv)}` ended with exit status {completed.returncode}"
        super().__init__(f"{text}:\n{output}" if output else f"{text}.", hint)


class ProcessTimeout(StackctlError):
    """A process did not end within its deadline and was killed."""


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,  # noqa: A002 - the field's own word
    check: bool = True,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    stream: bool = False,
) -> Completed:
    """Run a program to its end.

    Args:
        argv: the program and its arguments; never a shell line.
        cwd: its working directory.
        env: variables added to this process's environment.
        input: text for its standard input (none: it gets an empty one).
        check: raise ``ProcessFailed`` when it ends with another status than 0.
        timeout: seconds after which its whole group is killed and ``ProcessTimeout`` raised.
        on_line: called with each line of its output, both streams merged, as it comes.
        stream: leave its streams to this process's terminal and capture nothing.

    Raises:
        ProcessFailed: it ended with another status than 0 and ``check`` is set.
        ProcessTimeout: it was killed at its deadline.
        MissingPrerequisite: there is no such program.
    """
    command = tuple(os.fspath(part) for part in argv)
    pipe = None if stream else subprocess.PIPE
    process = _spawn(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=pipe,
        stderr=subprocess.STDOUT if on_line else pipe,
    )
    try:
        if on_line:
            stdout, stderr = _follow(process, on_line, input, timeout), ""
        else:
            out, err = process.communicate(input, timeout=timeout)
            stdout, stderr = out or "", err or ""
    except subprocess.TimeoutExpired:
        stop(process)
        raise ProcessTimeout(f"`{shlex.join(command)}` did not end within {timeout:.0f} s and was stopped.") from None
    except BaseException:
        stop(process)
        raise
    completed = Completed(command, process.returncode, stdout, stderr)
    if check and completed.returncode != 0:
        raise ProcessFailed(completed)
    return completed


def start(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> subprocess.Popen[str]:
    """Start a program and return at once; its output goes to ``log`` (appended) or nowhere."""
    command = tuple(os.fspath(part) for part in argv)
    with contextlib.ExitStack() as files:
        sink: int | IO[str] = subprocess.DEVNULL
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            sink = files.enter_context(log.open("a"))
        return _spawn(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)


def lines(
    argv: Sequence[str | os.PathLike[str]], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Generator[str, None, None]:
    """Yield the lines of a program's standard output as they come; closing the iterator ends the program."""
    command = tuple(os.fspath(part) for part in argv)
    process = _spawn(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        if process.stdout is not None:
            for line in process.stdout:
                yield line.rstrip("\n")
    finally:
        stop(process)


def stop(process: subprocess.Popen[str], grace: float = 5.0) -> None:
    """End a process and its whole group: SIGTERM, then SIGKILL after ``grace`` seconds."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, grace)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _spawn(
    command: tuple[str, ...],
    *,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    stdin: int | None,
    stdout: int | IO[str] | None,
    stderr: int | None,
) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise StackctlError(f"The folder {cwd} does not exist.") from error
        raise MissingPrerequisite(f"There is no program `{command[0]}` on this machine.") from error


def _follow(
    process: subprocess.Popen[str], on_line: Callable[[str], None], text: str | None, timeout: float | None
) -> str:
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        stop(process)

    timer = threading.Timer(timeout, expire) if timeout else None
    if timer:
        timer.start()
    try:
        if text is not None and process.stdin is not None:
            process.stdin.write(text)
            process.stdin.close()
        seen: list[str] = []
        if process.stdout is not None:
            for line in process.stdout:
                seen.append(line)
                on_line(line.rstrip("\n"))
        process.wait()
    finally:
        if timer:
            timer.cancel()
    if expired.is_set():
        raise subprocess.TimeoutExpired(process.args, timeout or 0)
    return "".join(seen)
