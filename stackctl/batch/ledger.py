"""How a batch keeps its SQLite files: the schema, names of any bytes, and errors that say whether to wait."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from stackctl.errors import StackctlError
from stackctl.store.errors import FULL, NoSpace, StoreGone

VERSION = 1
SCHEMA = """
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL, stem TEXT NOT NULL, size INTEGER NOT NULL, stamp TEXT NOT NULL,
    recipe TEXT NOT NULL, model_digest TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('done', 'quarantined')),
    input_digest TEXT NOT NULL,
    output TEXT NOT NULL, output_digest TEXT NOT NULL, output_size INTEGER NOT NULL, output_stamp TEXT NOT NULL,
    code TEXT NOT NULL, reason TEXT NOT NULL,
    seconds REAL NOT NULL, pixels INTEGER NOT NULL, out_pixels INTEGER NOT NULL,
    worker TEXT NOT NULL, run TEXT NOT NULL, at TEXT NOT NULL
);
CREATE INDEX records_of_run ON records (run);
CREATE TRIGGER records_stay_as_they_are BEFORE UPDATE ON records
    BEGIN SELECT raise(ABORT, 'records are never changed'); END;
CREATE TRIGGER records_stay BEFORE DELETE ON records
    BEGIN SELECT raise(ABORT, 'records are never deleted'); END;

-- What planning needs of each result's newest record, in the order of names; derived from records by the trigger alone.
CREATE TABLE latest (
    name TEXT NOT NULL, stem TEXT NOT NULL, record INTEGER NOT NULL,
    size INTEGER NOT NULL, stamp TEXT NOT NULL, recipe TEXT NOT NULL, status TEXT NOT NULL, input_digest TEXT NOT NULL,
    output TEXT NOT NULL, output_digest TEXT NOT NULL, output_size INTEGER NOT NULL, output_stamp TEXT NOT NULL,
    PRIMARY KEY (name, stem)
) WITHOUT ROWID;
CREATE TRIGGER records_become_latest AFTER INSERT ON records BEGIN
    INSERT OR REPLACE INTO latest VALUES (
        new.name, new.stem, new.id, new.size, new.stamp, new.recipe, new.status, new.input_digest,
        new.output, new.output_digest, new.output_size, new.output_stamp
    );
END;

-- What results are called: given once, and nobody else's from then on.
CREATE TABLE names (
    name TEXT NOT NULL, suffix TEXT NOT NULL, stem TEXT NOT NULL UNIQUE, PRIMARY KEY (name, suffix)
) WITHOUT ROWID;

-- Images that workers began with and that neither a record nor a death followed yet.
CREATE TABLE starts (
    name TEXT NOT NULL, stamp TEXT NOT NULL, worker TEXT NOT NULL, run TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (name, worker)
) WITHOUT ROWID;

-- `record` is the newest record at that time: what comes later has a higher number, whatever clocks say.
CREATE TABLE deaths (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, stamp TEXT NOT NULL, why TEXT NOT NULL, run TEXT NOT NULL,
    at TEXT NOT NULL, record INTEGER NOT NULL
);
CREATE INDEX deaths_of_image ON deaths (name);
"""


def opened(file: Path, schema: str) -> sqlite3.Connection:
    """Return a connection to a database, made by ``schema`` where there is none; every commit is on the disk.

    Raises:
        StackctlError: the file is none of ours, or of a newer version.
        NoSpace: the disk is full.
    """
    with translated(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = connect(file)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.executescript(f"BEGIN IMMEDIATE;\n{schema}\nPRAGMA user_version = {VERSION};\nCOMMIT;")
            elif version > VERSION:
                raise StackctlError(f"{file} was written by a newer stackctl.", "Update stackctl.")  # noqa: TRY301
        except BaseException:
            connection.close()
            raise
    return connection


def throwaway(file: Path, schema: str) -> sqlite3.Connection:
    """Return a connection to a new database on the disk of ``file``, which is gone with the connection or the process.

    Raises:
        sqlite3.Error: it cannot be made.
    """
    file.unlink(missing_ok=True)
    connection = connect(file)
    try:
        connection.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;{schema}")
    except BaseException:
        connection.close()
        raise
    finally:
        file.unlink(missing_ok=True)
    return connection


def connect(file: Path) -> sqlite3.Connection:
    """Return a connection whose texts may be any bytes, as names of files may be; transactions are begun by hand."""
    connection = sqlite3.connect(file, timeout=20, isolation_level=None, check_same_thread=False)
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    return connection


def raw(name: str) -> bytes:
    """Return a name's bytes, to be stored with ``CAST(? AS TEXT)``: SQLite takes no lone surrogates."""
    return name.encode("utf-8", "surrogateescape")


@contextlib.contextmanager
def translated(file: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        kind = error.sqlite_errorcode & 0xFF if getattr(error, "sqlite_errorcode", None) else 0
        if kind == sqlite3.SQLITE_FULL:
            raise NoSpace(f"{file} cannot grow: the disk is full.", "Make room.") from error
        if kind in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN}:
            raise StoreGone(f"{file} cannot be used now: {error}.", "Is its disk there, and not full?") from error
        if kind in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise StackctlError(
                f"{file} is damaged: {error}.",
                f"Move it away: mv {file} {file}.damaged. The next run makes every result again.",
            ) from error
        raise StackctlError(f"{file} cannot be used: {error}.") from error
    except OSError as error:
        if error.errno in FULL:
            raise NoSpace(f"{file} cannot be written: the disk is full.", "Make room.") from error
        raise StackctlError(f"{os.fspath(file)} cannot be used: {error.strerror}.") from error
