"""Where credentials of servers that exist elsewhere come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.scripted_prompts import ScriptedPrompts

from stackctl.errors import UsageError
from stackctl.scaffold.credentials import collect
from stackctl.stack import Settings

ELSEWHERE = Settings.parse(
    {
        "name": "my-stack",
        "store": {"kind": "s3", "endpoint": "https://s3.example.org"},
        "mlflow": {"kind": "external", "tracking_uri": "https://mlflow.example.org"},
    }
)
FROM_ENVIRONMENT = {
    "STACKCTL_S3_ACCESS_KEY": "access-env",
    "STACKCTL_S3_SECRET_KEY": "secret-env",
    "MLFLOW_TRACKING_TOKEN": "token-env",
}


def test_the_environment_gives_credentials() -> None:
    found = collect(ELSEWHERE, s3_file=None, token_file=None, environ=FROM_ENVIRONMENT, prompts=None)
    assert (found.s3_access_key, found.s3_secret_key, found.mlflow_token) == ("access-env", "secret-env", "token-env")


def test_files_win_over_the_environment(tmp_path: Path) -> None:
    (tmp_path / "s3").write_text("[default]\naws_access_key_id = access-file\naws_secret_access_key=secret%file\n")
    (tmp_path / "token").write_text("token-file\n")
    found = collect(
        ELSEWHERE, s3_file=tmp_path / "s3", token_file=tmp_path / "token", environ=FROM_ENVIRONMENT, prompts=None
    )
    assert (found.s3_access_key, found.s3_secret_key, found.mlflow_token) == (
        "access-file",
        "secret%file",
        "token-file",
    )


def test_a_person_is_asked_for_what_is_nowhere_else() -> None:
    person = ScriptedPrompts(["access-typed", "secret-typed"])
    found = collect(ELSEWHERE, s3_file=None, token_file=None, environ={}, prompts=person)
    assert (found.s3_access_key, found.s3_secret_key, found.mlflow_token) == ("access-typed", "secret-typed", None)
    assert len(person.asked) == 3


def test_a_stack_with_servers_of_its_own_needs_none() -> None:
    person = ScriptedPrompts()
    found = collect(
        Settings.parse({"name": "my-stack"}), s3_file=None, token_file=None, environ=FROM_ENVIRONMENT, prompts=person
    )
    assert (found.s3_access_key, found.s3_secret_key, found.mlflow_token) == (None, None, None)
    assert not person.asked


def test_missing_s3_credentials_are_an_error_that_says_how_to_give_them() -> None:
    with pytest.raises(UsageError) as caught:
        collect(ELSEWHERE, s3_file=None, token_file=None, environ={"STACKCTL_S3_ACCESS_KEY": "half"}, prompts=None)
    assert "STACKCTL_S3_SECRET_KEY" in (caught.value.hint or "")
    assert "--s3-credentials-file" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "content",
    ["", "hush-secret", "[default]\naws_access_key_id = hush-secret\n", "[default\nhush-secret", "[other]\nx=1"],
)
def test_an_error_about_a_credentials_file_quotes_nothing_of_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "s3"
    file.write_text(content)
    with pytest.raises(UsageError) as caught:
        collect(ELSEWHERE, s3_file=file, token_file=None, environ={}, prompts=None)
    assert "hush" not in f"{caught.value.message}{caught.value.hint}"
    assert str(file) in caught.value.message


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"\xff\xfe"])
def test_a_token_file_must_hold_one_line_of_text(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UsageError):
        collect(ELSEWHERE, s3_file=None, token_file=file, environ=FROM_ENVIRONMENT, prompts=None)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no-such-file"):
        collect(ELSEWHERE, s3_file=tmp_path / "no-such-file", token_file=None, environ={}, prompts=None)
