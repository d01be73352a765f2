"""Downloads against a real server: resumed, pinned, atomic, and told well when they cannot be had."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ports import free_port
from support.weights_server import WeightsServer, weights_server

from stackctl.checkpoints import catalogue, download
from stackctl.checkpoints.catalogue import Checkpoint
from stackctl.errors import StackctlError, UsageError

CONTENT = random.Random(1).randbytes(3_000_000)
ENTRY = Checkpoint("tiny", "v1", hashlib.sha256(CONTENT).hexdigest(), "RRDBNet", 4, "a test")


@pytest.fixture
def server() -> Iterator[WeightsServer]:
    with weights_server() as running:
        running.files["tiny.pth"] = CONTENT
        yield running


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)


def fetch(source: str | None) -> tuple[Path, list[str]]:
    """Fetch the entry; return the file and what was said."""
    said: list[str] = []
    return download.fetch(ENTRY, source=source, note=said.append), said


def left() -> list[str]:
    """Return the names in the folder of weights, locks aside."""
    return sorted(file.name for file in download.weights_folder().glob("*") if not file.name.startswith("."))


def test_a_download_is_checked_shown_and_done_once(server: WeightsServer) -> None:
    file, said = fetch(server.url)
    again, _ = fetch(server.url)

    assert file == again
    assert file.read_bytes() == CONTENT
    assert said[-1] == "3.0 MB of 3.0 MB"
    assert (left(), len(server.asked)) == (["tiny.pth"], 1)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server: WeightsServer) -> None:
    server.breaks, server.broken_after = 2, 1_200_000

    file, said = fetch(f"{server.url}/tiny.pth")

    assert file.read_bytes() == CONTENT
    assert server.asked[0] is None
    assert server.asked[1:] == ["bytes=1200000-", "bytes=2400000-"]
    assert "connection lost, going on at 1.2 MB" in said


def test_an_interrupted_download_is_gone_on_with_by_the_next_command(server: WeightsServer) -> None:
    server.breaks, server.broken_after = 100, 500_000

    with pytest.raises(StackctlError, match="could not be downloaded"):
        fetch(server.url)
    assert left() == ["tiny.pth.part"]
    server.breaks = 0
    server.asked.clear()
    file, _ = fetch(server.url)

    assert file.read_bytes() == CONTENT
    assert server.asked == ["bytes=2000000-"]
    assert left() == ["tiny.pth"]


def test_a_server_without_ranges_sends_all_of_it_again(server: WeightsServer) -> None:
    server.ranges, server.breaks, server.broken_after = False, 1, 1_000_000

    assert fetch(server.url)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("length", [1_000_000, len(CONTENT), len(CONTENT) + 5])
def test_a_part_of_another_file_is_thrown_away(server: WeightsServer, length: int) -> None:
    download.weights_folder().mkdir(parents=True)
    (download.weights_folder() / "tiny.pth.part").write_bytes(b"x" * length)

    assert fetch(server.url)[0].read_bytes() == CONTENT
    assert left() == ["tiny.pth"]


def test_wrong_bytes_are_refused_and_nothing_is_left(server: WeightsServer) -> None:
    server.files["tiny.pth"] = CONTENT[:-1] + b"!"

    with pytest.raises(StackctlError, match="is not the file that is pinned"):
        fetch(server.url)
    assert left() == []


def test_a_kept_file_that_was_damaged_is_fetched_again(server: WeightsServer) -> None:
    file, _ = fetch(server.url)
    file.write_bytes(CONTENT[:100])

    assert fetch(server.url)[0].read_bytes() == CONTENT


def test_what_is_missing_on_a_mirror_and_a_mirror_that_is_not_there_say_how_to_go_on(server: WeightsServer) -> None:
    for place, said in (
        (f"{server.url}/elsewhere", "answers 404"),
        (f"http://127.0.0.1:{free_port()}", "could not be downloaded"),
    ):
        with pytest.raises(StackctlError, match=said) as caught:
            fetch(place)
        assert "STACKCTL_WEIGHTS_DIR" in (caught.value.hint or "")


def test_a_folder_serves_as_well_by_option_or_by_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.pth").write_bytes(CONTENT)

    assert fetch(str(tmp_path))[0] == tmp_path / "tiny.pth"
    monkeypatch.setenv("STACKCTL_WEIGHTS_DIR", str(tmp_path))
    assert fetch(None)[0] == tmp_path / "tiny.pth"
    (tmp_path / "tiny.pth").write_bytes(b"other")
    with pytest.raises(StackctlError, match="is not upstream's"):
        fetch(None)
    (tmp_path / "tiny.pth").unlink()
    with pytest.raises(UsageError, match="There is no"):
        fetch(None)


def test_the_catalogue_has_upstreams_seven_networks() -> None:
    assert len(catalogue.CATALOGUE) == 7
    assert all(len(entry.sha256) == 64 for entry in catalogue.CATALOGUE.values())
    assert catalogue.CATALOGUE["RealESRGAN_x2plus"].url.endswith("/v0.2.1/RealESRGAN_x2plus.pth")
    assert {entry.weak_denoise for entry in catalogue.CATALOGUE.values()} == {None, "realesr-general-wdn-x4v3"}
