"""``python -m stackctl.store.init``: makes the stack's buckets, and versions what is in MLflow's. Idempotent."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stackctl.errors import StackctlError, Unhealthy

if TYPE_CHECKING:
    from minio import Minio

DEADLINE = 60.0
PAUSE = 0.3
WRONG_CREDENTIALS = {
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "AuthorizationError",
}
STARTING = {"XMinioServerNotInitialized", "ServerNotInitialized", "SlowDown", "ServiceUnavailable", "InternalError"}


def connect(endpoint: str, region: str) -> Minio:
    """Return a client of an S3 endpoint with the credentials that ``AWS_SHARED_CREDENTIALS_FILE`` holds."""
    import urllib3
    from minio import Minio
    from minio.credentials.providers import AWSConfigProvider

    parts = urlsplit(endpoint)
    secure = parts.scheme == "https"
    bundle = os.environ.get("STACKCTL_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=3, read=15),
        retries=False,
        cert_reqs="CERT_REQUIRED" if secure else "CERT_NONE",
        ca_certs=bundle if secure else None,
    )
    return Minio(endpoint=parts.netloc, credentials=AWSConfigProvider(), secure=secure, region=region, http_client=pool)


def make_buckets(client: Minio, endpoint: str, buckets: list[str], versioned: str | None) -> list[str]:
    """Make the buckets that are missing, switch versioning on in ``versioned``, and return what was made.

    It waits for an endpoint that does not answer yet.

    Raises:
        Unhealthy: the endpoint did not answer in time.
        StackctlError: the endpoint refuses; the message names the endpoint and no key.
    """
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return _make(client, buckets, versioned)
        except _retryable() as error:
            code = getattr(error, "code", None)
            if code in WRONG_CREDENTIALS:
                raise StackctlError(
                    f"The object store at {endpoint} refuses the credentials in secrets/s3_credentials ({code}).",
                    "Put the right access key and secret key into that file, then run `stackctl up`.",
                ) from None
            if code is not None and code not in STARTING:
                raise StackctlError(f"The object store at {endpoint} answers {code}.") from None
            if time.monotonic() > deadline:
                raise Unhealthy(
                    f"The object store at {endpoint} did not answer within {DEADLINE:.0f} s.",
                    "See `stackctl logs store`, or check store.endpoint in stack.yaml.",
                ) from None
            time.sleep(PAUSE)


def main(environ: Mapping[str, str] | None = None) -> int:
    """Do it for the stack that the environment describes; returns the exit status."""
    environ = os.environ if environ is None else environ
    try:
        endpoint = environ["STACKCTL_STORE_ENDPOINT"]
        buckets = [name for name in environ["STACKCTL_BUCKETS"].split(",") if name]
    except KeyError as error:
        sys.stderr.write(f"The environment variable {error.args[0]} is not set.\n")
        return 1
    try:
        client = connect(endpoint, environ.get("STACKCTL_STORE_REGION", "us-east-1"))
        made = make_buckets(client, endpoint, buckets, environ.get("STACKCTL_BUCKET_MLFLOW"))
    except StackctlError as error:
        sys.stderr.write(f"{error.message}\n" + (f"{error.hint}\n" if error.hint else ""))
        return error.code
    sys.stdout.write(f"{endpoint}: made {', '.join(made)}\n" if made else f"{endpoint}: all buckets are there\n")
    return 0


def _make(client: Minio, buckets: list[str], versioned: str | None) -> list[str]:
    from minio.commonconfig import ENABLED
    from minio.versioningconfig import VersioningConfig

    made = []
    for name in buckets:
        if not client.bucket_exists(bucket_name=name):
            client.make_bucket(bucket_name=name)
            made.append(name)
    if versioned and client.get_bucket_versioning(bucket_name=versioned).status != ENABLED:
        client.set_bucket_versioning(bucket_name=versioned, config=VersioningConfig(ENABLED))
    return made


def _retryable() -> tuple[type[Exception], ...]:
    import urllib3
    from minio.error import MinioException

    return (MinioException, urllib3.exceptions.HTTPError, OSError)


if __name__ == "__main__":
    sys.exit(main())
