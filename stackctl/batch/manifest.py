"""The manifest of a batch: what became of every input, appended once, never changed, on the disk before it counts."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, astuple, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from stackctl.batch.ledger import SCHEMA, opened, raw, translated

UNCHANGED = "unchanged"
"""Code of a record that says: only stamps had moved, the result on hand is the right one."""
SUSPECTED = "suspected"
"""Why of a death that counts for nothing yet: the whole run ended while a worker had the image among others."""
FEARED = "alone"
"""Why of a death that is counted before the try that may bring it."""
Status = Literal["done", "quarantined"]


@dataclass(frozen=True, slots=True)
class Record:
    """What one attempt at one input came to.

    Attributes:
        name: of the input, below the input place.
        stem: name of its result without the ending, below the output place.
        size: bytes of the input.
        stamp: of the input, as its place lists it.
        recipe: digest of all that changes a result's bytes.
        model_digest: of the model version.
        status: ``done`` or ``quarantined``.
        input_digest: SHA-256 of the input's bytes.
        output: name of the result.
        output_digest: SHA-256 of its bytes.
        output_size: its bytes.
        output_stamp: as its place lists it.
        code: why it was quarantined, in one word; ``UNCHANGED`` where nothing had to be done.
        reason: the same in a sentence.
        seconds: that it took.
        pixels: of the input.
        out_pixels: of the result.
        worker: that did it.
        run: of which it was part.
        at: when it was appended (UTC, ISO 8601).
    """

    name: str
    stem: str
    size: int
    stamp: str
    recipe: str
    model_digest: str
    status: Status
    input_digest: str = ""
    output: str = ""
    output_digest: str = ""
    output_size: int = 0
    output_stamp: str = ""
    code: str = ""
    reason: str = ""
    seconds: float = 0.0
    pixels: int = 0
    out_pixels: int = 0
    worker: str = ""
    run: str = ""
    at: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of the inputs of one run; pixels, bytes and seconds are those of its ``done`` records.

    Attributes:
        done: results made.
        unchanged: results on hand that were found to be right.
        quarantined: inputs that have none.
        pixels: of the inputs.
        out_pixels: of the results.
        seconds: of work, over all workers.
        in_bytes: of the inputs.
        out_bytes: of the results.
    """

    done: int
    unchanged: int
    quarantined: int
    pixels: int
    out_pixels: int
    seconds: float
    in_bytes: int
    out_bytes: int


_COLUMNS = tuple(field.name for field in fields(Record))
_TEXT = frozenset({"name", "stem", "output", "reason"})
_INSERT = (
    f"INSERT INTO records ({', '.join(_COLUMNS)}) "  # noqa: S608 - our own column names
    f"VALUES ({', '.join('CAST(? AS TEXT)' if column in _TEXT else '?' for column in _COLUMNS)})"
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM records "  # noqa: S608 - our own column names
_IS_BAD = (
    "status = 'quarantined' AND EXISTS (SELECT 1 FROM latest "
    "WHERE latest.name = records.name AND latest.stem = records.stem AND latest.record = records.id)"
)
_TEXT_AT = tuple(number for number, column in enumerate(_COLUMNS) if column in _TEXT)


def key(input_url: str, output_url: str) -> str:
    """Return a short name for a pair of places."""
    return hashlib.sha256(os.fsencode(f"{input_url}\n{output_url}")).hexdigest()[:16]


def file_of(folder: Path, input_url: str, output_url: str) -> Path:
    """Return where in ``folder`` the manifest of a pair of places is kept."""
    return folder / f"{key('', output_url)}-{key(input_url, output_url)}.sqlite"


def others_of(file: Path) -> list[Path]:
    """Return the manifests beside ``file`` whose results go to the same place from other inputs."""
    place = file.name.partition("-")[0]
    return sorted(other for other in file.parent.glob(f"{place}-*.sqlite") if other != file)


class Manifest:
    """The records of all runs between one pair of places; safe to share between threads.

    Attributes:
        file: the SQLite database.
    """

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self.file = file
        self._connection = connection
        self._lock = threading.RLock()
        self._starts: dict[tuple[str, str], tuple[Any, ...]] = {}

    @classmethod
    def open(cls, file: Path) -> Manifest:
        """Open the manifest in ``file``, which is made where there is none.

        Raises:
            StackctlError: the file is no manifest, or one of a newer version.
            NoSpace: the disk is full.
        """
        return cls(file, opened(file, SCHEMA))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; starts that no record followed are kept."""
        with contextlib.suppress(Exception):
            self.flush()
        with self._lock:
            self._connection.close()

    def append(self, records: Iterable[Record]) -> None:
        """Keep records, all or none of them; they are on the disk when this returns.

        Raises:
            NoSpace: the disk is full; append them again later.
            StoreGone: the disk does not answer; append them again later.
        """
        now = _now()
        kept = [record if record.at else replace(record, at=now) for record in records]
        rows = [_row(record) for record in kept]
        names = {record.name for record in kept}
        with self._transaction(names) as connection:
            connection.executemany(_INSERT, rows)

    def started(self, name: str, worker: str, run: str, stamp: str = "") -> None:
        """Remember that a worker began with an image; it is on the disk with what is kept next, or with ``flush``."""
        with self._lock:
            self._starts[name, worker] = (raw(name), stamp, worker, run, _now())

    def flush(self) -> None:
        """Keep the starts that were remembered."""
        with self._lock:
            if self._starts:
                with self._transaction():
                    pass

    @property
    def has_starts(self) -> bool:
        """Return whether starts are remembered that are not on the disk."""
        return bool(self._starts)

    def forget_starts(self) -> None:
        """Forget every start: the images were not in work when something ended, or somebody wanted that end."""
        with self._lock:
            self._starts.clear()
            with self._transaction() as connection:
                connection.execute("DELETE FROM starts")

    def suspect_started(self, meant: Callable[[str], bool] = lambda _: False) -> None:
        """Suspect the images that workers had begun when their coordinator ended without a word.

        Args:
            meant: tells of a run whether somebody wanted its end: that suspects nobody, and no death was to be feared.
        """
        with self._transaction() as connection:
            found = "SELECT run FROM starts UNION SELECT run FROM deaths WHERE why = ?"
            for run in [run for (run,) in connection.execute(found, (FEARED,)) if meant(run)]:
                connection.execute("DELETE FROM starts WHERE run = ?", (run,))
                connection.execute("DELETE FROM deaths WHERE run = ? AND why = ?", (run, FEARED))
            connection.execute(
                "INSERT INTO deaths (name, stamp, why, run, at, record) "
                "SELECT name, stamp, ?, run, ?, (SELECT ifnull(max(id), 0) FROM records) FROM starts",
                (SUSPECTED, _now()),
            )
            connection.execute("DELETE FROM starts")

    def died(self, name: str, why: str, run: str = "", stamp: str = "") -> int:
        """Keep that a worker died on an image, and return how often that happened since the image's last record."""
        self.charge(name, why, run, stamp)
        return self.deaths(name, stamp)

    def charge(self, name: str, why: str, run: str = "", stamp: str = "") -> int:
        """Keep a death, also one that is only feared; return the number under which it can be taken back."""
        with self._transaction({name}) as connection:
            cursor = connection.execute(
                "INSERT INTO deaths (name, stamp, why, run, at, record) VALUES "
                "(CAST(? AS TEXT), ?, ?, ?, ?, (SELECT ifnull(max(id), 0) FROM records))",
                (raw(name), stamp, why, run, _now()),
            )
            return int(cursor.lastrowid or 0)

    def absolve(self, number: int) -> None:
        """Take a death back that did not come."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM deaths WHERE id = ?", (number,))

    def deaths(self, name: str, stamp: str = "") -> int:
        """Return how often a worker died on an image of this content since the image's last record."""
        return self._deaths(f"why <> '{SUSPECTED}'", name, stamp)

    def suspected(self, name: str, stamp: str = "") -> bool:
        """Return whether an image of this content was suspected since its last record."""
        return self._deaths(f"why = '{SUSPECTED}'", name, stamp) > 0

    def _deaths(self, kind: str, name: str, stamp: str) -> int:
        row = self._one(
            f"SELECT count(*) FROM deaths WHERE {kind} AND name = CAST(?1 AS TEXT) AND stamp = ?2 AND record >= "  # noqa: S608
            "(SELECT ifnull(max(record), 0) FROM latest WHERE name = CAST(?1 AS TEXT))",
            (raw(name), stamp),
        )
        return int(row[0]) if row else 0

    def latest(self, name: str) -> Record | None:
        """Return an input's newest record."""
        found = self._records("WHERE id = (SELECT max(record) FROM latest WHERE name = CAST(? AS TEXT))", (raw(name),))
        return found[0] if found else None

    def summary(self, run: str) -> Summary:
        """Return what became of the inputs of a run."""
        made = "status = 'done' AND code <> 'unchanged'"
        row = self._one(
            f"SELECT count(*) FILTER (WHERE {made}), count(*) FILTER (WHERE code = 'unchanged'), "  # noqa: S608
            f"count(*) FILTER (WHERE {_IS_BAD}), "
            + ", ".join(
                f"ifnull(sum({column}) FILTER (WHERE {made}), 0)"
                for column in ("pixels", "out_pixels", "seconds", "size", "output_size")
            )
            + " FROM records WHERE run = ?",
            (run,),
        )
        return Summary(*row) if row else Summary(0, 0, 0, 0, 0, 0.0, 0, 0)

    def slowest(self, run: str, n: int = 10) -> list[Record]:
        """Return the ``n`` records of a run that took longest."""
        return self._records("WHERE run = ? ORDER BY seconds DESC, id LIMIT ?", (run, n))

    def quarantined(self, run: str) -> Iterator[Record]:
        """Yield a run's records of images without a result; one that came right later, as with ``--watch``, is none."""
        return self._stream(f"WHERE run = ? AND {_IS_BAD}", (run,))

    def done(self, run: str, n: int) -> list[Record]:
        """Return at most ``n`` records of results that a run made, spread evenly over it."""
        row = self._one("SELECT min(id), max(id) FROM records WHERE run = ?", (run,))
        if not row or row[0] is None:
            return []
        first, last = row
        where = "WHERE run = ? AND id >= ? AND status = 'done' AND code <> 'unchanged' ORDER BY id LIMIT 1"
        places = [first + (last + 1 - first) * number // n for number in range(n)]
        found = [record for place in places for record in self._records(where, (run, place))]
        return list({record.name: record for record in found}.values())

    def export(self, path: Path, run: str) -> int:
        """Write the records of a run as gzipped JSON lines, and return how many there are."""
        lines = 0
        temporary = path.with_name(f".partial-{path.name}")
        with temporary.open("wb") as file:
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
                for record in self._stream("WHERE run = ?", (run,)):
                    packed.write(json.dumps(record.to_dict()).encode() + b"\n")
                    lines += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        return lines

    def copy(self, file: Path) -> Manifest:
        """Return a copy in another file: what is done with it leaves this one as it is."""
        file.unlink(missing_ok=True)
        with translated(file):
            target = sqlite3.connect(file)
            with self._lock, contextlib.closing(target):
                self._connection.backup(target)
        return Manifest.open(file)

    @contextlib.contextmanager
    def _transaction(self, ended: Iterable[str] = ()) -> Iterator[sqlite3.Connection]:
        """One transaction, which also keeps the starts that were remembered, and forgets those of ``ended`` images."""
        ended = frozenset(ended)
        with self._lock, translated(self.file):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO starts VALUES (CAST(? AS TEXT), ?, ?, ?, ?)",
                    [start for (name, _), start in self._starts.items() if name not in ended],
                )
                self._connection.executemany(
                    "DELETE FROM starts WHERE name = CAST(? AS TEXT)", [(raw(name),) for name in ended]
                )
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            self._starts.clear()

    def _one(self, statement: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        rows = self._all(statement, values)
        return rows[0] if rows else None

    def _all(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock, translated(self.file):
            return self._connection.execute(statement, values).fetchall()

    def _records(self, where: str, values: tuple[Any, ...]) -> list[Record]:
        return [Record(*row) for row in self._all(_SELECT + where, values)]

    def _stream(self, where: str, values: tuple[Any, ...]) -> Iterator[Record]:
        """Yield records a thousand at a time, so that other threads may append in between."""
        after = 0
        while True:
            rows = self._all(
                f"{_SELECT.replace('SELECT ', 'SELECT id, ', 1)}{where} AND id > ? ORDER BY id LIMIT 1000",
                (*values, after),
            )
            for row in rows:
                yield Record(*row[1:])
            if not rows:
                return
            after = rows[-1][0]


def _row(record: Record) -> tuple[Any, ...]:
    values = list(astuple(record))
    for number in _TEXT_AT:
        values[number] = raw(values[number])
    return tuple(values)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
