"""Commands that the local engine lets go: found again, ended politely or at once, never taken for others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.local_stack import make_local_stack
from support.waiting import eventually

from stackctl.engines import environments
from stackctl.engines.local import LocalEngine
from stackctl.engines.local_launches import LocalLaunches
from stackctl.errors import StackctlError, UsageError
from stackctl.process import run

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
POLITE = (
    "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(130)); print('up', flush=True); time.sleep(600)"
)
PARENT = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print(child.pid, flush=True)\n"
    "time.sleep(600)"
)


@pytest.fixture
def launches(tmp_path: Path) -> Iterator[LocalLaunches]:
    found = LocalLaunches(tmp_path / "launched")
    yield found
    found.end_all(0.0)


def start(launches: LocalLaunches, folder: Path, code: str, name: str = "batch-1") -> Path:
    log = folder / f"{name}.log"
    launches.start(name, [sys.executable, "-c", code], cwd=folder, env={}, log=log)
    eventually(lambda: log.is_file() and log.read_text(), "its first line")
    return log


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_command_is_found_by_whoever_comes_later_and_ends_politely(launches: LocalLaunches, tmp_path: Path) -> None:
    start(launches, tmp_path, POLITE)
    later = LocalLaunches(tmp_path / "launched")
    assert later.state("batch-1").alive
    later.end("batch-1", kill=False)
    eventually(lambda: not later.state("batch-1").alive, "its end")
    assert launches.state("batch-1").exit == 130
    assert later.state("batch-1").exit is None  # nobody but its parent is told


def test_it_outlives_the_process_that_started_it(tmp_path: Path, launches: LocalLaunches) -> None:
    code = (
        "import sys; from pathlib import Path; from stackctl.engines.local_launches import LocalLaunches\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"LocalLaunches(folder / 'launched').start('batch-1', [sys.executable, '-c', {SLEEPER!r}], "
        "cwd=folder, env={}, log=folder / 'log')"
    )
    run([sys.executable, "-c", code])
    assert launches.state("batch-1").alive


def test_a_kill_takes_its_workers_along(launches: LocalLaunches, tmp_path: Path) -> None:
    worker = int(start(launches, tmp_path, PARENT).read_text())
    launches.end("batch-1", kill=True)
    eventually(lambda: gone(worker), "the end of the worker")
    eventually(lambda: not launches.state("batch-1").alive, "the end of the command")
    assert launches.state("batch-1").exit == -9


def test_another_process_that_got_its_number_is_left_alone(launches: LocalLaunches, tmp_path: Path) -> None:
    (tmp_path / "launched").mkdir()
    (tmp_path / "launched" / "batch-1.json").write_text(json.dumps({"pid": os.getpid(), "started": 1.0}))
    assert not launches.state("batch-1").alive
    launches.end("batch-1", kill=True)


def test_two_of_one_name_and_names_that_are_paths_are_refused(launches: LocalLaunches, tmp_path: Path) -> None:
    start(launches, tmp_path, SLEEPER)
    with pytest.raises(StackctlError, match="runs already"):
        start(launches, tmp_path, SLEEPER)
    with pytest.raises(UsageError):
        start(launches, tmp_path, SLEEPER, name="../batch")


def test_down_ends_what_was_launched_with_the_stacks_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(environments, "worker_packages", lambda _progress: Path(sys.executable))
    stack = make_local_stack(tmp_path / "a stack")
    engine, batch = LocalEngine(stack), stack.var / "batch"
    log = batch / "runs" / "1" / "log.txt"
    code = "import os, sys, time; print(sys.argv[1], os.environ['STACKCTL_NAME'], flush=True); time.sleep(600)"
    engine.launch("batch-1", ["python", "-c", code, "{mount:/inside}/runs/1"], mounts={batch: "/inside"}, log=log)
    eventually(lambda: log.is_file() and log.read_text(), "its first line")
    assert log.read_text().rsplit(maxsplit=1) == [str(batch / "runs" / "1"), "tested"]
    assert engine.launched("batch-1").alive
    engine.down()
    assert not engine.launched("batch-1").alive


def test_there_is_nothing_to_scale_and_a_run_brings_its_own_workers(tmp_path: Path) -> None:
    engine = LocalEngine(make_local_stack(tmp_path / "stack"))
    with pytest.raises(UsageError) as caught:
        engine.scale("worker", 4, lambda _subject, _what: None)
    assert "--workers" in (caught.value.hint or "")
    assert engine.batch_scheduler(4, lambda _subject, _what: None) is None
    assert engine.on_demand() == []
