"""Credentials of servers that exist elsewhere: from a file, from the environment, or asked for; never an answer."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stackctl.errors import UsageError
from stackctl.scaffold.questions import Prompts
from stackctl.stack import Settings

ACCESS_KEY = "STACKCTL_S3_ACCESS_KEY"
SECRET_KEY = "STACKCTL_S3_SECRET_KEY"  # noqa: S105 - the variable's name
TOKEN = "MLFLOW_TRACKING_TOKEN"  # noqa: S105 - the variable's name


@dataclass(frozen=True)
class Credentials:
    """What opens an S3 endpoint and an MLflow server; None where the stack's own are used."""

    s3_access_key: str | None = field(default=None, repr=False)
    s3_secret_key: str | None = field(default=None, repr=False)
    mlflow_token: str | None = field(default=None, repr=False)


def collect(
    settings: Settings,
    *,
    s3_file: Path | None,
    token_file: Path | None,
    environ: Mapping[str, str],
    prompts: Prompts | None,
) -> Credentials:
    """Return the credentials that these settings need: from the files, else ``environ``, else the person.

    Raises:
        UsageError: a file cannot be used, or S3 credentials are nowhere to be had.
    """
    access = secret = token = None
    if settings.store.kind == "s3":
        access, secret = _s3(s3_file, environ, prompts)
    if settings.mlflow.kind == "external":
        if token_file is not None:
            token = _one_line(token_file)
        elif environ.get(TOKEN):
            token = environ[TOKEN].strip()
        elif prompts is not None:
            token = prompts.hidden("Token of the MLflow server (empty: it needs none)", optional=True).strip()
    return Credentials(access, secret, token or None)


def _s3(file: Path | None, environ: Mapping[str, str], prompts: Prompts | None) -> tuple[str, str]:
    if file is not None:
        return _from_aws_file(file)
    access, secret = environ.get(ACCESS_KEY, "").strip(), environ.get(SECRET_KEY, "").strip()
    if prompts is not None:
        access = access or prompts.hidden("Access key of the S3 endpoint").strip()
        secret = secret or prompts.hidden("Secret key of the S3 endpoint").strip()
    if not access or not secret:
        raise UsageError(
            "The object store is an S3 endpoint, and its credentials were not given.",
            f"Set {ACCESS_KEY} and {SECRET_KEY}, or give --s3-credentials-file FILE (an AWS credentials file).",
        )
    _refuse_line_breaks(access, secret)
    return access, secret


def _from_aws_file(file: Path) -> tuple[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text())
        return parser.get("default", "aws_access_key_id").strip(), parser.get(
            "default", "aws_secret_access_key"
        ).strip()
    except OSError as error:
        raise UsageError(f"The S3 credentials file {file} cannot be read: {error.strerror}.") from error
    except (configparser.Error, UnicodeDecodeError):
        raise UsageError(  # without the parser's words, which may quote a secret
            f"The S3 credentials file {file} lacks aws_access_key_id or aws_secret_access_key under [default].",
            "Write it as AWS's own tools do.",
        ) from None


def _one_line(file: Path) -> str:
    try:
        text = file.read_text().strip()
    except OSError as error:
        raise UsageError(f"The MLflow token file {file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise UsageError(f"The MLflow token file {file} is no text.") from None
    if not text:
        raise UsageError(f"The MLflow token file {file} is empty.")
    _refuse_line_breaks(text)
    return text


def _refuse_line_breaks(*values: str) -> None:
    if any(not value.isprintable() for value in values):
        raise UsageError("A credential has a line break or an unprintable character in it.")
