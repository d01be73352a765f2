"""What a run wants to tell MLflow, on disk until MLflow has it: a kill loses nothing, nothing waits for the network.

One SQLite file per run. Whoever delivers holds a lock that the kernel takes back when its process dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["run", "log", "file", "end"]

FILE = "outbox.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, run TEXT NOT NULL, body TEXT NOT NULL,
    tried INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS known (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, run TEXT NOT NULL, why TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Item:
    """One thing to tell.

    Attributes:
        kind: a run to be created, values to log, a file to upload, the end of a run.
        run: the run it is about, by the name it has in this outbox (MLflow's id is known once it is created).
        body: the rest, by kind.
    """

    kind: Kind
    run: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Waiting:
    """An item in the outbox; ``tried``: MLflow may have it already."""

    number: int
    tried: bool
    item: Item


class Outbox:
    """The items of one run that MLflow does not have yet. Safe to call from several threads."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._unwritten: list[Item] = []
        self._base = sqlite3.connect(file, timeout=20, isolation_level=None, check_same_thread=False)
        self._base.execute("PRAGMA synchronous = OFF")  # a kill takes nothing from the kernel; each fsync cost 17 ms
        self._base.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()

    def put(self, *items: Item) -> None:
        """Add items; never fails: what a full disk does not take is kept in memory until the next call."""
        with self._lock:
            self._unwritten += items
            try:
                self._write()
            except sqlite3.Error:  # the disk is full or gone: the run itself says so
                return

    def waiting(self, limit: int = 100) -> list[Waiting]:
        """Return the oldest items."""
        with self._lock:
            rows = self._base.execute("SELECT * FROM items ORDER BY number LIMIT ?", (limit,)).fetchall()
        return [Waiting(row[0], bool(row[4]), Item(row[1], row[2], json.loads(row[3]))) for row in rows]

    def left(self) -> int:
        """Return how many items wait."""
        with self._lock:
            in_file: int = self._base.execute("SELECT count(*) FROM items").fetchone()[0]
            return in_file + len(self._unwritten)

    def trying(self, number: int) -> None:
        """Remember that an item is about to be sent."""
        self._change("UPDATE items SET tried = 1 WHERE number = ?", number)

    def delivered(self, numbers: Iterable[int], known: Mapping[str, str] | None = None) -> None:
        """Forget items that MLflow has, and keep what it answered, in one transaction."""
        with self._lock, self._transaction():
            self._base.executemany("DELETE FROM items WHERE number = ?", [(number,) for number in numbers])
            self._base.executemany("INSERT OR REPLACE INTO known VALUES (?, ?)", list((known or {}).items()))

    def refused(self, waiting: Waiting, why: str) -> None:
        """Set an item aside that MLflow will never take."""
        with self._lock, self._transaction():
            self._base.execute("DELETE FROM items WHERE number = ?", (waiting.number,))
            row = (waiting.number, waiting.item.kind, waiting.item.run, why)
            self._base.execute("INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)", row)

    def refusals(self) -> list[str]:
        """Return why items were refused, oldest first."""
        with self._lock:
            rows = self._base.execute("SELECT kind, run, why FROM refused ORDER BY number").fetchall()
        return [f"{kind} of {run}: {why}" for kind, run, why in rows]

    def remember(self, key: str, value: str) -> None:
        """Keep a fact for whoever delivers later."""
        self._change("INSERT OR REPLACE INTO known VALUES (?, ?)", key, value)

    def known(self, key: str) -> str | None:
        """Return a fact, or None."""
        with self._lock:
            row = self._base.execute("SELECT value FROM known WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def open_runs(self) -> list[str]:
        """Return the runs that were begun and whose end nobody has told, in the order of their beginning."""
        with self._lock:
            rows = self._base.execute("SELECT key FROM known WHERE key LIKE 'open:%' ORDER BY rowid").fetchall()
        return [str(row[0]).removeprefix("open:") for row in rows]

    def _change(self, statement: str, *values: object) -> None:
        with self._lock:
            self._base.execute(statement, values)

    def _write(self) -> None:
        with self._transaction():
            for item in self._unwritten:
                row = (item.kind, item.run, json.dumps(item.body))
                self._base.execute("INSERT INTO items (kind, run, body) VALUES (?, ?, ?)", row)
                if item.kind == "run":
                    self._base.execute("INSERT OR REPLACE INTO known VALUES (?, '')", (f"open:{item.run}",))
                elif item.kind == "end":
                    self._base.execute("DELETE FROM known WHERE key = ?", (f"open:{item.run}",))
        self._unwritten.clear()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")


@contextmanager
def delivering(folder: Path) -> Iterator[bool]:
    """Hold the right to deliver the outbox in ``folder``; yields whether it was to be had."""
    descriptor = os.open(folder / "outbox.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
