"""The local engine with real processes: MLflow under supervisord, crashes, moves, interrupts, and a real MinIO."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from support.local_stack import free_ports, make_local_stack, write_settings

from stackctl.engines.local import LocalEngine
from stackctl.engines.local_processes import answers, port_is_open, supervised
from stackctl.engines.protocol import ServiceState
from stackctl.errors import Unhealthy
from stackctl.process import start
from stackctl.stack import Stack

pytestmark = pytest.mark.slow

DEADLINE = 120.0
UP = """
import sys
from pathlib import Path
from stackctl.engines.local import LocalEngine
from stackctl.stack import Stack
engine = LocalEngine(Stack.from_folder(Path(sys.argv[1])))
engine.up(sys.argv[2:], lambda subject, what: print(subject, what, flush=True))
"""


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {DEADLINE:.0f} s"
        time.sleep(0.2)


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

    began = time.monotonic()
    engine.up(["mlflow"], silent)
    assert time.monotonic() - began < 2.0, "an unchanged up must leave running services alone"

    # The leader of MLflow's group dies; the server below it would keep the port for ever.
    server = python_on(port)
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
    old, (new,) = stack.settings.ports.mlflow, free_ports(1)
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
    assert process.wait(60) != 0
    assert "KeyboardInterrupt" in log.read_text()
    assert supervised(stack.home) == []
    assert state_of(LocalEngine(stack), "mlflow").state == "stopped"


def test_down_ends_what_a_killed_supervisord_left_behind(stack: Stack) -> None:
    engine = LocalEngine(stack)
    engine.up(["mlflow"], silent)
    supervisord = next(process for process in supervised(stack.home) if "supervisor.supervisord" in process.cmdline())
    supervisord.kill()
    supervisord.wait(10)
    assert port_is_open(stack.settings.ports.mlflow)
    assert state_of(engine, "mlflow").state == "stopped"
    engine.down()
    assert supervised(stack.home) == []
    assert not port_is_open(stack.settings.ports.mlflow)


def test_a_service_that_cannot_start_is_unhealthy_and_its_log_is_quoted(stack: Stack) -> None:
    (stack.var / "mlflow" / "mlflow.db").mkdir(parents=True)
    with pytest.raises(Unhealthy) as caught:
        LocalEngine(stack).up(["mlflow"], silent)
    assert "MLflow (mlflow) ended while it started" in caught.value.message
    assert "unable to open database file" in caught.value.message
    assert caught.value.hint == "See `stackctl logs mlflow`."


def test_a_taken_port_is_told_before_anything_is_started_on_it(stack: Stack) -> None:
    import socket

    with socket.create_server(("127.0.0.1", stack.settings.ports.mlflow)), pytest.raises(Unhealthy, match="is taken"):
        LocalEngine(stack).up(["mlflow"], silent)
    assert replace(state_of(LocalEngine(stack), "mlflow"), detail=None) == ServiceState("mlflow", "stopped")
