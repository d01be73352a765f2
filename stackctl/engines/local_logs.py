"""Reads the services' log files: the last lines, from a moment on, and on and on."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from stackctl.engines.local_log_times import place_at
from stackctl.errors import UsageError

POLL = 0.25
BLOCK = 1 << 16
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_UNITS = (86_400, 3_600, 60, 1)


def since_time(text: str, now: float) -> float:
    """Return the moment that ``10m``, ``2h``, ``1h30m``, ``90s``, ``3d`` or an ISO date and time means (epoch seconds).

    A time without a zone is local time.

    Raises:
        UsageError: it is neither.
    """
    match = _DURATION.fullmatch(text)
    if text and match:
        return now - sum(int(number or 0) * unit for number, unit in zip(match.groups(), _UNITS, strict=True))
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise UsageError(
            f"`{text}` is no moment.", "Say how long ago (10m, 2h, 1d) or when (2026-01-31T09:00:00)."
        ) from error


def read_logs(
    folder: Path, services: Sequence[str], *, follow: bool, tail: int | None, since: str | None
) -> Generator[str, None, None]:
    """Yield ``NAME | line`` for each line, service by service; with ``follow`` go on with new lines as they come.

    Args:
        folder: where ``NAME.log`` and its rotated ``NAME.log.1``, ``.2`` lie.
        services: names, in the order wanted.
        follow: go on until the iterator is closed.
        tail: at most so many lines per service at first.
        since: see ``since_time``; exact to 5 s.
    """
    moment = since_time(since, time.time()) if since is not None else None
    width = max((len(name) for name in services), default=0)
    prefixes = {name: f"{name:<{width}} | " for name in services}
    followers = {name: _Follower(folder / f"{name}.log") for name in services} if follow else {}
    for name in services:
        for line in _kept(folder / f"{name}.log", tail, moment):
            yield prefixes[name] + line
    while follow:
        quiet = True
        for name, follower in followers.items():
            for line in follower.new_lines():
                quiet = False
                yield prefixes[name] + line
        if quiet:
            time.sleep(POLL)


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines of a log file, without reading the rest of it; empty when there is none."""
    try:
        with log.open("rb") as handle:
            end = handle.seek(0, 2)
            data = b""
            while end > 0 and data.count(b"\n") <= count:
                start = max(0, end - BLOCK)
                handle.seek(start)
                data = handle.read(end - start) + data
                end = start
    except FileNotFoundError:
        return []
    return data.decode(errors="replace").splitlines()[-count:] if count else []


def _kept(log: Path, tail: int | None, moment: float | None) -> Iterator[str]:
    if moment is None and tail is not None:
        yield from last_lines(log, tail)
        return
    lines = _all_lines(log, moment)
    yield from lines if tail is None else deque(lines, maxlen=tail)


def _all_lines(log: Path, moment: float | None) -> Iterator[str]:
    places = place_at(log, moment) if moment is not None else {}
    for file in _with_rotated(log):
        try:
            with file.open("rb") as handle:
                status = file.stat()
                if moment is not None and status.st_mtime < moment:
                    continue
                handle.seek(min(places.get(status.st_ino, 0), status.st_size))
                for line in handle:
                    yield line.decode(errors="replace").rstrip("\r\n")
        except FileNotFoundError:
            continue


def _with_rotated(log: Path) -> list[Path]:
    """Return a log's files, oldest first."""
    rotated = [file for file in log.parent.glob(f"{log.name}.*") if file.suffix[1:].isdigit()]
    return [*sorted(rotated, key=lambda file: -int(file.suffix[1:])), log]


class _Follower:
    """What is appended to a log from now on, across its rotation."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._rest = b""
        self._inode, self._offset = 0, 0
        if log.exists():
            status = log.stat()
            self._inode, self._offset = status.st_ino, status.st_size

    def new_lines(self) -> list[str]:
        lines: list[str] = []
        if self._inode and self._current() != self._inode:
            lines += self._read(self._rotated())
            self._inode, self._offset = 0, 0
        if not self._inode:
            self._inode = self._current()
        return lines + self._read(self._log)

    def _current(self) -> int:
        try:
            return self._log.stat().st_ino
        except FileNotFoundError:
            return 0

    def _rotated(self) -> Path | None:
        candidate = self._log.with_name(f"{self._log.name}.1")
        return candidate if candidate.exists() and candidate.stat().st_ino == self._inode else None

    def _read(self, file: Path | None) -> list[str]:
        try:
            if file is None or file.stat().st_size <= self._offset:
                return []
            with file.open("rb") as handle:
                handle.seek(self._offset)
                data = self._rest + handle.read()
                self._offset = handle.tell()
        except FileNotFoundError:
            return []
        *lines, self._rest = data.split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines]
