"""Log files of the local engine: tails, moments, rotation, following."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from support.waiting import PATIENCE, eventually

from stackctl.engines.local_log_times import note_growth, place_at
from stackctl.engines.local_logs import last_lines, read_logs, since_time
from stackctl.errors import UsageError


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1d", 86400)])
def test_since_accepts_durations(text: str, seconds: int) -> None:
    assert since_time(text, 1_000_000.0) == 1_000_000.0 - seconds


def test_since_accepts_iso_times_local_and_with_a_zone() -> None:
    assert since_time("2026-01-31T09:00:00+00:00", 0.0) == 1769850000.0
    assert since_time("2026-01-31T09:00:00", 0.0) == datetime(2026, 1, 31, 9).timestamp()  # noqa: DTZ001 - local time


@pytest.mark.parametrize("text", ["", "yesterday", "10", "10x", "m"])
def test_since_refuses_anything_else_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        since_time(text, 0.0)
    assert "10m" in (caught.value.hint or "")


def test_the_last_lines_of_a_long_log_are_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number} {'x' * 50}\n" for number in range(5000)))
    assert [line.split()[1] for line in last_lines(log, 3)] == ["4997", "4998", "4999"]
    assert last_lines(tmp_path / "missing.log", 3) == []
    assert last_lines(log, 0) == []


def test_every_line_begins_with_its_service(tmp_path: Path) -> None:
    (tmp_path / "mlflow.log").write_text("one\ntwo\n")
    (tmp_path / "demo.log").write_text("three\n")
    lines = list(read_logs(tmp_path, ["mlflow", "demo"], follow=False, tail=1, since=None))
    assert lines == ["mlflow | two", "demo   | three"]


def test_without_a_tail_rotated_files_come_first(tmp_path: Path) -> None:
    for suffix, text in ((".2", "first\n"), (".1", "second\n"), ("", "third\n")):
        (tmp_path / f"a.log{suffix}").write_text(text)
    (tmp_path / "a.log.times").write_text("")
    assert list(read_logs(tmp_path, ["a"], follow=False, tail=None, since=None)) == [
        "a | first",
        "a | second",
        "a | third",
    ]


def test_since_leaves_out_what_was_written_before_across_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    now = time.time()
    log.write_text("old\n")
    note_growth(log, now - 100)
    with log.open("a") as handle:
        handle.write("newer\n")
    note_growth(log, now - 50)
    log.rename(tmp_path / "a.log.1")
    log.write_text("newest\n")
    note_growth(log, now - 10)
    assert list(read_logs(tmp_path, ["a"], follow=False, tail=None, since="80s")) == ["a | newer", "a | newest"]
    assert list(read_logs(tmp_path, ["a"], follow=False, tail=None, since="30s")) == ["a | newest"]
    assert list(read_logs(tmp_path, ["a"], follow=False, tail=1, since="80s")) == ["a | newest"]


def test_an_inode_that_is_used_again_does_not_hide_new_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("short\n")
    inode = log.stat().st_ino
    log.with_name("a.log.times").write_text(f"100 {inode} 5000\n200 {inode} 2\n")
    assert place_at(log, 150.0) == {}
    assert place_at(log, 250.0) == {inode: 2}


def test_the_index_stays_short(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    index = tmp_path / "a.log.times"
    index.write_text("".join(f"{1_700_000_000 + number} 12345678 {1_000_000 + number}\n" for number in range(6000)))
    log.write_text("x\n")
    note_growth(log, 1_700_100_000.0)
    assert len(index.read_text().splitlines()) <= 4000
    assert place_at(log, 1_700_200_000.0)[log.stat().st_ino] == 2


def test_following_sees_new_lines_and_those_of_the_file_after_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("before\n")
    lines = read_logs(tmp_path, ["a"], follow=True, tail=1, since=None)
    seen: list[str] = []
    reader = threading.Thread(target=collect, args=(lines, seen, 4), daemon=True)
    reader.start()
    eventually(lambda: seen, "the last line that was there")
    with log.open("a") as handle:
        handle.write("one\ntwo")
    eventually(lambda: len(seen) == 2, "a new line")
    with log.open("a") as handle:
        handle.write(" halves\n")
    log.rename(tmp_path / "a.log.1")
    log.write_text("three\n")
    reader.join(PATIENCE)
    assert seen == ["a | before", "a | one", "a | two halves", "a | three"]


def collect(lines: Iterator[str], seen: list[str], count: int) -> None:
    for line in lines:
        seen.append(line)
        if len(seen) == count:
            return
