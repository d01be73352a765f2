"""A child as its parent sees it: start it, hear its reports, ask it, notice its end, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from stackctl import process
from stackctl.serving.errors import Refused
from stackctl.serving.exchange import Answer, exchange
from stackctl.serving.memory import Memory, in_mib
from stackctl.serving.spec import ChildSpec, Report

TAIL_LINES = 12
CHUNK = 65536
STOP_GRACE_SECONDS = 2.0
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),  # image buffers go back to the system when they are freed
    "MALLOC_TRIM_THRESHOLD_": str(1 << 20),
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class Child:
    """One process that serves one version.

    Attributes:
        in_flight: requests it works on.
        exited: set when the process has ended.
        cause: the kind of cause of its end: ``memory``, ``timeout`` or ``other``.
    """

    def __init__(self, spec: ChildSpec, folder: Path, memory: Memory | None = None) -> None:
        """Start the process; its files (specification, output pipe) lie in ``folder``.

        Call it from the main thread: the kernel ends a child with the thread that made it.
        """
        self.spec = spec
        self.in_flight = 0
        self.exited = asyncio.Event()
        self.cause = "other"
        self._why = ""
        self._refused_itself = False
        self._memory = memory or Memory()
        self._kernel_kills = self._memory.kernel_kills()
        self._loop = asyncio.get_running_loop()
        self._report: asyncio.Future[Report] = self._loop.create_future()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._rest = b""
        self._pipe_path = Path(f"{spec.socket}.out")
        spec_path = Path(f"{spec.socket}.json")
        spec.write(spec_path)
        os.mkfifo(self._pipe_path, 0o600)
        self._pipe = os.open(self._pipe_path, os.O_RDWR | os.O_NONBLOCK)
        self._loop.add_reader(self._pipe, self._hear)
        self._process = process.start(
            [sys.executable, "-m", "stackctl.serving.child", spec_path],
            cwd=folder,
            env=ENVIRONMENT,
            log=self._pipe_path,
        )
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._ended)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return not self.exited.is_set()

    @property
    def how_it_ended(self) -> str:
        """How the process ended and why, as a clause without its subject.

        The last of what it said belongs to it only where the process ended itself: who is killed says nothing of that.
        """
        status = self._process.returncode
        if self._why:
            return f"was ended: {self._why}"
        if status and status < 0:
            memory = " (the system does this when memory runs out)" if status == -signal.SIGKILL else ""
            return f"was killed by signal {signal.Signals(-status).name}{memory}"
        last = next((line for line in reversed(self._tail) if line.strip()), "")
        return f"exited with status {status}: {last}" if last else f"exited with status {status}"

    @property
    def reported_refusal(self) -> bool:
        """Whether the process refused its version by itself, in words of its own."""
        return self._refused_itself

    async def prepared(self, patience: float) -> Report:
        """Wait until it serves and return its report.

        Raises:
            Refused: it cannot serve its version, died, or took longer than ``patience`` seconds.
        """
        try:
            report = await asyncio.wait_for(asyncio.shield(self._report), patience)
        except TimeoutError:
            self.kill("timeout", f"the version was not loaded within {patience:.0f} s")
            raise Refused(f"The version was not loaded within {patience:.0f} s.") from None
        if report.state != "prepared":
            raise Refused(report.reason or "unknown reason", digest=report.digest, transient=report.transient)
        return report

    async def ask(self, method: str, target: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Answer:
        """Send it one request.

        Raises:
            ChildGone: it died before it answered.
        """
        self.in_flight += 1
        try:
            return await exchange(self.spec.socket, method, target, headers, body)
        finally:
            self.in_flight -= 1

    def kill(self, cause: str = "other", why: str = "") -> None:
        """End the process and whatever it started, at once; ``why`` is a clause for people."""
        if self.alive and why and not self._why:
            self.cause, self._why = cause, why
        self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """End the process: politely, then by force; return when it is gone and its files are removed."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.exited.wait(), STOP_GRACE_SECONDS)
        self.kill()
        await self.exited.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._pipe, CHUNK):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                for line in lines:
                    self._heard(line.decode(errors="replace"))

    def _heard(self, line: str) -> None:
        report = Report.parse(line)
        if report is not None:
            if not self._report.done() and report.state != "loading":
                self._refused_itself = report.state == "refused"
                self._report.set_result(report)
        elif line.strip():
            self._tail.append(line[:1000])
            sys.stderr.write(f"[version {self.spec.version}] {line}\n")
            sys.stderr.flush()

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._blame_kernel(self._process.wait())
        self._hear()
        if self._rest:
            self._heard(self._rest.decode(errors="replace"))
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)
        for suffix in ("", ".json", ".out"):
            Path(f"{self.spec.socket}{suffix}").unlink(missing_ok=True)
        self.exited.set()
        if not self._report.done():
            self._report.set_result(Report("refused", f"Its process {self.how_it_ended}"))

    def _blame_kernel(self, status: int) -> None:
        if status == -signal.SIGKILL and not self._why and self._memory.kernel_kills() > self._kernel_kills:
            limit = f" at the limit of {in_mib(self._memory.limit)}" if self._memory.limit else ""
            self.cause, self._why = "memory", f"memory ran out{limit}, and the kernel killed it"
