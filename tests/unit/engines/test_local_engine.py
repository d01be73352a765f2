"""The local engine where nothing runs, and what supervisord is started with."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
from support.local_stack import make_local_stack, write_settings
from support.ports import free_port

from stackctl.engines import local_holdings
from stackctl.engines.local import LocalEngine
from stackctl.engines.local_lock import held
from stackctl.engines.supervisor_config import (
    foreign_variables,
    make_runtime_folder,
    runtime_folder,
    supervisor_environment,
)
from stackctl.errors import StackctlError, UsageError
from stackctl.process import run
from stackctl.stack import Stack


@pytest.fixture(autouse=True)
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir()


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return make_local_stack(tmp_path / "a stack with % and spaces")


def test_a_stack_that_never_ran_is_stopped_and_holds_nothing(stack: Stack) -> None:
    engine = LocalEngine(stack)
    assert [(state.name, state.state) for state in engine.states()] == [
        ("mlflow", "stopped"),
        ("serving", "stopped"),
        ("demo", "stopped"),
        ("backup", "stopped"),
    ]
    assert engine.holdings() == []
    assert engine.preflight() == []
    engine.down()


def test_asking_a_stopped_stack_for_its_state_imports_nothing_heavy(stack: Stack) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from stackctl.engines.local import LocalEngine; from stackctl.stack import Stack\n"
        f"LocalEngine(Stack.from_folder(Path({str(stack.home)!r}))).states()\n"
        "heavy = ('psutil', 'xmlrpc', 'supervisor', 'mlflow', 'numpy', 'httpx', 'minio')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert run([sys.executable, "-c", code]).stdout.strip() == "[]"


def test_a_socket_that_nobody_answers_means_stopped(stack: Stack) -> None:
    folder = make_runtime_folder(stack)
    (folder / "supervisor.sock").touch()
    assert {state.state for state in LocalEngine(stack).states()} == {"stopped"}
    LocalEngine(stack).down()
    assert not (folder / "supervisor.sock").exists()


def test_supervisords_own_parser_accepts_the_configuration(stack: Stack) -> None:
    environment = supervisor_environment(stack, Path(sys.executable), None)
    code = (
        "from supervisor.options import ServerOptions; o = ServerOptions(); o.realize(['-c', 'supervisord.conf'])\n"
        "for g in o.process_group_configs:\n"
        "  p = g.process_configs[0]\n"
        "  print(g.name, p.autostart, p.autorestart.__name__, p.stopasgroup, p.killasgroup, p.stdout_logfile)"
    )
    (stack.var / "logs").mkdir(parents=True)
    make_runtime_folder(stack)
    lines = run([sys.executable, "-c", code], cwd=stack.home, env=environment).stdout.splitlines()
    names = ["store", "mlflow", "serving", "serving-staging", "deployer", "demo", "backup"]
    assert [line.split()[0] for line in lines] == names
    for line in lines:
        name = line.split()[0]
        assert line == f"{name} False RestartUnconditionally True True var/logs/{name}.log"


def test_a_changed_port_changes_the_fingerprint_and_the_same_settings_do_not(stack: Stack) -> None:
    def current() -> str:
        return supervisor_environment(Stack.from_folder(stack.home), Path(sys.executable), None)["STACKCTL_FINGERPRINT"]

    before = current()
    assert current() == before
    ports = {**stack.settings.ports.model_dump(), "mlflow": free_port()}
    write_settings(stack.home, name="tested", engine="local", store={"kind": "folder"}, ports=ports)
    changed = current()
    assert changed != before
    with (stack.home / "supervisord.conf").open("a") as handle:
        handle.write("; a person's own note\n")
    assert current() != changed


def test_the_socket_stays_short_and_private_whatever_the_folder_is_called(tmp_path: Path) -> None:
    stack = make_local_stack(tmp_path / ("deep-" * 20) / ("deeper-" * 20))
    folder = make_runtime_folder(stack)
    assert len(folder.name) == 16
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_the_runtime_folder_is_found_again_without_the_variable_that_placed_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_runtime_folder(stack)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_folder(stack) == folder


def test_a_runtime_folder_that_is_a_link_is_refused(stack: Stack, tmp_path: Path) -> None:
    parent = runtime_folder(stack).parent
    (tmp_path / "elsewhere").mkdir()
    parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackctlError, match="belongs to somebody else"):
        make_runtime_folder(stack)


def test_the_callers_own_credentials_and_servers_do_not_reach_the_services(stack: Stack) -> None:
    environment = supervisor_environment(stack, Path(sys.executable), None)
    caller = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_PROFILE": "x",
        "AWS_CA_BUNDLE": "x",
        "MLFLOW_TRACKING_URI": "x",
        "MLFLOW_EXPERIMENT_NAME": "x",
        "MLFLOW_TRACKING_TOKEN": "x",
        "PATH": os.defpath,
    }
    assert foreign_variables(caller, environment) == ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "MLFLOW_EXPERIMENT_NAME"]


def test_no_secret_is_in_the_environment_of_supervisord(stack: Stack) -> None:
    environment = supervisor_environment(stack, Path(sys.executable), None)
    values = " ".join(environment.values())
    for file in (stack.home / "secrets").iterdir():
        for word in file.read_text().split():
            assert len(word) < 16 or word not in values


def test_an_unknown_service_is_refused_with_the_known_ones(stack: Stack) -> None:
    with pytest.raises(UsageError) as caught:
        LocalEngine(stack).logs(["nosuch"], follow=False, tail=None, since=None)
    assert "mlflow" in (caught.value.hint or "")


def test_a_missing_minio_is_a_problem_that_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))
    problems = LocalEngine(make_local_stack(tmp_path / "stack", store="minio")).preflight()
    assert [problem.fix for problem in problems] == ["stackctl store build"]


def test_a_command_runs_once_with_the_stacks_settings_and_host_paths(stack: Stack, tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['MLFLOW_TRACKING_URI'], sys.argv[1])"
    done = LocalEngine(stack).run_once(
        "serving", ["python", "-c", code, "{mount:/data}/in"], mounts={tmp_path: "/data"}
    )
    assert done.stdout.split() == [stack.endpoints.mlflow, f"{tmp_path}/in"]


def test_destroy_deletes_what_holdings_named(stack: Stack) -> None:
    (stack.var / "mlflow").mkdir(parents=True)
    (stack.var / "mlflow" / "mlflow.db").write_bytes(b"x" * 2_000_000)
    engine = LocalEngine(stack)
    runtime = make_runtime_folder(stack)
    assert engine.holdings() == [f"folder {stack.var} (databases, artifacts, logs; 2 MB)"]
    engine.destroy()
    assert not stack.var.exists()
    assert not runtime.exists()
    assert (stack.home / "stack.yaml").is_file()


def test_snapshots_outlive_the_other_data_of_a_stack(stack: Stack) -> None:
    for name in ("mlflow", "backups/snapshots"):
        (stack.var / name).mkdir(parents=True)
    engine = LocalEngine(stack)
    assert engine.holdings(backups=False) == [
        f"folder {stack.var} (databases, artifacts, logs; 0 MB), but not its snapshots"
    ]
    engine.destroy(backups=False)
    assert [entry.name for entry in stack.var.iterdir()] == ["backups"]
    assert engine.holdings(backups=False) == []


def test_snapshots_outlive_the_other_data_also_where_settings_put_them_deep_into_var(stack: Stack) -> None:
    target = stack.var / "own" / "snapshots-of-mine"
    write_settings(stack.home, name="tested", store={"kind": "folder"}, backup={"target": str(target)})
    for folder in (target, stack.var / "mlflow"):
        folder.mkdir(parents=True)
    LocalEngine(Stack.from_folder(stack.home)).destroy(backups=False)
    assert target.is_dir()
    assert not (stack.var / "mlflow").exists()


def test_a_configuration_without_a_service_that_the_settings_ask_for_is_a_problem(stack: Stack) -> None:
    config = stack.home / "supervisord.conf"
    config.write_text(config.read_text().replace("[program:serving-staging]", "[program:another]"))
    assert LocalEngine(stack).preflight() == []
    write_settings(stack.home, name="tested", store={"kind": "folder"}, serving={"staging": True})
    (problem,) = LocalEngine(Stack.from_folder(stack.home)).preflight()
    assert "serving-staging" in problem.what
    assert problem.fix == "stackctl update"


def test_whoever_waited_for_the_lock_that_destroy_deleted_holds_the_new_one(tmp_path: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with held(tmp_path / "var"):
            order.append("second")
            assert (tmp_path / "var" / "run" / "lock").is_file()

    with held(tmp_path / "var"):
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait(5)
        shutil.rmtree(tmp_path / "var")
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_snapshots_that_a_link_leads_to_stay_wherever_it_is(tmp_path: Path) -> None:
    var, disk, outside = tmp_path / "stack" / "var", tmp_path / "disk", tmp_path / "outside"
    for folder in (var / "own", var / "mlflow", disk / "snapshots"):
        folder.mkdir(parents=True)
    outside.symlink_to(var / "own")
    local_holdings.delete(var, keep=outside)
    assert [entry.name for entry in var.iterdir()] == ["own"]
    (var / "inside").symlink_to(disk)
    local_holdings.delete(var, keep=var / "inside" / "snapshots")
    assert [entry.name for entry in var.iterdir()] == ["inside"]
    assert (var / "inside" / "snapshots").is_dir()
