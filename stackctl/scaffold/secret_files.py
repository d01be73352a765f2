"""The stack's secrets: generated here, one file each, in a folder that only its owner can enter."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stackctl.scaffold.credentials import Credentials

TLS_LIFETIME = timedelta(days=3650)
FOLDER_MODE = 0o700
FILE_MODE = 0o444  # services run as another user, and Compose keeps owner and mode: the folder is the guard


def add_missing(folder: Path) -> list[str]:
    """Write what a stack made by an earlier version lacks and services need, and return the names.

    Only what can be made anew without harm: nothing else knows these values yet.
    """
    if not folder.is_dir():
        return []
    return [name for name in missing(folder) if _write_new(folder / name, _LATER[name]())]


def missing(folder: Path) -> list[str]:
    """Return the names of what ``add_missing`` would write."""
    return [name for name in _LATER if not (folder / name).exists()]


def write_secrets(folder: Path, credentials: Credentials) -> list[str]:
    """Write the secrets that are not in ``folder`` yet and return their names; one that is there is never touched.

    The object store's root user and the demo's key are generated whatever the settings, so that a stack has them when
    its ``stack.yaml`` is changed to another engine or store later.
    """
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    folder.chmod(FOLDER_MODE)
    written: list[str] = []
    user, password = f"stackctl-{secrets.token_hex(6)}", secrets.token_urlsafe(32)
    values = {
        "store_root_user": user,
        "store_root_password": password,
        "demo_secret_key": secrets.token_urlsafe(48),
    }
    for name, value in values.items():
        if _write_new(folder / name, value):
            written.append(name)
    written += add_missing(folder)
    access = credentials.s3_access_key or (folder / "store_root_user").read_text().strip()
    secret = credentials.s3_secret_key or (folder / "store_root_password").read_text().strip()
    shared = f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    if _write_new(folder / "s3_credentials", shared):
        written.append("s3_credentials")
    if credentials.mlflow_token and _write_new(folder / "mlflow_token", credentials.mlflow_token):
        written.append("mlflow_token")
    return written


def batch_tls() -> str:
    """Return, as PEM, a key and a certificate that is its own authority: batch processes show it and trust it alone.

    One file for both, so that they cannot fail to belong together. Whoever has the key may submit work, so a further
    certificate per process would keep nobody out.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stackctl batch")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ between machines of a cluster
        .not_valid_after(now + TLS_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("scheduler"), x509.DNSName("localhost")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (private + certificate.public_bytes(serialization.Encoding.PEM)).decode()


_LATER: dict[str, Callable[[], str]] = {
    "webhook_secret": lambda: secrets.token_urlsafe(32),  # MLflow signs its calls to the model servers with it
    "webhook_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),  # MLflow keeps it under this one
    "batch_tls": batch_tls,
}
"""What came after the first version of a stack folder, and how it is made; the key has the form that Fernet wants."""


def _write_new(file: Path, text: str) -> bool:
    """Write ``file`` whole or not at all; return False when it was there already."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
            os.fchmod(handle.fileno(), FILE_MODE)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)  # fails where the file exists, unlike a rename
            return True
        return False
    finally:
        Path(temporary).unlink()
