"""Copies of a database that somebody writes to all the time."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest
from support.waiting import PATIENCE

from stackctl.backup.sqlite_copy import copy_database, damage_of, dangling_in
from stackctl.errors import StackctlError


class Writer(threading.Thread):
    """Writes a row for each number, and remembers when each was there."""

    def __init__(self, database: Path) -> None:
        super().__init__(daemon=True)
        self.database = database
        self.acknowledged = 0
        self.over = threading.Event()
        self.begun = threading.Event()

    def run(self) -> None:
        """Write until told to stop."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=PATIENCE, isolation_level=None)) as connection:
            while not self.over.is_set():
                connection.execute("INSERT INTO rows (data) VALUES (randomblob(200))")
                self.acknowledged += 1
                self.begun.set()


def _database(file: Path, megabytes: int) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, data BLOB)")
        connection.executemany("INSERT INTO rows (data) VALUES (randomblob(?))", [(1 << 20,)] * megabytes)


def test_a_copy_under_a_constant_writer_ends_and_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    megabytes = 5
    _database(tmp_path / "live.db", megabytes)
    writer = Writer(tmp_path / "live.db")
    writer.start()
    try:
        assert writer.begun.wait(PATIENCE)
        for number in range(3):
            acknowledged = writer.acknowledged
            copy_database(tmp_path / "live.db", tmp_path / f"copy{number}.db")
            with contextlib.closing(sqlite3.connect(tmp_path / f"copy{number}.db")) as connection:
                (rows,) = connection.execute("SELECT count(*) FROM rows").fetchone()
            assert rows - megabytes >= acknowledged
    finally:
        writer.over.set()
        writer.join()


def test_copies_of_the_same_content_are_the_same_bytes(tmp_path: Path) -> None:
    _database(tmp_path / "live.db", 1)
    copy_database(tmp_path / "live.db", tmp_path / "one.db")
    copy_database(tmp_path / "live.db", tmp_path / "two.db")
    assert (tmp_path / "one.db").read_bytes() == (tmp_path / "two.db").read_bytes()
    assert damage_of(tmp_path / "one.db") == dangling_in(tmp_path / "one.db") == []


def test_what_a_crashed_server_left_half_done_is_rolled_back(tmp_path: Path) -> None:
    import multiprocessing
    import os
    import signal

    _database(tmp_path / "live.db", 1)

    def crash() -> None:
        connection = sqlite3.connect(tmp_path / "live.db", isolation_level=None)
        connection.execute("PRAGMA cache_size = 2")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE rows SET data = zeroblob(1048576)")
        connection.execute("INSERT INTO rows (data) VALUES (randomblob(3000000))")
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=crash)
    process.start()
    process.join()
    assert (tmp_path / "live.db-journal").stat().st_size > 0
    copy_database(tmp_path / "live.db", tmp_path / "copy.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("SELECT count(*), max(hex(substr(data, 1, 8))) FROM rows").fetchone()[0] == 1
        assert connection.execute("SELECT count(*) FROM rows WHERE data = zeroblob(1048576)").fetchone()[0] == 0


def test_a_database_that_somebody_keeps_to_himself_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stackctl.backup import sqlite_copy

    monkeypatch.setattr(sqlite_copy, "PATIENCE", 0.2)
    _database(tmp_path / "live.db", 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "live.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StackctlError, match="locked"):
            copy_database(tmp_path / "live.db", tmp_path / "copy.db")
    copy_database(tmp_path / "live.db", tmp_path / "copy2.db")
