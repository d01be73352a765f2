"""Answers requests for the model: bounds them, hands them to the serving version, survives that version's process."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stackctl.serving.errors import ChildGone, ServingError
from stackctl.serving.events import event
from stackctl.serving.exchange import Answer
from stackctl.serving.gate import Gate
from stackctl.serving.lineup import Lineup
from stackctl.serving.metrics import Metrics
from stackctl.serving.settings import ServingSettings

BODY_SECONDS = 60.0
SENDS = 2
WAITS = 3
DISCARDED_FACTOR = 8
SERVER_ERROR = 500


class Front:
    """Forwards requests to whichever version serves when their turn comes."""

    def __init__(self, settings: ServingSettings, lineup: Lineup, metrics: Metrics) -> None:
        self._settings = settings
        self._lineup = lineup
        self._metrics = metrics
        self._gate = Gate(settings.concurrency, settings.queue)
        metrics.watch(lambda: self._gate.computing, lambda: self._gate.waiting)

    async def forward(self, request: Request) -> Response:
        """Answer one request with what the serving version says, or with an error."""
        path = request.url.path
        started = time.monotonic()
        try:
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
        sends, died = 0, ""
        async with self._gate.turn(self._settings.timeout):
            for _ in range(WAITS):
                slot = self._lineup.serving
                if slot is None:
                    raise ServingError("no_model", f"No version of {self._settings.model} is being served yet.")
                try:
                    child = await asyncio.wait_for(slot.child(), self._settings.timeout)
                    sends += 1
                    work = child.ask(request.method, target, request.headers.raw, body)
                    return await asyncio.wait_for(work, self._settings.timeout)
                except ChildGone as error:
                    died = str(error)
                    if sends >= SENDS:
                        break
                except TimeoutError:
                    if sends == 0 or not child.alive:
                        raise ServingError("no_model", "The model's process is being replaced; try again.") from None
                    child.kill()
                    self._metrics.killed.inc()
                    event(
                        "killed",
                        version=slot.version.version,
                        pid=child.pid,
                        reason="request timed out",
                        path=request.url.path,
                    )
                    raise ServingError(
                        "timeout", f"The request took longer than {self._settings.timeout:g} s and was stopped."
                    ) from None
        raise ServingError("internal", f"The model's process died twice while it worked on this request ({died}).")

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
