"""``stackctl promote``: bring a version into Production, and finish or undo a promotion that was interrupted."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import os
import socket
from collections.abc import Iterator

from stackctl.engines import Progress
from stackctl.errors import StackctlError
from stackctl.models import ModelVersion, Registry, resolve
from stackctl.models.clock import Clock, SystemClock
from stackctl.models.promoter import Promoter, going_on
from stackctl.models.promotion import Deadlines, Promotion, Recovery
from stackctl.models.servers import ModelServer
from stackctl.stack import Stack

LOCK_WAIT = 300.0


def promote(
    stack: Stack,
    model: str,
    version: str,
    *,
    wait: bool = True,
    progress: Progress,
    registry: Registry | None = None,
    deadlines: Deadlines | None = None,
    clock: Clock | None = None,
) -> Promotion:
    """Bring a version of a model into Production: prepare on every model server, then commit.

    Args:
        stack: the stack whose servers follow Production.
        model: the registered model.
        version: which version, in a person's words.
        wait: return only once every server serves it; nothing skips the preparation.
        progress: told what happens.
        registry: the registry to use instead of the stack's own.
        deadlines: how long to wait for what.
        clock: time.

    Raises:
        UnknownModel, UnknownVersion, UsageError: there is no such version.
        PromotionRefused: a gate or a server refused it; Production was not touched.
        Unhealthy: MLflow or a model server cannot be reached, or does not keep a deadline.
        StackctlError: another promotion of this model is going on.
    """
    ours = registry or Registry.of(stack)
    servers = [ModelServer(url) for url in stack.servers]
    try:
        with _exclusive(stack, progress, clock or SystemClock()):
            promoter = Promoter(ours, servers, owner=_owner(stack), progress=progress, deadlines=deadlines, clock=clock)
            wanted: ModelVersion = resolve(ours, model, version)
            found = promoter.recover(model)
            if found is not None:
                progress("recover", found.sentence)
                if found.outcome == "running":
                    raise StackctlError(found.sentence, "Wait for it, or promote again in a quarter of an hour.")
            return promoter.promote(wanted, wait=wait)
    finally:
        for server in servers:
            server.close()
        if registry is None:
            ours.close()


def recover(
    stack: Stack,
    model: str | None = None,
    *,
    progress: Progress | None = None,
    registry: Registry | None = None,
    deadlines: Deadlines | None = None,
    clock: Clock | None = None,
) -> Recovery | None:
    """Finish or undo a promotion that was interrupted; None where there is none.

    A promotion that is going on is left alone and reported as ``running``. Model servers are not asked: they follow.

    Raises:
        Unhealthy: MLflow does not answer.
        StackctlError: the journal cannot be read.
    """
    ours = registry or Registry.of(stack)
    tell: Progress = progress or (lambda _subject, _what: None)
    try:
        name = model or stack.settings.model
        with _lock_file(stack) as handle:
            if not _try_lock(handle):
                return going_on(ours, name)
            promoter = Promoter(ours, (), owner=_owner(stack), progress=tell, deadlines=deadlines, clock=clock)
            return promoter.recover(name)
    finally:
        if registry is None:
            ours.close()


@contextlib.contextmanager
def _exclusive(stack: Stack, progress: Progress, clock: Clock) -> Iterator[None]:
    """Hold the folder's promotion lock; another process that holds it is waited for."""
    with _lock_file(stack) as handle:
        deadline = clock.monotonic() + LOCK_WAIT
        while not _try_lock(handle):
            progress("lock", "another promotion from this folder is running; waiting for it")
            if clock.monotonic() > deadline:
                raise StackctlError("Another promotion from this folder has been running for too long.")
            clock.sleep(0.2)
        yield


@contextlib.contextmanager
def _lock_file(stack: Stack) -> Iterator[int]:
    stack.state.mkdir(parents=True, exist_ok=True)
    handle = os.open(stack.state / "promote.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(stack: Stack) -> str:
    """Return who promotes: user, machine and a short hash of the stack's folder."""
    folder = hashlib.sha256(os.fsencode(stack.home)).hexdigest()[:8]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}#{folder}"
