"""``s3://BUCKET/KEY`` means the same on every stack: an object in a bucket, or a file in a folder."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.errors import StackctlError, UsageError
from stackctl.stack import Stack
from stackctl.store.errors import NoSpace, NotFound, StoreGone

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, LocalStore, MemoryStore, S3Store

_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9-]{1,61}[a-z0-9])(?P<prefix>/[^?#]*)?")
_FULL = ("StorageFull", "QuotaExceeded", "No space left", "os error 28", "os error 122")
"""What stores answer when they are full; the library tells it by the text alone."""
TIMEOUT = timedelta(seconds=60)
CONNECT_TIMEOUT = timedelta(seconds=5)
RETRY_TIMEOUT = timedelta(seconds=30)
BLOCK = 1 << 20
"""Bytes of an object that lie in memory at a time."""


class ObjectMissing(NotFound):
    """There is no object under this key."""


@dataclass(frozen=True)
class ObjectInfo:
    """One object: its key below the store's URL, bytes, when it was written, and its ETag."""

    key: str
    size: int
    modified: datetime
    etag: str | None


class ObjectStore:
    """The objects below one URL; safe to share between threads.

    Attributes:
        url: ``s3://BUCKET`` or ``s3://BUCKET/PREFIX``.
    """

    def __init__(self, url: str, inner: LocalStore | S3Store | MemoryStore) -> None:
        self.url = url
        self._inner = inner

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose keys lie below the folder-like ``prefix``, in no particular order."""
        with self._translated(prefix):
            for block in self._inner.list(prefix or None):
                for meta in block:
                    yield _info(meta)

    def get(self, key: str) -> bytes:
        """Return an object's bytes.

        Raises:
            ObjectMissing: there is none.
        """
        with self._translated(key):
            return bytes(self._inner.get(key).bytes())

    def put(self, key: str, data: bytes) -> None:
        """Write an object; a reader sees the old bytes or the new ones, never a part."""
        with self._translated(key):
            self._inner.put(key, data)

    def put_file(self, key: str, file: Path) -> None:
        """Write a file's content as an object, in parts where it is large: it never lies in memory as a whole."""
        with self._translated(key):
            self._inner.put(key, file)

    def blocks(self, key: str) -> Iterator[bytes]:
        """Yield an object's bytes, block by block.

        Raises:
            ObjectMissing: there is none.
        """
        with self._translated(key):
            for block in self._inner.get(key).stream(BLOCK):
                yield bytes(block)

    def head(self, key: str) -> ObjectInfo:
        """Return what the store says of an object.

        Raises:
            ObjectMissing: there is none.
        """
        with self._translated(key):
            return _info(self._inner.head(key))

    def exists(self, key: str) -> bool:
        """Return whether there is an object under ``key``."""
        try:
            self.head(key)
        except ObjectMissing:
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is fine."""
        with contextlib.suppress(ObjectMissing), self._translated(key):
            self._inner.delete(key)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn the library's errors into ours. Its texts hold requests and their headers: none of them is passed on."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except FileNotFoundError:
            raise ObjectMissing(f"There is no {self.url}/{key}.") from None
        except ValueError:
            raise UsageError(f"`{key}` cannot be a key: it has empty, `.` or `..` parts.") from None
        except (PermissionError, PermissionDeniedError, UnauthenticatedError):
            raise StackctlError(
                f"The object store refuses access to {self.url}/{key}.", "Check secrets/s3_credentials."
            ) from None
        except (BaseError, OSError) as error:
            if any(word in str(error) for word in _FULL):
                raise NoSpace(f"The object store has no room for {self.url}/{key}.", "Make room in it.") from None
            raise StoreGone(
                f"The object store failed at {self.url}/{key} ({type(error).__name__}).", "Run `stackctl status`."
            ) from None


def _info(meta: ObjectMeta) -> ObjectInfo:
    etag = meta["e_tag"]
    return ObjectInfo(meta["path"], meta["size"], meta["last_modified"], etag.strip('"') if etag else None)


def open_store(stack: Stack, url: str) -> ObjectStore:
    """Return the objects below ``url`` (``s3://BUCKET[/PREFIX]``) as this stack stores them.

    Raises:
        UsageError: it is no such URL.
        StackctlError: the credentials cannot be read.
    """
    found = _URL.fullmatch(url)
    prefix = (found["prefix"] or "").strip("/") if found else ""
    if found is None or ".." in Path(prefix).parts:
        raise UsageError(f"`{url}` is no URL of an object store.", "Write s3://BUCKET/PREFIX.")
    address = "/".join(part for part in (f"s3://{found['bucket']}", prefix) if part)
    if stack.endpoints.store is None or stack.endpoints.store == "":
        known = [name for _, name in stack.settings.buckets]
        if stack.folder is not None and found["bucket"] not in known:
            raise UsageError(f"This stack has no bucket {found['bucket']}.", f"It has: {', '.join(known)}.")
        return ObjectStore(address, _folder_store(bucket_folder(stack, found["bucket"]) / prefix))
    return ObjectStore(address, _s3_store(stack, stack.endpoints.store, address))


def bucket_folder(stack: Stack, bucket: str) -> Path:
    """Return the folder that stands for a bucket where the object store is a folder.

    Images in and out lie where a person looks for them: ``data/inbound`` and ``data/outbound``.
    """
    if stack.folder is None:  # inside a service
        stack = Stack.from_folder(Path(os.environ["STACKCTL_FOLDER"]))
    buckets = stack.settings.buckets
    places = {
        buckets.inbound: stack.home / "data" / "inbound",
        buckets.outbound: stack.home / "data" / "outbound",
        buckets.quarantine: stack.home / "data" / "quarantine",
        buckets.mlflow: stack.var / "artifacts",
    }
    return places.get(bucket, stack.var / "store" / bucket)


def _folder_store(folder: Path) -> LocalStore:
    from obstore.store import LocalStore

    return LocalStore(folder, mkdir=True)


def _s3_store(stack: Stack, endpoint: str, url: str) -> S3Store:
    from obstore.store import S3Store

    access_key, secret_key = _credentials(stack)
    options: ClientConfig = {"timeout": TIMEOUT, "connect_timeout": CONNECT_TIMEOUT}
    if endpoint.startswith("http://"):
        options["allow_http"] = True
    return S3Store.from_url(
        url,
        endpoint=endpoint,
        region=stack.settings.store.region,
        access_key_id=access_key,
        secret_access_key=secret_key,
        virtual_hosted_style_request=False,
        client_options=options,
        retry_config={"max_retries": 4, "retry_timeout": RETRY_TIMEOUT},
    )


def _credentials(stack: Stack) -> tuple[str, str]:
    """Return access key and secret key from ``AWS_SHARED_CREDENTIALS_FILE``, else from the stack's own secret."""
    named = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") if stack.folder is None else None
    file = Path(named) if named else (stack.secrets_folder or Path("/run/secrets")) / "s3_credentials"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text())
        section = parser["default"]
        return section["aws_access_key_id"], section["aws_secret_access_key"]
    except (OSError, configparser.Error, KeyError):
        raise StackctlError(f"{file} holds no credentials of the object store.", "Run `stackctl doctor`.") from None
