"""One HTTP exchange with a child over its Unix socket.

A client library costs 12 to 15 ms more for a 2 MB answer (docs/decisions/0040), and a connection is never reused:
a child may have been replaced in between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from stackctl.serving.errors import ChildGone

BUFFER_BYTES = 4 * 1024 * 1024
LONGEST_HEAD = 64 * 1024
Headers = tuple[tuple[bytes, bytes], ...]
_HOP_BY_HOP = frozenset(
    {b"connection", b"content-length", b"transfer-encoding", b"keep-alive", b"host", b"expect", b"te", b"upgrade"}
)


@dataclass(frozen=True)
class Answer:
    """What a child answered: status, headers (lower-case names, those of the connection left out) and body."""

    status: int
    headers: Headers
    body: bytes


async def exchange(
    socket: str, method: str, target: str, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> Answer:
    """Send one request to the child that listens on ``socket`` and return its answer.

    Raises:
        ChildGone: nobody listens, or the connection broke.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(socket, limit=BUFFER_BYTES)
    except OSError as error:
        raise ChildGone(f"nobody answers ({error.__class__.__name__})") from error
    try:
        writer.write(_head(method, target, headers, len(body)))
        writer.write(body)
        await writer.drain()
        return await _answer(reader)
    except (OSError, EOFError, ValueError) as error:
        raise ChildGone(f"the connection broke ({error.__class__.__name__})") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers without those that belong to one connection."""
    return tuple((name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP)


def _head(method: str, target: str, headers: Iterable[tuple[bytes, bytes]], length: int) -> bytes:
    lines = [f"{method} {target} HTTP/1.0".encode(), b"host: child", f"content-length: {length}".encode()]
    lines += [name + b": " + value for name, value in passed_on(headers)]
    return b"\r\n".join([*lines, b"", b""])


async def _answer(reader: asyncio.StreamReader) -> Answer:
    """Read an answer; to a request of HTTP/1.0 it has a length, or ends with the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    status = int(head[0].split(b" ", 2)[1])
    headers = tuple(
        (name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in head[1:] if line)
    )
    length = next((int(value) for name, value in headers if name == b"content-length"), None)
    body = await reader.read() if length is None else await reader.readexactly(length)
    return Answer(status, passed_on(headers), body)
