"""Images under an ``s3://`` URL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stackctl.errors import UsageError
from stackctl.store.errors import CannotWrite, NotFound, StoreGone
from stackctl.store.places import Listed, is_image

if TYPE_CHECKING:
    from stackctl.store.urls import ObjectInfo, ObjectStore


@dataclass(frozen=True)
class Objects:
    """Images under an ``s3://`` URL."""

    store: ObjectStore

    @property
    def url(self) -> str:
        """The URL."""
        return self.store.url

    def names(self) -> list[str]:
        """Return the keys of the images below the URL, sorted."""
        return sorted(image.name for image in self.list())

    def list(self, unreadable: Callable[[str], None] | None = None) -> Iterator[Listed]:  # noqa: ARG002 - a store has none
        """Yield the images below the URL as the store lists them."""
        for found in self.store.list():
            if is_image(found.key):
                yield _listed(found)

    def read(self, name: str) -> bytes:
        """Return one image's bytes."""
        return self.store.get(name)

    def write(self, name: str, data: bytes) -> Listed:
        """Write one object, and see that the store holds it whole."""
        try:
            self.store.put(name, data)
            found = self.store.head(name)
        except NotFound as error:
            raise CannotWrite(f"{self.full(name)} cannot be written: there is no such bucket.") from error
        except CannotWrite:
            raise
        except UsageError as error:  # a name that no object can have
            raise CannotWrite(error.message, error.hint) from error
        whole = found.size == len(data)
        if whole and found.etag != hashlib.md5(data, usedforsecurity=False).hexdigest():
            # Not the bytes' MD5 where the object came in parts or is encrypted.
            whole = self.store.get(name) == data
        if not whole:
            raise StoreGone(f"{self.full(name)} is not what was written there.", "Is something else writing there?")
        return _listed(found)

    def stat(self, name: str) -> Listed | None:
        """Return an object as it is listed; None where there is none."""
        try:
            return _listed(self.store.head(name))
        except NotFound:
            return None

    def delete(self, name: str) -> None:
        """Delete one object."""
        self.store.delete(name)

    def sweep(self) -> int:
        """Return 0: the store shows nothing that is half written."""
        return 0

    def full(self, name: str) -> str:
        """Return the object's URL."""
        return f"{self.store.url}/{name}"

    def base(self) -> str:
        """Return the URL."""
        return self.store.url.rstrip("/")

    def where(self, name: str) -> str:
        """Return the object's URL."""
        return f"{self.base()}/{name}"

    def replaceable(self, name: str) -> set[str]:
        """Return the object's URL."""
        return {self.where(name)}


def _listed(found: ObjectInfo) -> Listed:
    return Listed(found.key, found.size, found.etag or found.modified.isoformat())
