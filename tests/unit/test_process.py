"""Processes: nothing outlives an interrupt or a deadline, and an error carries what happened."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.waiting import PATIENCE, eventually

from stackctl.errors import MissingPrerequisite, StackctlError
from stackctl.process import ProcessFailed, ProcessTimeout, lines, run, start, stop

FAMILY = "import subprocess, sys, time; subprocess.Popen(['sleep', '300']); print('up', flush=True); time.sleep(300)"
DEADLINES = (0.5, 2, 8, 32)  # the shortest by which a program is up


def alive(group: int) -> bool:
    """Return whether any process of a group is still there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_output_and_status_are_returned() -> None:
    done = run(
        [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"], check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_failure_carries_argv_status_and_the_end_of_the_output() -> None:
    script = "import sys; [print(i) for i in range(100)]; sys.exit(7)"
    with pytest.raises(ProcessFailed) as caught:
        run([sys.executable, "-c", script])
    assert caught.value.completed.returncode == 7
    assert "exit status 7" in caught.value.message
    assert caught.value.message.endswith("99")
    assert "\n5\n" not in caught.value.message


def test_a_program_that_is_not_there_is_a_missing_prerequisite() -> None:
    with pytest.raises(MissingPrerequisite, match="no-such-program"):
        run(["no-such-program"])


def test_a_missing_working_directory_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(StackctlError, match="does not exist"):
        run([sys.executable, "-c", ""], cwd=tmp_path / "gone")


def test_at_its_deadline_the_whole_group_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"import os; open({str(file)!r}, 'w').write(str(os.getpid())); {FAMILY}"
    for seconds in DEADLINES:
        with pytest.raises(ProcessTimeout):
            run([sys.executable, "-c", script], timeout=seconds)
        if file.is_file() and file.read_text():
            break
    eventually(lambda: not alive(int(file.read_text())), "the end of the whole group")


def test_at_its_deadline_a_followed_program_is_ended_too() -> None:
    seen: list[str] = []
    for seconds in DEADLINES:
        with pytest.raises(ProcessTimeout):
            run([sys.executable, "-c", FAMILY], timeout=seconds, on_line=seen.append)
        if seen:
            break
    assert seen == ["up"]


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
from stackctl.process import run

file, script = Path(sys.argv[1]), sys.argv[2]

def interrupt_when_up():
    while not (file.exists() and file.read_text()):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt_when_up, daemon=True).start()
try:
    run([sys.executable, "-c", script])
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_ends_the_whole_group(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"import os; open({str(file)!r}, 'w').write(str(os.getpid())); {FAMILY}"
    assert run([sys.executable, "-c", INTERRUPTED, file, script], timeout=PATIENCE).stdout.split() == ["interrupted"]
    eventually(lambda: not alive(int(file.read_text())), "the end of the whole group")


def test_lines_come_as_they_are_written_and_closing_ends_the_program() -> None:
    following = lines([sys.executable, "-c", FAMILY])
    assert next(following) == "up"
    following.close()


def test_variables_are_added_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT_HERE", "kept")
    script = "import os; print(os.environ['KEPT_HERE'], os.environ['ADDED'])"
    assert run([sys.executable, "-c", script], env={"ADDED": "added"}).stdout == "kept added\n"


def test_a_started_program_writes_to_its_log_until_it_is_stopped(tmp_path: Path) -> None:
    process = start([sys.executable, "-c", FAMILY], log=tmp_path / "logs" / "family.log")
    log = tmp_path / "logs" / "family.log"
    eventually(lambda: "up" in log.read_text(), "its first line", running=process)
    stop(process)
    assert log.read_text() == "up\n"
    eventually(lambda: not alive(process.pid), "the end of the whole group")
