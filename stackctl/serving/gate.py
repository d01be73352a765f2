"""Bounds what the server works on: a few requests compute, some more wait, the rest is told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from stackctl.serving.errors import ServingError


class Gate:
    """Admits at most ``concurrency + queue`` requests, of which ``concurrency`` compute."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._most = concurrency + queue
        self._turns = asyncio.Semaphore(concurrency)
        self._admitted = 0
        self._computing = 0

    @property
    def computing(self) -> int:
        """Requests that compute now."""
        return self._computing

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return self._admitted - self._computing

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Be one of the admitted requests.

        Raises:
            ServingError: ``busy``, there are too many.
        """
        if self._admitted >= self._most:
            raise ServingError("busy", f"The server works on {self._most} requests already; try again in a moment.")
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    @asynccontextmanager
    async def turn(self, patience: float) -> AsyncIterator[None]:
        """Wait at most ``patience`` seconds for a turn to compute.

        Raises:
            ServingError: ``busy``, no turn came.
        """
        try:
            await asyncio.wait_for(self._turns.acquire(), patience)
        except TimeoutError:
            raise ServingError("busy", f"No turn came within {patience:.0f} s; try again in a moment.") from None
        self._computing += 1
        try:
            yield
        finally:
            self._computing -= 1
            self._turns.release()
