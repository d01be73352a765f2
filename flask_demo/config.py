"""Configuration of the demo, read once from environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

MIB = 1024 * 1024
SHORTEST_SECRET = 16


class ConfigError(Exception):
    """A setting is missing or wrong; the message names the variable and what it wants."""


@dataclass(frozen=True)
class DemoConfig:
    """Everything the demo needs to know; no default hides a secret.

    `staging_server` is the model server of the versions in staging, None where the stack has none.
    `max_upload_bytes` bounds one photo, `timeout` is the longest wait for a result in seconds, `poll_seconds` is how
    often an open page asks for the model that serves, `rate` is in Flask-Limiter's notation, and `trusted_proxies`
    is the number of reverse proxies in front (0: believe no X-Forwarded-For).
    """

    secret_key: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8000
    model_server: str = "http://127.0.0.1:8888"
    staging_server: str | None = None
    mlflow_url: str = "http://127.0.0.1:5000"
    name: str = "stackctl"
    max_upload_bytes: int = 12 * MIB
    timeout: float = 120.0
    poll_seconds: float = 4.0
    rate: str = "30 per minute"
    trusted_proxies: int = 0
    samples: Path = Path(__file__).parent / "static" / "samples"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> DemoConfig:
        """Return the configuration that `environ` describes; raises ConfigError naming the variable at fault."""
        return cls(
            secret_key=_secret(environ),
            host=environ.get("STACKCTL_DEMO_HOST") or cls.host,
            port=_integer(environ, "STACKCTL_DEMO_PORT", cls.port, lowest=0, highest=65535),
            model_server=_url(environ, "STACKCTL_DEMO_MODEL_SERVER", cls.model_server),
            staging_server=_url(environ, "STACKCTL_DEMO_STAGING_SERVER", "http://127.0.0.1:8889")
            if environ.get("STACKCTL_DEMO_STAGING_SERVER")
            else None,
            mlflow_url=_url(environ, "STACKCTL_DEMO_MLFLOW_URL", cls.mlflow_url),
            name=environ.get("STACKCTL_NAME") or cls.name,
            max_upload_bytes=_integer(environ, "STACKCTL_DEMO_MAX_UPLOAD_BYTES", cls.max_upload_bytes, lowest=1024),
            timeout=float(_integer(environ, "STACKCTL_DEMO_TIMEOUT", int(cls.timeout), lowest=1)),
            rate=environ.get("STACKCTL_DEMO_RATE") or cls.rate,
            trusted_proxies=_integer(environ, "STACKCTL_DEMO_TRUSTED_PROXIES", cls.trusted_proxies, lowest=0),
        )


def _secret(environ: Mapping[str, str]) -> str:
    name = "STACKCTL_DEMO_SECRET_KEY_FILE"
    path = environ.get(name)
    if not path:
        raise ConfigError(f"{name} is not set. Point it to a file with a random secret in it.")
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: {path} cannot be read ({error.__class__.__name__}).") from error
    if len(secret) < SHORTEST_SECRET:
        raise ConfigError(f"{name}: the secret in {path} is shorter than {SHORTEST_SECRET} characters.")
    return secret


def _integer(environ: Mapping[str, str], name: str, default: int, *, lowest: int, highest: int | None = None) -> int:
    text = environ.get(name)
    if not text:
        return default
    wanted = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
    try:
        value = int(text)
    except ValueError:
        raise ConfigError(f"{name} is {text!r}; it takes a whole number, {wanted}.") from None
    if value < lowest or (highest is not None and value > highest):
        raise ConfigError(f"{name} is {value}; it takes {wanted}.")
    return value


def _url(environ: Mapping[str, str], name: str, default: str) -> str:
    text = (environ.get(name) or default).rstrip("/")
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"{name} is {text!r}; it takes a URL such as {default}.")
    return text
