"""Clients of a model server: they send one image again and again and keep what each answer was."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from calls import answer_calls

TIMEOUT_SECONDS = 60.0
_stop = threading.Event()
_running: list[threading.Thread] = []
_answers: list[list[tuple[str, float, float]]] = []


def _ask(line: http.client.HTTPConnection, body: bytes) -> str:
    """Return what an answer was: ``VERSION SHA256`` or the kind of failure."""
    try:
        line.request("POST", "/v1/image?format=png&precision=fp32", body, {"Content-Type": "image/png"})
        answer = line.getresponse()
        data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        line.close()
        return f"failed {type(error).__name__}: {error}"
    if answer.status != http.client.OK:
        return f"failed HTTP {answer.status}: {data[:200].decode(errors='replace')}"
    return f"{answer.headers['X-Stackctl-Model-Version']} {hashlib.sha256(data).hexdigest()}"


def _client(url: str, body: bytes, kept: list[tuple[str, float, float]]) -> None:
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_SECONDS)
    while not _stop.is_set():
        began = time.time()
        kept.append((_ask(line, body), began, time.time() - began))


def begin(url: str, image: str, clients: int) -> None:
    """Start the clients."""
    _stop.clear()
    body = Path(image).read_bytes()
    for _ in range(clients):
        kept: list[tuple[str, float, float]] = []
        _answers.append(kept)
        _running.append(threading.Thread(target=_client, args=(url, body, kept), daemon=True))
        _running[-1].start()


def end() -> dict[str, object]:
    """Stop the clients; return how often each answer came, and the seconds of every answered request."""
    _stop.set()
    for thread in _running:
        thread.join(TIMEOUT_SECONDS)
    answers = [each for kept in _answers for each in kept]
    found = {
        "answers": dict(Counter(what for what, _, _ in answers)),
        "seconds": [spent for what, _, spent in answers if not what.startswith("failed")],
    }
    _running.clear()
    _answers.clear()
    return found


def once(url: str, image: str) -> tuple[str, float]:
    """Send one request on a connection of its own; return its answer and its seconds."""
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_SECONDS)
    began = time.perf_counter()
    what = _ask(line, Path(image).read_bytes())
    spent = time.perf_counter() - began
    line.close()
    return what, spent


if __name__ == "__main__":
    answer_calls({function.__name__: function for function in (begin, end, once)})
