"""What a run has to do: the inputs without a right result, the most expensive first, on the disk and not in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackctl.batch.cost import Estimate
from stackctl.batch.ledger import raw, throwaway, translated
from stackctl.batch.manifest import Manifest
from stackctl.batch.naming import assign, bare
from stackctl.store.places import Listed

FILE = "plan.sqlite"
MOST_PROBED = 20_000
"""Above so many pending inputs their pixels are estimated from their bytes: opening them all would take minutes."""

_TABLES = """
CREATE TABLE inputs (name TEXT PRIMARY KEY, size INTEGER, stamp TEXT) WITHOUT ROWID;
CREATE TABLE outputs (name TEXT PRIMARY KEY, size INTEGER, stamp TEXT) WITHOUT ROWID;
CREATE TABLE foreign_stems (stem TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE fresh (stem TEXT, name TEXT, PRIMARY KEY (stem, name)) WITHOUT ROWID;
CREATE TABLE pending (
    name TEXT PRIMARY KEY, size INTEGER, stamp TEXT, stem TEXT, input_digest TEXT, output TEXT, output_digest TEXT,
    cost INTEGER, out INTEGER DEFAULT 0, died INTEGER DEFAULT 0
) WITHOUT ROWID;
"""
_FRESH = """
SELECT i.name FROM inputs i
WHERE NOT EXISTS (SELECT 1 FROM manifest.names n WHERE n.name = i.name AND n.suffix = ?)
"""
_JOINED = """
FROM inputs i
JOIN manifest.names n ON n.name = i.name AND n.suffix = :suffix
LEFT JOIN manifest.latest l ON l.name = i.name AND l.stem = n.stem
LEFT JOIN outputs o ON o.name = l.output
"""
_SAME = "(l.recipe IS :recipe AND l.size = i.size AND l.stamp = i.stamp)"
_SKIPPED = f"({_SAME} AND l.status = 'done' AND o.size IS l.output_size AND o.stamp IS l.output_stamp)"
_KNOWN_BAD = f"({_SAME} AND l.status = 'quarantined' AND NOT :retry_failed)"
_COUNTED = f"""
SELECT count(*), ifnull(sum({_SKIPPED} IS TRUE), 0), ifnull(sum({_KNOWN_BAD} IS TRUE), 0) {_JOINED}
"""
_PENDING = f"""
SELECT i.name, i.size, i.stamp, n.stem,
    CASE WHEN l.status = 'done' AND l.recipe = :recipe AND l.size = i.size AND o.size = l.output_size
        THEN l.input_digest END,
    l.output, l.output_digest
{_JOINED} WHERE ({_SKIPPED} OR {_KNOWN_BAD}) IS NOT TRUE
"""
_TASKS = "SELECT name, size, stamp, stem, input_digest, output, output_digest, cost FROM pending"
_ORPHANS = """
SELECT count(*) FROM outputs o WHERE o.name IN (
    SELECT l.output FROM manifest.latest l
    WHERE l.status = 'done' AND NOT EXISTS (SELECT 1 FROM inputs i WHERE i.name = l.name)
)
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What is on hand of an input of which only a stamp has changed.

    Attributes:
        input_digest: of the input's bytes when the result was made.
        output: the result's name.
        output_digest: of its bytes.
    """

    input_digest: str
    output: str
    output_digest: str


@dataclass(frozen=True, slots=True)
class ImageTask:
    """One input to upscale.

    Attributes:
        name: below the input place.
        size: bytes.
        stamp: as the place listed it.
        output_stem: name of the result below the output place, without its ending.
        known: a result that is right if neither its bytes nor the input's have changed, or None.
    """

    name: str
    size: int
    stamp: str
    output_stem: str
    known: Known | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs that one worker gets at once; the cost is their pixels, as estimated."""

    number: int
    images: tuple[ImageTask, ...]
    cost: int


@dataclass(frozen=True, slots=True)
class Planned:
    """What a plan found.

    Attributes:
        total: inputs.
        pending: of them without a right result.
        skipped: of them with one.
        known_bad: of them quarantined earlier, and unchanged since.
        orphans: results whose inputs are gone.
        cost: pixels of the pending ones, as estimated.
    """

    total: int
    pending: int
    skipped: int
    known_bad: int
    orphans: int
    cost: int


class Plan:
    """The inputs of a run that are still to be handed out.

    Attributes:
        planned: what was found when it was made.
    """

    def __init__(self, file: Path, connection: sqlite3.Connection, planned: Planned) -> None:
        self.planned = planned
        self._file = file
        self._connection = connection
        self._left = [planned.pending, planned.cost]
        self._number = 0

    @classmethod
    def make(
        cls,
        manifest: Manifest,
        inputs: Iterable[Listed],
        outputs: Iterable[Listed],
        recipe: str,
        *,
        folder: Path,
        suffix: str = "out",
        retry_failed: bool = False,
        probe: Callable[[str], int | None] | None = None,
        others: Iterable[Path] = (),
    ) -> Plan:
        """Compare what is there with what the manifest says.

        Args:
            manifest: of the two places.
            inputs: the images of the input place.
            outputs: those of the output place.
            recipe: digest of all that changes a result's bytes.
            folder: on whose disk the plan lies while it is open; nothing is left there, whatever ends this process.
            suffix: results are named ``NAME_suffix``.
            retry_failed: inputs that were quarantined earlier are pending again.
            probe: returns an input's pixels by its header, None where it has none; else bytes are the measure.
            others: manifests of other inputs whose results go to the same place: their names are theirs.

        Raises:
            NoSpace: the disk is full.
            StoreGone: a place does not answer.
        """
        file = folder / FILE
        with translated(file):
            connection = throwaway(file, _TABLES)
            try:
                _fill(connection, "inputs", inputs)
                _fill(connection, "outputs", outputs)
                connection.execute("ATTACH CAST(? AS TEXT) AS manifest", (raw(str(manifest.file)),))
                _name(connection, suffix.removeprefix("_"), others)
                planned = _compare(connection, recipe, suffix.removeprefix("_"), probe, retry_failed=retry_failed)
                connection.execute("DETACH manifest")
            except BaseException:
                connection.close()
                raise
        return cls(file, connection, planned)

    def next_batch(self, budget_cost: float, max_images: int, *, cheapest: bool = False) -> Batch | None:
        """Return the most expensive inputs that are left (or the cheapest ones), or None where none is.

        Args:
            budget_cost: pixels that the batch may have; one image is always in it.
            max_images: that it may have.
            cheapest: take from the other end.
        """
        images: list[ImageTask] = []
        spent = 0
        with translated(self._file):
            order = "cost ASC, name DESC" if cheapest else "cost DESC, name"  # both ways along the index
            rows = self._connection.execute(f"{_TASKS} WHERE out = 0 ORDER BY {order} LIMIT ?", (max(1, max_images),))
            for row in rows:
                if images and spent + row[-1] > budget_cost:
                    break
                images.append(_task(row))
                spent += row[-1]
            rows.close()
            self._hand_out(images, spent)
        if not images:
            return None
        self._number += 1
        return Batch(self._number, tuple(images), spent)

    def suspects(self) -> list[ImageTask]:
        """Hand out the inputs on which something died at any time, all at once: they may want care."""
        with translated(self._file):
            rows = self._connection.execute(f"{_TASKS} WHERE died AND out = 0").fetchall()
            images = [_task(row) for row in rows]
            self._hand_out(images, sum(row[-1] for row in rows))
        return images

    def _hand_out(self, images: Sequence[ImageTask], cost: int) -> None:
        self._connection.executemany(
            "UPDATE pending SET out = 1 WHERE name = CAST(? AS TEXT)", [(raw(image.name),) for image in images]
        )
        self._left[0] -= len(images)
        self._left[1] -= cost

    def put_back(self, names: Iterable[str]) -> None:
        """Take inputs back that were handed out, to be handed out again."""
        with translated(self._file):
            for name in names:
                for (cost,) in self._connection.execute(
                    "UPDATE pending SET out = 0 WHERE name = CAST(? AS TEXT) AND out = 1 RETURNING cost", (raw(name),)
                ).fetchall():
                    self._left[0] += 1
                    self._left[1] += cost

    def remaining(self) -> tuple[int, int]:
        """Return (number, cost) of the inputs that are not handed out."""
        return self._left[0], self._left[1]

    def close(self) -> None:
        """Forget the plan."""
        self._connection.close()


def _task(row: tuple[Any, ...]) -> ImageTask:
    name, size, stamp, stem, input_digest, output, output_digest, _ = row
    known = None if input_digest is None else Known(input_digest, output, output_digest)
    return ImageTask(name, size, stamp, stem, known)


def _fill(connection: sqlite3.Connection, table: str, images: Iterable[Listed]) -> None:
    """Keep what is listed; of two of the same name the first."""
    connection.execute("BEGIN")
    connection.executemany(
        f"INSERT OR IGNORE INTO {table} VALUES (CAST(? AS TEXT), ?, ?)",  # noqa: S608 - our own table names
        ((raw(image.name), image.size, image.stamp) for image in images),
    )
    connection.execute("COMMIT")


def _name(connection: sqlite3.Connection, suffix: str, others: Iterable[Path]) -> None:
    """Name the results of inputs that have no name for them yet; names that were given stay."""
    if connection.execute(f"SELECT EXISTS ({_FRESH})", (suffix,)).fetchone() == (0,):
        return
    for other in others:
        _leave_names_of(connection, other)
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO fresh VALUES (CAST(? AS TEXT), CAST(? AS TEXT))",
        ((raw(bare(name)), raw(name)) for (name,) in connection.execute(_FRESH, (suffix,))),
    )

    def pairs() -> Iterator[tuple[str, str]]:
        return connection.execute("SELECT stem, name FROM fresh ORDER BY stem, name")

    def take(name: str, stem: str) -> bool:
        given = connection.execute(
            "INSERT OR IGNORE INTO manifest.names SELECT CAST(?1 AS TEXT), ?2, CAST(?3 AS TEXT) "
            "WHERE NOT EXISTS (SELECT 1 FROM foreign_stems WHERE stem = CAST(?3 AS TEXT))",
            (raw(name), suffix, raw(stem)),
        )
        return given.rowcount == 1

    assign(pairs, suffix, take)
    connection.execute("DROP TABLE fresh")
    connection.execute("COMMIT")


def _leave_names_of(connection: sqlite3.Connection, other: Path) -> None:
    """Give no result a name that another manifest gave to one of its own."""
    with translated(other):
        connection.execute("ATTACH CAST(? AS TEXT) AS other", (raw(str(other)),))
        try:
            if connection.execute("SELECT 1 FROM other.sqlite_master WHERE name = 'names'").fetchone():
                connection.execute("INSERT OR IGNORE INTO foreign_stems SELECT stem FROM other.names")
        finally:
            connection.execute("DETACH other")


def _compare(
    connection: sqlite3.Connection,
    recipe: str,
    suffix: str,
    probe: Callable[[str], int | None] | None,
    *,
    retry_failed: bool,
) -> Planned:
    values = {"recipe": recipe, "suffix": suffix, "retry_failed": retry_failed}
    total, skipped, known_bad = connection.execute(_COUNTED, values).fetchone()
    pending = total - skipped - known_bad
    (orphans,) = connection.execute(_ORPHANS).fetchone()
    estimate = Estimate.learned(connection, probe if pending <= MOST_PROBED else None)
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO pending (name, size, stamp, stem, input_digest, output, output_digest, cost) "
        "VALUES (CAST(? AS TEXT), ?, ?, CAST(? AS TEXT), ?, CAST(? AS TEXT), ?, ?)",
        (
            (raw(name), size, stamp, raw(stem), digest, raw(output or ""), output_digest, estimate.pixels(name, size))
            for name, size, stamp, stem, digest, output, output_digest in connection.execute(_PENDING, values)
        ),
    )
    connection.execute("UPDATE pending SET died = 1 WHERE name IN (SELECT name FROM manifest.deaths)")
    connection.execute("CREATE INDEX pending_by_cost ON pending (out, cost DESC, name)")
    connection.execute("COMMIT")
    (cost,) = connection.execute("SELECT ifnull(sum(cost), 0) FROM pending").fetchone()
    return Planned(total, pending, skipped, known_bad, orphans, cost)
