"""A stack's secrets in a snapshot: encrypted with age for whom the settings name, or not there at all."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from stackctl.errors import MissingPrerequisite, StackctlError, UsageError

FILE = "secrets.age"


def encrypt(folder: Path, recipients: Sequence[str], target: Path) -> list[str]:
    """Write the files of ``folder``, as an archive that only the recipients can open, and return their names.

    Raises:
        UsageError: a recipient is none.
        StackctlError: a secret cannot be read.
    """
    import pyrage  # type: ignore[import-untyped]

    try:
        keys = [pyrage.x25519.Recipient.from_str(recipient) for recipient in recipients]
    except pyrage.RecipientError as error:
        raise UsageError(
            f"A recipient in backup.encrypt_to is no age recipient: {error}.",
            "It begins with age1: see `age-keygen -y`.",
        ) from error
    packed = io.BytesIO()
    names = []
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in sorted(folder.iterdir()):
            if not file.is_file():  # links are followed: container engines mount secrets so
                continue
            try:
                data = file.read_bytes()
            except OSError as error:
                raise StackctlError(f"The secret {file} cannot be read: {error.strerror}.") from error
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
            names.append(file.name)
    sealed = pyrage.encrypt(packed.getvalue(), keys)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(sealed)
        stream.flush()
        os.fsync(stream.fileno())
    return names


def decrypt(file: Path, identity: str) -> dict[str, bytes]:
    """Return the secrets in a snapshot: name to content.

    Args:
        file: ``secrets.age`` of the snapshot.
        identity: the text of an age identity file (``AGE-SECRET-KEY-1…``; lines with # are comments).

    Raises:
        UsageError: it is no identity, or not the right one.
        MissingPrerequisite: there is no pyrage.
    """
    try:
        import pyrage
    except ImportError as error:
        raise MissingPrerequisite(
            "Opening secrets takes pyrage, and it is not installed here.", f"{sys.executable} -m pip install pyrage"
        ) from error

    lines = [line.strip() for line in identity.splitlines()]
    try:
        keys = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError as error:
        raise UsageError("This is no age identity.", "It begins with AGE-SECRET-KEY-1.") from error
    if not keys:
        raise UsageError("There is no age identity in this file.", "It begins with AGE-SECRET-KEY-1.")
    try:
        packed = pyrage.decrypt(file.read_bytes(), keys)
    except pyrage.DecryptError as error:
        raise UsageError(f"This identity does not open the secrets of the snapshot: {error}.") from error
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        return {Path(member.name).name: stream.read() for member in members if (stream := archive.extractfile(member))}
