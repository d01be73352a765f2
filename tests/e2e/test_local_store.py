"""The local engine with real processes: MLflow under supervisord, crashes, moves, interrupts, and a real MinIO."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
from support.local_stack import make_local_stack, write_settings
from support.ports import free_port
from support.waiting import PATIENCE, eventually

from stackctl.engines.local import LocalEngine
from stackctl.engines.local_processes import answers, port_is_open, supervised
from stackctl.engines.protocol import ServiceState
from stackctl.errors import StackctlError, Unhealthy
from stackctl.process import start
from stackctl.stack import Stack
from stackctl.store.minio import build_minio, find_minio
from stackctl.store.urls import open_store

pytestmark = pytest.mark.slow

UP = """
import sys
from pathlib import Path
from stackctl.engines.local import LocalEngine
from stackctl.stack import Stack
engine = LocalEngine(Stack.from_folder(Path(sys.argv[1])))
engine.up(sys.argv[2:], lambda subject, what: print(subject, what, flush=True))
"""


def silent(_subject: str, _what: str) -> None:
    """Draw nothing."""


def state_of(engine: LocalEngine, name: str) -> ServiceState:
    return next(state for state in engine.states() if state.name == name)


def python_on(port: int) -> psutil.Process:
    return next(
        psutil.Process(connection.pid)
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid
    )


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = make_local_stack(tmp_path / "local stack")
    yield made
    LocalEngine(Stack.from_folder(made.home)).destroy()
    assert supervised(made.home) == []


def test_a_killed_service_comes_back_and_down_leaves_no_process(stack: Stack) -> None:
    engine = LocalEngine(stack)
    seen: list[tuple[str, str]] = []
    engine.up(["mlflow"], lambda subject, what: seen.append((subject, what)))
    assert seen == [("mlflow", "starting"), ("mlflow", "started")]
    port = stack.settings.ports.mlflow
    running = state_of(engine, "mlflow")
    assert (running.state, running.restarts) == ("running", 0)
    assert running.version
    assert running.memory
    assert running.memory > 100 * 2**20

    server = python_on(port)
    engine.up(["mlflow"], silent)
    assert python_on(port) == server, "an unchanged up must leave running services alone"

    # The leader of MLflow's group dies; the server below it would keep the port for ever.
    leader = server.parent() or server
    leader.kill()
    eventually(lambda: state_of(engine, "mlflow").restarts == 1, "a restart")
    eventually(lambda: answers(port, "/health"), "health after the restart")
    assert python_on(port).pid != server.pid
    assert any(line.startswith("mlflow  | ") for line in engine.logs([], follow=False, tail=5, since="10m"))

    members = supervised(stack.home)
    assert len(members) >= 2
    engine.down()
    assert not [process for process in members if process.is_running()]
    assert not port_is_open(port)
    assert state_of(engine, "mlflow").state == "stopped"


def test_a_port_edited_in_the_settings_moves_the_service_and_keeps_its_data(stack: Stack) -> None:
    LocalEngine(stack).up(["mlflow"], silent)
    database = stack.var / "mlflow" / "mlflow.db"
    before = database.stat().st_ino
    old, new = stack.settings.ports.mlflow, free_port()
    ports = {**stack.settings.ports.model_dump(), "mlflow": new}
    write_settings(stack.home, name="tested", engine="local", store={"kind": "folder"}, ports=ports)
    LocalEngine(Stack.from_folder(stack.home)).up(["mlflow"], silent)
    assert answers(new, "/health")
    assert not port_is_open(old)
    assert database.stat().st_ino == before


def test_ctrl_c_during_up_leaves_no_process(stack: Stack) -> None:
    process = start([sys.executable, "-c", UP, stack.home, "mlflow"], log=stack.home / "up.log")
    log = stack.home / "up.log"
    eventually(lambda: "mlflow starting" in log.read_text(), "the start of mlflow")
    eventually(lambda: len(supervised(stack.home)) >= 2, "a process of mlflow")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) != 0
    assert "KeyboardInterrupt" in log.read_text()
    assert supervised(stack.home) == []
    assert state_of(LocalEngine(stack), "mlflow").state == "stopped"


def test_down_ends_what_a_killed_supervisord_left_behind(stack: Stack) -> None:
    engine = LocalEngine(stack)
    engine.up(["mlflow"], silent)
    supervisord = next(process for process in supervised(stack.home) if "supervisor.supervisord" in process.cmdline())
    supervisord.kill()
    supervisord.wait(PATIENCE)
    assert port_is_open(stack.settings.ports.mlflow)
    left = state_of(engine, "mlflow")
    assert (left.state, "supervisord" in str(left.detail)) == ("exited", True)
    engine.down()
    assert state_of(engine, "mlflow").state == "stopped"
    assert supervised(stack.home) == []
    assert not port_is_open(stack.settings.ports.mlflow)


def test_a_service_that_cannot_start_is_unhealthy_and_its_log_is_quoted(stack: Stack) -> None:
    config = stack.home / "supervisord.conf"
    config.write_text(config.read_text().replace("--workers 1", "--workers none"))
    with pytest.raises(Unhealthy) as caught:
        LocalEngine(stack).up(["mlflow"], silent)
    assert "MLflow (mlflow) ended while it started" in caught.value.message
    assert "Invalid value for '--workers'" in caught.value.message
    assert caught.value.hint == "See `stackctl logs mlflow`."
    assert LocalEngine(stack).states(), "what was started stays for a person to look at"


def test_a_taken_port_is_told_before_anything_is_started_on_it(stack: Stack) -> None:
    import socket

    with socket.create_server(("127.0.0.1", stack.settings.ports.mlflow)), pytest.raises(Unhealthy, match="is taken"):
        LocalEngine(stack).up(["mlflow"], silent)
    assert replace(state_of(LocalEngine(stack), "mlflow"), detail=None) == ServiceState("mlflow", "stopped")


@pytest.fixture(scope="session")
def minio_program() -> Path:
    """Return MinIO's program, built with go where there is none yet."""
    return find_minio() or build_minio(silent)


@pytest.fixture
def minio_stack(minio_program: Path, tmp_path: Path) -> Iterator[Stack]:
    made = make_local_stack(tmp_path / "minio stack", store="minio")
    yield made
    LocalEngine(made).destroy()
    assert supervised(made.home) == []


@pytest.mark.timeout(900)
def test_artifacts_end_in_a_real_minio_whose_bucket_keeps_versions(minio_stack: Stack) -> None:
    seen: list[str] = []
    LocalEngine(minio_stack).up(["mlflow"], lambda subject, what: seen.append(f"{subject} {what}"))
    assert seen == [
        "store starting",
        "store started",
        "buckets making those that are missing",
        "buckets there",
        "mlflow starting",
        "mlflow started",
    ]
    artifact = f"{minio_stack.endpoints.mlflow}/api/2.0/mlflow-artifacts/artifacts/1/some-run/artifacts/note.txt"
    for text in (b"first", b"second"):
        assert httpx.put(artifact, content=text, timeout=PATIENCE).status_code == 200
    store = open_store(minio_stack, f"s3://{minio_stack.settings.buckets.mlflow}/1")
    assert store.get("some-run/artifacts/note.txt") == b"second"
    assert [info.key for info in store.list("some-run")] == ["some-run/artifacts/note.txt"]
    assert versions_of(minio_stack, "1/some-run/artifacts/note.txt") == 2

    images = open_store(minio_stack, "s3://inbound")
    for key in ("a b.png", "100% ü.png", "deep/[1].png"):
        images.put(key, b"pixels")
        assert images.get(key) == b"pixels"
        assert images.exists(key)
        images.delete(key)
        assert not images.exists(key)
    assert list(images.list()) == []


@pytest.mark.timeout(900)
def test_wrong_credentials_for_a_real_minio_stop_up_with_the_endpoint_and_no_key(minio_stack: Stack) -> None:
    wrong = "wrong-secret-key-0123456789"
    file = minio_stack.home / "secrets" / "s3_credentials"
    file.write_text(f"[default]\naws_access_key_id = nobody\naws_secret_access_key = {wrong}\n")
    with pytest.raises(StackctlError) as caught:
        LocalEngine(minio_stack).up(["store"], silent)
    assert f"The object store at {minio_stack.endpoints.store} refuses the credentials" in caught.value.message
    assert wrong not in f"{caught.value.message}{caught.value.hint}"
    with pytest.raises(StackctlError, match="refuses access to s3://inbound/a"):
        open_store(minio_stack, "s3://inbound").get("a")


def versions_of(stack: Stack, key: str) -> int:
    from minio import Minio

    client = Minio(
        endpoint=f"127.0.0.1:{stack.settings.ports.store}",
        access_key=stack.secret("store_root_user"),
        secret_key=stack.secret("store_root_password"),
        secure=False,
    )
    found = client.list_objects(bucket_name=stack.settings.buckets.mlflow, prefix=key, include_version=True)
    return len(list(found))
