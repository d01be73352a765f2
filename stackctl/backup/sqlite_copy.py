"""Copies of SQLite databases that others write to all the time.

One step, not pages by and by: a copy in parts starts again whenever somebody writes, and never ends under a writer.
Writers wait while it runs, so it waits for no disk: the copy is written through afterwards.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stackctl.backup.documents import flush
from stackctl.errors import StackctlError

PATIENCE = 120.0
"""Seconds that a writer may keep the database to itself."""
PAUSE = 0.001
MAPPED = 1 << 30
"""Bytes of the database that are read through the memory map: writers wait half as long then."""


@dataclass(frozen=True)
class Copied:
    """A copy: its bytes, and for how many seconds writers had to wait at most."""

    size: int
    locked: float


def copy_database(source: Path, target: Path) -> Copied:
    """Copy a live database as it is at one moment, and check the copy.

    Raises:
        StackctlError: it is not there, is none, is locked for too long, or is damaged.
    """
    if not source.is_file():
        raise StackctlError(f"There is no database {source}.", "See whether MLflow runs with `stackctl status`.")
    try:
        locked = _copy(source, target)
        flush(target)
        _check(source, target)
    except sqlite3.Error as error:
        raise StackctlError(f"The database {source} cannot be copied: {error}.", _hint(source, target)) from error
    return Copied(target.stat().st_size, locked)


def damage_of(database: Path) -> list[str]:
    """Return what SQLite finds damaged in a database that nobody writes to."""
    return _ask(database, "PRAGMA integrity_check", lambda row: None if row[0] == "ok" else str(row[0]))


def dangling_in(database: Path) -> list[str]:
    """Return the references in a database, which nobody writes to, that lead nowhere."""
    return _ask(
        database,
        "PRAGMA foreign_key_check",
        lambda row: f"Row {row[1]} of {row[0]} in {database.name} refers to a row of {row[2]} that is not there.",
    )


def rows_in(database: Path, tables: Iterable[str]) -> dict[str, int]:
    """Return how many rows tables have in a database that nobody writes to; one that is not there has none."""
    uri = f"file:{quote(str(database))}?mode=ro&immutable=1"
    found = dict.fromkeys(tables, 0)
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        for table in found:
            with contextlib.suppress(sqlite3.Error):
                found[table] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
    return found


def _ask(database: Path, question: str, sentence: Callable[[tuple[Any, ...]], str | None]) -> list[str]:
    uri = f"file:{quote(str(database))}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            return [text for row in connection.execute(question) if (text := sentence(row))]
    except sqlite3.Error as error:
        return [str(error)]


def _copy(source: Path, target: Path) -> float:
    # Opened for writing, though nothing is written: SQLite can then roll back what a crashed server left half done.
    live = sqlite3.connect(f"file:{quote(str(source))}?mode=rw", uri=True, timeout=0, isolation_level=None)
    copy = sqlite3.connect(target)
    with contextlib.closing(live), contextlib.closing(copy):
        copy.execute("PRAGMA journal_mode=OFF")
        copy.execute("PRAGMA synchronous=OFF")
        copy.execute("PRAGMA locking_mode=EXCLUSIVE")
        live.execute(f"PRAGMA mmap_size={MAPPED}")
        _begin(live, source)
        begun = time.monotonic()
        live.backup(copy)
        return time.monotonic() - begun


def _begin(live: sqlite3.Connection, source: Path) -> None:
    """Begin to read. SQLite's own waiting looks ever more rarely, and hardly finds a gap between a writer's writes."""
    deadline = time.monotonic() + PATIENCE
    live.execute("BEGIN")
    while True:
        try:
            live.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY}:
                raise
            if time.monotonic() > deadline:
                raise StackctlError(
                    f"The database {source} was locked for {PATIENCE:.0f} s.", "See what writes to it."
                ) from error
            time.sleep(PAUSE)
        else:
            return


def _check(source: Path, copy: Path) -> None:
    if problems := damage_of(copy):
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise StackctlError(
            f"The database {source} is damaged: {'; '.join(problems[:3])}{more}. No snapshot was taken of it.",
            "The snapshots before are as they were: bring one back with `stackctl restore`.",
        )


def _hint(source: Path, target: Path) -> str:
    return f"See that this user may read {source} and write to {target.parent}, and that there is room."
