"""Putting databases of a snapshot in the place of live ones: whole or not at all, and the replaced ones are kept.

Nothing may have a database open meanwhile. Everything here can be interrupted and done again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

KEPT = ".replaced"
"""Folder beside the databases for those that a restore replaced, until it has succeeded."""
SIDECARS = ("-journal", "-wal", "-shm")
OWN_WEBHOOKS = "stackctl-"


def databases_in(snapshot: Path) -> list[Path]:
    """Return a snapshot's databases, by name."""
    return sorted((snapshot / "db").glob("*.db"))


def revision_of(database: Path) -> str | None:
    """Return the revision of MLflow's schema (alembic's) in a database, or None where it records none."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row else None


def place(copy: Path, folder: Path, *, prepare: Callable[[Path], None] | None = None) -> None:
    """Make ``copy`` the database of its name in ``folder``; the live one goes to ``folder/.replaced`` first.

    Args:
        copy: a database of a snapshot; it is read only.
        folder: where the live databases lie.
        prepare: changes the new database before it takes its place.
    """
    live, fresh = folder / copy.name, folder / f".{copy.name}.restoring"
    folder.mkdir(parents=True, exist_ok=True)
    for name in SIDECARS:
        fresh.with_name(fresh.name + name).unlink(missing_ok=True)
    shutil.copyfile(copy, fresh)
    if prepare is not None:
        prepare(fresh)
    _flush(fresh)
    _keep(live)
    for name in SIDECARS:  # a journal that stayed would be played into the new database
        live.with_name(live.name + name).unlink(missing_ok=True)
    fresh.replace(live)
    _flush(folder)


def forget_kept(folder: Path) -> None:
    """Delete the databases that a restore replaced: it has succeeded."""
    shutil.rmtree(folder / KEPT, ignore_errors=True)


def bring_back(folder: Path) -> list[str]:
    """Put the databases that a restore replaced back into their place; return their names."""
    names = []
    for kept in sorted((folder / KEPT).glob("*.db")):
        for name in SIDECARS:
            (folder / f"{kept.name}{name}").unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                kept.with_name(kept.name + name).replace(folder / f"{kept.name}{name}")
        kept.replace(folder / kept.name)
        names.append(kept.name)
    _flush(folder)
    forget_kept(folder)
    return names


def drop_foreign_webhooks(database: Path, key: str | None) -> list[str]:
    """Remove secrets that this stack's webhook key cannot read: MLflow's server fails on them.

    The stack's own webhooks are deleted (``up`` makes them anew); others lose their secret and are switched off.

    Returns:
        The names of the webhooks that a person made and must give a secret again.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'webhooks'").fetchone():
            return []
        rows = connection.execute("SELECT webhook_id, name, secret FROM webhooks WHERE secret IS NOT NULL").fetchall()
        foreign = [(identity, name) for identity, name, secret in rows if not _readable(secret, key)]
        for identity, name in foreign:
            if name.startswith(OWN_WEBHOOKS):
                connection.execute("DELETE FROM webhook_events WHERE webhook_id = ?", (identity,))
                connection.execute("DELETE FROM webhooks WHERE webhook_id = ?", (identity,))
            else:
                disabled = "UPDATE webhooks SET secret = NULL, status = 'DISABLED' WHERE webhook_id = ?"
                connection.execute(disabled, (identity,))
    return [name for _, name in foreign if not name.startswith(OWN_WEBHOOKS)]


def _readable(secret: str, key: str | None) -> bool:
    from cryptography.fernet import Fernet, InvalidToken

    try:
        Fernet(key or "").decrypt(secret.encode())
    except (InvalidToken, ValueError):
        return False
    return True


def _keep(live: Path) -> None:
    """Keep the live database and what belongs to it, once: what a second attempt finds is not what people had."""
    kept = live.parent / KEPT / live.name
    if not live.exists() or kept.exists():
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(live)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # rolls back what a crash left half done
    kept.parent.mkdir(exist_ok=True)
    for name in SIDECARS:
        beside = live.with_name(live.name + name)
        if beside.exists():
            kept.with_name(kept.name + name).unlink(missing_ok=True)
            os.link(beside, kept.with_name(kept.name + name))
    os.link(live, kept)  # last: it says that all of it is kept
    _flush(kept.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
