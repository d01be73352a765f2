"""A process in another interpreter that does one thing at a time when it is told to, so that rivals can take turns."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from stackctl import process
from stackctl.errors import StackctlError

WORKERS = Path(__file__).with_name("workers")
CONNECT_SECONDS = 120.0


class PeerError(StackctlError):
    """A worker failed; the message is its traceback."""


class Peer:
    """A running worker."""

    def __init__(self, line: Connection[Any, Any], log: Path) -> None:
        self._line = line
        self._log = log

    def call(self, name: str, **words: Any) -> Any:
        """Return what the worker's function ``name`` returns.

        Raises:
            PeerError: it raised, or the worker died.
        """
        try:
            self._line.send((name, words))
            fine, answer = self._line.recv()
        except (EOFError, OSError) as error:
            raise PeerError(f"The worker died in {name}:\n{self._log.read_text()[-2000:]}") from error
        if not fine:
            raise PeerError(str(answer))
        return answer


@contextlib.contextmanager
def peer(python: str | Path, worker: str, *, env: dict[str, str] | None = None) -> Iterator[Peer]:
    """Run ``workers/WORKER.py`` under an interpreter until the block is left."""
    with tempfile.TemporaryDirectory(prefix="bench-peer-") as folder:
        address, log = str(Path(folder) / "line"), Path(folder) / "log"
        with Listener(address, family="AF_UNIX") as listener:
            running = process.start([python, WORKERS / f"{worker}.py", address], env=env, log=log)
            try:
                line = _accept(listener, running, log)
                with line:
                    yield Peer(line, log)
            finally:
                process.stop(running)


def _accept(listener: Listener, running: Any, log: Path) -> Connection[Any, Any]:
    import threading

    accepted: list[Connection[Any, Any]] = []
    waiter = threading.Thread(target=lambda: accepted.append(listener.accept()), daemon=True)
    waiter.start()
    waited = 0.0
    while waiter.is_alive() and running.poll() is None and waited < CONNECT_SECONDS:
        waiter.join(0.2)
        waited += 0.2
    if not accepted:
        raise PeerError(f"The worker did not start:\n{log.read_text()[-2000:]}")
    return accepted[0]
