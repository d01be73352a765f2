"""Answers requests for the model: bounds them, hands them to the serving version, survives that version's process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stackctl.serving.child_process import Child
from stackctl.serving.errors import ChildGone, ServingError
from stackctl.serving.events import event
from stackctl.serving.exchange import Answer
from stackctl.serving.gate import Gate
from stackctl.serving.lineup import Lineup
from stackctl.serving.metrics import Metrics
from stackctl.serving.settings import ServingSettings
from stackctl.serving.slot import Slot

BODY_SECONDS = 60.0
WAITS = 3
REPLACED_SECONDS = 30.0
DEATH_SECONDS = 1.0
DISCARDED_FACTOR = 8
SERVER_ERROR = 500
Question = tuple[str, str, Iterable[tuple[bytes, bytes]], bytes]  # method, target, headers, body
INVOCATIONS = "/invocations"


class Front:
    """Forwards requests to whichever version serves when their turn comes."""

    def __init__(self, settings: ServingSettings, lineup: Lineup, metrics: Metrics) -> None:
        self._settings = settings
        self._lineup = lineup
        self._metrics = metrics
        self._gate = Gate(settings.concurrency, settings.queue)
        self._again = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.watch(lambda: self._gate.computing, lambda: self._gate.waiting)

    async def forward(self, request: Request) -> Response:
        """Answer one request with what the serving version says, or with an error."""
        path = request.url.path
        started = time.monotonic()
        try:
            _check_type(request)
            with self._gate.admitted():
                body = await self._body(request)
                answer = await self._answer(request, body)
            response = Response(answer.body, answer.status)
            response.raw_headers.extend(answer.headers)
        except ServingError as error:
            self._metrics.rejected.labels(error.code).inc()
            if error.status >= SERVER_ERROR:
                event("request_refused", path=path, code=error.code, reason=error.message)
            response = Response(error.body, error.status, error.headers)
        self._metrics.requests.labels(path, str(response.status_code)).inc()
        self._metrics.seconds.labels(path).observe(time.monotonic() - started)
        return response

    async def _answer(self, request: Request, body: bytes) -> Answer:
        """Ask the serving version; a process that dies under the request is asked once more when it is back.

        Raises:
            ServingError: nobody can answer.
        """
        target = request.scope["raw_path"].decode("latin-1")
        if request.scope["query_string"]:
            target += f"?{request.scope['query_string'].decode('latin-1')}"
        question = (request.method, target, request.headers.raw, body)
        async with self._gate.turn(self._settings.timeout):
            try:
                return await self._asked(question)
            except ChildGone:
                pass
            async with self._again:  # one at a time: the request that kills does not take the others with it twice
                try:
                    return await self._asked(question)
                except ChildGone as error:
                    raise ServingError(
                        "internal", f"The model's process died twice while it worked on this request: it {error}"
                    ) from error

    async def _asked(self, question: Question) -> Answer:
        """Ask the serving version once.

        Raises:
            ChildGone: its process died; the message says how.
            ServingError: it took too long, or nothing is served.
        """
        slot, child = await self._child()
        slot.tally.requests += 1
        limit = self._settings.timeout
        try:
            answer = await asyncio.wait_for(child.ask(*question), limit)
        except ChildGone as error:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.exited.wait(), DEATH_SECONDS)
            raise ChildGone(str(error) if child.alive else child.how_it_ended) from error
        except TimeoutError:
            child.kill("timeout", f"a request took longer than {limit:g} s")
            task = asyncio.create_task(self._blame(slot, question))  # its client has waited long enough
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            raise ServingError("timeout", f"The request took longer than {limit:g} s and was stopped.") from None
        if answer.status >= SERVER_ERROR:
            await self._blame(slot, question)
        else:
            self._lineup.answered(slot, failed=False)
        return answer

    async def _blame(self, slot: Slot, question: Question) -> None:
        """Count a request that failed against its version, unless the version before it fails on it too."""
        old = self._lineup.before(slot)
        self._lineup.answered(slot, failed=old is None or await self._can(old, question))

    async def _can(self, slot: Slot, question: Question) -> bool:
        """Return whether a version answers a request without an error of its own, in time."""
        if not slot.ready:
            return False
        child = await slot.child()
        limit = self._settings.timeout
        try:
            answer = await asyncio.wait_for(child.ask(*question), limit)
        except ChildGone:
            return False
        except TimeoutError:
            child.kill("timeout", f"a request took longer than {limit:g} s")
            return False
        return answer.status < SERVER_ERROR

    async def _child(self) -> tuple[Slot, Child]:
        """Return the serving version and its process, waiting while it is being replaced.

        Raises:
            ServingError: no version is served.
        """
        for _ in range(WAITS):
            slot = self._lineup.serving
            if slot is None:
                break
            try:
                return slot, await asyncio.wait_for(slot.child(), max(self._settings.timeout, REPLACED_SECONDS))
            except ChildGone:  # another version took its place meanwhile
                continue
            except TimeoutError:
                raise ServingError("no_model", "The model's process is being replaced; try again.") from None
        raise ServingError("no_model", f"No version of {self._settings.model} is being served yet.")

    async def _body(self, request: Request) -> bytes:
        """Read the body.

        Raises:
            ServingError: it is too large, or does not arrive.
        """
        limit = self._settings.max_bytes
        declared = request.headers.get("content-length", "")
        chunks: list[bytes] = []
        size = 0
        too_large = declared.isdecimal() and int(declared) > limit
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    too_large = too_large or size > limit
                    if not too_large:
                        chunks.append(chunk)
                    elif size > limit * DISCARDED_FACTOR:  # a client that is answered early may never read the answer
                        break
        except TimeoutError:
            raise ServingError("timeout", f"The request's body did not arrive within {BODY_SECONDS:.0f} s.") from None
        except ClientDisconnect:
            raise ServingError("bad_option", "The client went away.") from None
        if too_large:
            raise ServingError("too_large", f"The request's body is larger than {limit} bytes.")
        return b"".join(chunks)


def _check_type(request: Request) -> None:
    """Refuse what MLflow's scoring app would answer with an internal error: a request that names no content type.

    Raises:
        ServingError: it names none.
    """
    if request.url.path == INVOCATIONS and not request.headers.get("content-type"):
        raise ServingError("unsupported_format", "The request names no Content-Type: application/json or text/csv.")
