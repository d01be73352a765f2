"""The environment becomes a configuration, or a sentence that names the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_demo import ConfigError, DemoConfig


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "demo_secret_key"
    path.write_text("0123456789abcdef0123456789abcdef\n")
    return str(path)


def test_every_variable_reaches_the_configuration(secret_file: str) -> None:
    config = DemoConfig.from_env(
        {
            "STACKCTL_DEMO_SECRET_KEY_FILE": secret_file,
            "STACKCTL_DEMO_HOST": "0.0.0.0",
            "STACKCTL_DEMO_PORT": "8123",
            "STACKCTL_DEMO_MODEL_SERVER": "http://serving:8888/",
            "STACKCTL_DEMO_STAGING_SERVER": "http://serving-staging:8888",
            "STACKCTL_DEMO_MLFLOW_URL": "https://mlflow.example/base/",
            "STACKCTL_NAME": "my-stack",
            "STACKCTL_DEMO_RATE": "5 per minute",
            "STACKCTL_DEMO_MAX_UPLOAD_BYTES": "2048",
            "STACKCTL_DEMO_TIMEOUT": "30",
            "STACKCTL_DEMO_TRUSTED_PROXIES": "1",
        }
    )

    assert (config.host, config.port, config.name) == ("0.0.0.0", 8123, "my-stack")
    assert (config.model_server, config.mlflow_url) == ("http://serving:8888", "https://mlflow.example/base")
    assert config.staging_server == "http://serving-staging:8888"
    assert (config.rate, config.max_upload_bytes, config.timeout) == ("5 per minute", 2048, 30.0)
    assert config.trusted_proxies == 1
    assert config.secret_key == "0123456789abcdef0123456789abcdef"


def test_the_secret_does_not_show_when_the_configuration_is_printed(secret_file: str) -> None:
    config = DemoConfig.from_env({"STACKCTL_DEMO_SECRET_KEY_FILE": secret_file})

    assert config.secret_key not in repr(config)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STACKCTL_DEMO_PORT", "eighty"),
        ("STACKCTL_DEMO_PORT", "70000"),
        ("STACKCTL_DEMO_MODEL_SERVER", "serving:8888"),
        ("STACKCTL_DEMO_STAGING_SERVER", "staging"),
        ("STACKCTL_DEMO_MLFLOW_URL", "javascript:alert(1)"),
        ("STACKCTL_DEMO_MAX_UPLOAD_BYTES", "-1"),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_its_variable(secret_file: str, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        DemoConfig.from_env({"STACKCTL_DEMO_SECRET_KEY_FILE": secret_file, name: value})


def test_a_missing_or_short_secret_is_refused_and_not_quoted(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("tiny-secret")
    for environ in ({}, {"STACKCTL_DEMO_SECRET_KEY_FILE": str(tmp_path / "absent")}):
        with pytest.raises(ConfigError, match="STACKCTL_DEMO_SECRET_KEY_FILE"):
            DemoConfig.from_env(environ)
    with pytest.raises(ConfigError) as refusal:
        DemoConfig.from_env({"STACKCTL_DEMO_SECRET_KEY_FILE": str(short)})
    assert "tiny-secret" not in str(refusal.value)
