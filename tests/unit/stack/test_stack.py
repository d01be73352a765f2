"""The stack: settings from stack.yaml, and what services are told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackctl.errors import NotAStack, StackctlError, UsageError
from stackctl.stack import Settings, Stack
from stackctl.stack.environment import docker_environment, local_environment, write_dotenv
from stackctl.stack.pages import page_address


def stack_of(folder: Path, text: str) -> Stack:
    """Write ``stack.yaml`` and read the stack."""
    folder.mkdir(parents=True, exist_ok=True)
    section = "" if "backup:" in text else "\nbackup: {}"
    (folder / "stack.yaml").write_text(f"name: tested\n{text}{section}")
    return Stack.from_folder(folder)


def test_a_stack_is_found_from_a_folder_below_it(tmp_path: Path) -> None:
    stack_of(tmp_path, "")
    (tmp_path / "data" / "inbound").mkdir(parents=True)
    assert Stack.find(tmp_path / "data" / "inbound").home == tmp_path.resolve()


def test_outside_a_stack_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotAStack) as caught:
        Stack.find(tmp_path)
    assert caught.value.code == 6
    assert "stackctl init" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("ports: {mlflow: 8000}", "8000"),
        ("ports: {mlflow: 0}", "ports.mlflow"),
        ("engine: podman", "engine"),
        ("engine: docker\nstore: {kind: folder}", "local engine only"),
        ("store: {kind: s3}", "endpoint"),
        ("mlflow: {kind: external}", "tracking_uri"),
        ("memory: {mlflow: lots}", "memory.mlflow"),
        ("buckets: {inbound: same-name, outbound: same-name}", "same name"),
        ("surprise: 1", "surprise"),
        ("exposure: lan", "exposure"),
        ("serving: {packages: ['--index-url=http://x']}", "serving.packages"),
        ("serving: {packages: ['x @ https://me:hush@x/x.whl']}", "serving.packages"),
        ("deploy: {policy: sometimes}", "deploy.policy"),
        ("deploy: {min_delta: -1}", "deploy.min_delta"),
        ("deploy: {direction: up}", "deploy.direction"),
        ("ports: {demo: 8889, serving_staging: 8889}", "8889"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_its_name(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        stack_of(tmp_path, text)


def test_a_folder_that_was_made_before_there_were_backups_runs_without_their_service(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text("name: older\nstore: {kind: folder}")
    assert [service.name for service in Stack.from_folder(tmp_path).services] == ["mlflow", "serving", "demo"]


def test_a_setting_that_stands_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"engine stands twice(.|\n)*line 3"):
        stack_of(tmp_path, "engine: local\nengine: docker\n")


def test_services_follow_from_what_is_bundled(tmp_path: Path) -> None:
    def names(text: str) -> list[str]:
        return [service.name for service in stack_of(tmp_path, text).services]

    assert names("store: {kind: minio}") == ["store", "mlflow", "serving", "demo", "backup"]
    assert names("store: {kind: folder}") == ["mlflow", "serving", "demo", "backup"]
    staged = "store: {kind: folder}\nserving: {staging: true}\ndeploy: {policy: auto}\nbackup: {schedule: null}"
    assert names(staged) == ["mlflow", "serving", "serving-staging", "deployer", "demo"]
    external = (
        "mlflow: {kind: external, tracking_uri: 'http://there:5000'}\nstore: {kind: s3, endpoint: 'http://s3:9000'}"
    )
    assert names(external) == ["serving", "demo", "backup"]


def test_a_stack_without_the_newer_settings_keeps_the_ports_it_has(tmp_path: Path) -> None:
    ports = stack_of(tmp_path, "ports: {serving: 8889, demo: 8890}").settings.ports
    assert (ports.serving, ports.demo) == (8889, 8890)
    assert len({port for _, port in ports}) == 8


def test_a_stack_that_uses_the_newer_buckets_name_itself_keeps_it(tmp_path: Path) -> None:
    assert stack_of(tmp_path, "store: {kind: minio}").settings.buckets.quarantine == "quarantine"
    buckets = stack_of(tmp_path, "buckets: {inbound: quarantine}").settings.buckets
    assert (buckets.inbound, buckets.quarantine) == ("quarantine", "quarantine-2")


def test_batch_workers_are_a_number_or_auto(tmp_path: Path) -> None:
    assert stack_of(tmp_path, "store: {kind: minio}").settings.batch.workers == "auto"
    assert stack_of(tmp_path, "batch: {workers: 3}").settings.batch.workers == 3
    for wrong in ("0", "65", "many", "1.5"):
        with pytest.raises(UsageError, match=r"batch\.workers"):
            stack_of(tmp_path, f"batch: {{workers: {wrong}}}")


def test_each_target_has_the_servers_that_follow_it(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, "ports: {serving: 1111, serving_staging: 2222}")
    assert (stack.servers_for("production"), stack.servers_for("staging")) == (("http://127.0.0.1:1111",), ())
    stack = stack_of(tmp_path, "ports: {serving: 1111, serving_staging: 2222}\nserving: {staging: true}")
    assert stack.servers_for("staging") == ("http://127.0.0.1:2222",)


def test_the_deployer_finds_in_its_environment_what_stack_yaml_says(tmp_path: Path) -> None:
    text = "serving: {staging: true}\ndeploy: {policy: auto, metric: loss, min_delta: 0.25, direction: lower}\n"
    stack = stack_of(tmp_path, text)
    inside = Stack.from_env(local_environment(stack))
    assert inside.settings.deploy == stack.settings.deploy
    assert inside.servers_for("staging") == stack.servers_for("staging")
    assert inside.servers_for("production") == stack.servers_for("production")


def test_a_service_speaks_to_the_store_in_the_region_that_stack_yaml_says(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, "store: {kind: s3, endpoint: 'http://s3:9000', region: eu-west-1}")
    assert Stack.from_env(local_environment(stack)).settings.store.region == "eu-west-1"


def test_staging_and_the_deployer_are_profiles_of_compose(tmp_path: Path) -> None:
    text = "engine: docker\nstore: {kind: minio}\n"
    assert docker_environment(stack_of(tmp_path, text), {})["STACKCTL_SERVING_STAGING_URL"] == ""
    text += "serving: {staging: true}\ndeploy: {policy: auto}\n"
    environment = docker_environment(stack_of(tmp_path, text), {})
    assert environment["COMPOSE_PROFILES"] == "bundled-store,bundled-mlflow,staging,deployer,backup"
    assert environment["STACKCTL_SERVING_STAGING_URL"] == "http://serving-staging:8888"


def test_under_docker_containers_reach_each_other_by_name(tmp_path: Path) -> None:
    environment = docker_environment(stack_of(tmp_path, "engine: docker"), {"mlflow": "stackctl/mlflow:1"})
    assert environment["STACKCTL_MLFLOW_URI"] == "http://mlflow:5000"
    assert environment["STACKCTL_STORE_ENDPOINT"] == "http://store:9000"
    assert environment["COMPOSE_PROFILES"] == "bundled-store,bundled-mlflow,backup"
    assert environment["STACKCTL_IMAGE_MLFLOW"] == "stackctl/mlflow:1"


def test_external_services_leave_their_profiles_out(tmp_path: Path) -> None:
    text = (
        "engine: docker\nmlflow: {kind: external, tracking_uri: 'https://mlflow.example.org/'}\n"
        "store: {kind: s3, endpoint: 'https://s3.example.org'}"
    )
    environment = docker_environment(stack_of(tmp_path, text), {})
    assert environment["COMPOSE_PROFILES"] == "backup"
    assert environment["STACKCTL_MLFLOW_URI"] == "https://mlflow.example.org"
    assert environment["STACKCTL_STORE_ENDPOINT"] == "https://s3.example.org"


def test_an_override_file_and_a_gpu_join_the_compose_files(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, "engine: docker\ngpu: all")
    (tmp_path / "compose.override.yaml").touch()
    files = docker_environment(stack, {})["COMPOSE_FILE"].split(":")
    assert files == ["compose.yaml", "compose.gpu.yaml", "compose.override.yaml"]


def test_mlflow_accepts_its_names_with_and_without_a_port(tmp_path: Path) -> None:
    hosts = local_environment(stack_of(tmp_path, "mlflow: {allowed_hosts: [lab.example.org]}"))
    allowed = hosts["STACKCTL_MLFLOW_ALLOWED_HOSTS"].split(",")
    assert {"mlflow", "mlflow:*", "localhost:*", "127.0.0.1:*", "lab.example.org", "lab.example.org:*"} <= set(allowed)


def test_the_derived_file_is_written_once_and_keeps_odd_characters(tmp_path: Path) -> None:
    file = write_dotenv(tmp_path, {"PLAIN": "a", "ODD": "it's $5 #1 \\"})
    assert "ODD='it\\'s $5 #1 \\\\'" in file.read_text()
    before = file.stat().st_mtime_ns
    assert write_dotenv(tmp_path, {"PLAIN": "a", "ODD": "it's $5 #1 \\"}).stat().st_mtime_ns == before


def test_a_missing_secret_is_named_without_a_value(tmp_path: Path) -> None:
    with pytest.raises(StackctlError, match="demo_secret_key"):
        stack_of(tmp_path, "").secret("demo_secret_key")


def test_a_service_reads_its_stack_from_the_environment() -> None:
    stack = Stack.from_env(
        {"STACKCTL_NAME": "tested", "STACKCTL_MODEL": "m", "MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    )
    assert (stack.name, stack.settings.model) == ("tested", "m")
    assert stack.endpoints.registry == stack.endpoints.mlflow == "http://mlflow:5000"
    with pytest.raises(StackctlError, match="STACKCTL_MODEL"):
        Stack.from_env({"STACKCTL_NAME": "tested"})


@pytest.mark.parametrize(("kind", "start"), [("minio", "http://127.0.0.1:9001"), ("folder", "file:///")])
def test_the_stores_page_is_its_console_or_its_folder(tmp_path: Path, kind: str, start: str) -> None:
    assert page_address(stack_of(tmp_path, f"store: {{kind: {kind}}}"), "store").startswith(start)


def test_defaults_make_settings_that_load() -> None:
    assert Settings.parse({"name": "fine"}).ports.mlflow == 5000
