"""The Compose file that every stack gets, read as data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from support.image_stacks import stack_with

from stackctl import distribution
from stackctl.stack.environment import docker_environment

TEMPLATE = distribution.carried("template")
TEXT = (TEMPLATE / "compose.yaml").read_text()
DOCUMENT: dict[str, Any] = YAML(typ="safe").load(TEXT)
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
LONG_RUNNING = [name for name in SERVICES if name != "store-init"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "1000:1000"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_every_long_running_service_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_ports_are_bound_to_the_chosen_address_and_come_from_the_settings() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 8
    assert all(re.fullmatch(r"\$\{STACKCTL_BIND\}:\$\{STACKCTL_\w+_PORT\}:\d+", port) for port in ports)


def test_the_demo_shares_no_network_with_the_store_or_mlflow() -> None:
    assert not set(SERVICES["demo"]["networks"]) & {*SERVICES["store"]["networks"], *SERVICES["mlflow"]["networks"]}
    assert set(SERVICES["demo"]["networks"]) & set(SERVICES["serving"]["networks"])


def test_the_demo_holds_no_credentials_of_the_store() -> None:
    assert SERVICES["demo"]["secrets"] == ["demo_secret_key"]
    assert SERVICES["serving"]["secrets"] == ["webhook_secret"]


def test_batches_publish_no_port_speak_tls_alone_and_have_a_key_that_no_other_service_has() -> None:
    holders = [name for name, service in SERVICES.items() if "batch_tls" in service.get("secrets", ())]
    assert holders == ["scheduler", "worker"]
    for name in holders:
        service = SERVICES[name]
        assert service["profiles"] == ["batch"]
        assert "ports" not in service
        assert service["environment"]["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "true"
        assert "--no-dashboard" in service["command"]
        assert "--dashboard-address=127.0.0.1" in service["command"]
    assert "tls://scheduler" in SERVICES["worker"]["command"]


def test_the_staging_server_is_the_model_server_with_another_role_port_and_cache() -> None:
    production, staging = SERVICES["serving"], SERVICES["serving-staging"]
    differing = {key for key in {*production, *staging} if production.get(key) != staging.get(key)}
    assert differing == {"profiles", "environment", "ports", "volumes"}
    assert staging["environment"] == {**production["environment"], "STACKCTL_ROLE": "staging"}


def test_the_key_of_mlflows_webhooks_is_held_by_mlflow_and_by_what_saves_it_encrypted_alone() -> None:
    holders = [name for name, service in SERVICES.items() if "webhook_key" in service.get("secrets", ())]
    assert holders == ["mlflow", "backup", "restore"]


def test_the_backup_container_reads_data_and_writes_to_its_repository_alone() -> None:
    volumes = {volume.rpartition(":/")[0]: volume for volume in SERVICES["backup"]["volumes"]}
    assert [name for name, volume in volumes.items() if not volume.endswith(":ro")] == [
        "${STACKCTL_BACKUP_VOLUME:-backup-data}"
    ]
    assert "docker.sock" not in TEXT


def test_credentials_are_files_and_nothing_else() -> None:
    assert all(list(secret) == ["file"] for secret in DOCUMENT["secrets"].values())
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|CREDENTIAL|TOKEN|_KEY", name) and name != "STACKCTL_SECRETS":
                assert str(value).startswith("/run/secrets/"), name


def test_named_volumes_have_names_that_are_no_drive_letters() -> None:
    assert all(len(name) > 1 for name in DOCUMENT["volumes"])


def test_every_variable_is_derived_from_the_settings_or_has_a_default(tmp_path: Path) -> None:
    stack = stack_with(tmp_path)
    known = docker_environment(stack, dict.fromkeys(("store", "mlflow", "serving", "demo"), "image"))
    without_default = set(re.findall(r"\$\{(\w+)\}", TEXT))
    assert without_default <= set(known)


def test_nothing_waits_for_a_service_that_the_settings_leave_out() -> None:
    for service in SERVICES.values():
        for needed, condition in (service.get("depends_on") or {}).items():
            if "profiles" in SERVICES[needed]:
                assert condition["required"] is False


def test_something_long_running_waits_for_the_buckets_under_every_profile() -> None:
    # `up --wait` takes a one-shot service that ended for a failure, unless somebody waits for its end.
    assert SERVICES["serving"]["depends_on"]["store-init"]["condition"] == "service_completed_successfully"


def test_further_files_join_where_they_are_wanted(tmp_path: Path) -> None:
    plain = stack_with(tmp_path / "plain")
    assert docker_environment(plain, {})["COMPOSE_FILE"] == "compose.yaml"
    full = stack_with(tmp_path / "full", gpu="all")
    (full.home / "secrets").mkdir()
    (full.home / "secrets" / "mlflow_token").touch()
    (full.home / "compose.override.yaml").touch()
    files = docker_environment(full, {})["COMPOSE_FILE"].split(":")
    assert files == ["compose.yaml", "compose.gpu.yaml", "compose.token.yaml", "compose.override.yaml"]
    assert all((full.home / name).is_file() for name in files)


@pytest.mark.parametrize(("limit", "soft"), [("1g", "716MiB"), ("512m", "358MiB")])
def test_the_stores_collector_knows_the_memory_limit(tmp_path: Path, limit: str, soft: str) -> None:
    stack = stack_with(tmp_path, memory={"store": limit})
    assert docker_environment(stack, {})["STACKCTL_GO_MEMORY_STORE"] == soft
