"""Calls that come to an end, whatever a disk does: a mount whose server is gone may never answer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from stackctl.store.errors import StoreGone

Answer = TypeVar("Answer")
QUICK_SECONDS = 30.0
"""In which a place answers a question that costs it nothing."""


class NoAnswer(StoreGone):
    """A place took longer for an answer than anybody waits."""


def in_time(seconds: float, where: str, call: Callable[[], Answer]) -> Answer:
    """Return what a call returns; it is made in a thread of its own, which is left to itself where it never ends.

    Args:
        seconds: that it may take; 0 is any time.
        where: what is asked, for the error.
        call: the question.

    Raises:
        NoAnswer: it took longer.
    """
    if seconds <= 0:
        return call()
    said: queue.SimpleQueue[tuple[Answer | None, BaseException | None]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            said.put((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is awaited
            said.put((None, error))

    threading.Thread(target=ask, name="stackctl-batch-ask", daemon=True).start()
    try:
        answer, error = said.get(timeout=seconds)
    except queue.Empty:
        raise NoAnswer(
            f"{where} did not answer for {seconds:g} s.", "Is it mounted, and does its server run?"
        ) from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]
