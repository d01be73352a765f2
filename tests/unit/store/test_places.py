"""Places of images: what they list, and what a reader sees of what is written, whatever happens."""

from __future__ import annotations

import errno
import fcntl
import http.server
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from obstore.store import MemoryStore, S3Store
from support.local_stack import make_local_stack

from stackctl.errors import StackctlError, UsageError
from stackctl.store.errors import CannotWrite, NoSpace, NotFound, StoreGone
from stackctl.store.files import PARTIAL, Files
from stackctl.store.objects import Objects
from stackctl.store.places import Place, open_place
from stackctl.store.urls import ObjectStore


@pytest.fixture(params=["folder", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        (tmp_path / "place").mkdir()
        return Files(tmp_path / "place")
    return Objects(ObjectStore("s3://bucket", MemoryStore()))


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_what_is_written_is_listed_read_and_deleted(place: Place) -> None:
    written = place.write("sub/ü #1.png", b"pixels")
    assert (written.name, written.size) == ("sub/ü #1.png", 6)
    assert list(place.list()) == [written] == [place.stat("sub/ü #1.png")]
    assert place.read("sub/ü #1.png") == b"pixels"
    place.delete("sub/ü #1.png")
    place.delete("sub/ü #1.png")
    assert list(place.list()) == []
    assert place.stat("sub/ü #1.png") is None
    with pytest.raises(NotFound):
        place.read("sub/ü #1.png")


def test_another_content_of_the_same_size_has_another_stamp(place: Place) -> None:
    assert place.write("a.png", b"one").stamp != place.write("a.png", b"two").stamp


def test_only_images_are_listed_and_none_that_is_hidden_or_half_written(tmp_path: Path) -> None:
    names = ["a.PNG", "sub/deep/b.jpeg", "c.tif"]
    fill(tmp_path, *names, "notes.txt", ".a.png", "sub/._b.jpg", ".cache/d.png", f"{PARTIAL}12", f"{PARTIAL}.png")
    (tmp_path / "link.png").symlink_to("a.PNG")
    (tmp_path / "broken.png").symlink_to("nowhere")
    (tmp_path / "round").symlink_to(tmp_path)
    assert Files(tmp_path).names() == sorted([*names, "link.png"])


def test_a_name_that_is_not_utf8_is_listed_read_and_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    place = Files(tmp_path)
    place.write(name, b"x")
    assert place.names() == [name]
    assert place.read(name) == b"x"
    with pytest.raises(CannotWrite, match="cannot be a key"):
        Objects(ObjectStore("s3://bucket", MemoryStore())).write(name, b"x")


def test_a_folder_store_is_the_folder_and_a_store_is_its_url(tmp_path: Path) -> None:
    stack = make_local_stack(tmp_path / "stack")
    place = open_place("s3://inbound/holiday/", stack)
    place.write("a.png", b"x")
    assert place.url == "s3://inbound/holiday"
    assert (stack.home / "data" / "inbound" / "holiday" / "a.png").read_bytes() == b"x"
    assert open_place(str(tmp_path), stack).url == str(tmp_path)
    with pytest.raises(UsageError, match="object store"):
        open_place("s3://inbound", None)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EIO, StoreGone), (errno.EACCES, CannotWrite)],
)
def test_a_write_that_fails_leaves_the_old_file_and_says_whether_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StackctlError]
) -> None:
    place = Files(tmp_path)
    place.write("a.png", b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind) as failed:
        place.write("a.png", b"new")
    assert type(failed.value) is kind
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.png", b"old")]


def test_a_folder_that_is_gone_is_waited_for_and_a_file_that_is_gone_is_not(tmp_path: Path) -> None:
    place = Files(tmp_path / "mount")
    for ask in (lambda: place.read("a.png"), lambda: place.stat("a.png"), lambda: list(place.list())):
        with pytest.raises(StoreGone):
            ask()
    (tmp_path / "mount").mkdir()
    with pytest.raises(NotFound):
        place.read("a.png")


def test_what_cannot_be_read_is_said_and_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a.png", "sub/b.png")
    scandir = os.scandir

    def locked(folder: str | Path) -> os._ScandirIterator[str]:
        if Path(folder).name == "sub":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(StackctlError, match="sub cannot be read: Permission denied"):
        Files(tmp_path).names()


@pytest.mark.parametrize("number", [errno.EACCES, errno.ELOOP, errno.ESTALE])
def test_whoever_wants_to_hear_what_cannot_be_read_gets_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fill(tmp_path, "a.png", "sub/b.png", "sub/deep/c.png", "well/d.png")
    scandir = os.scandir

    def locked(folder: str | Path) -> os._ScandirIterator[str]:
        if Path(folder).name == "sub":
            raise OSError(number, os.strerror(number))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", locked)
    said: list[str] = []
    assert sorted(image.name for image in Files(tmp_path).list(said.append)) == ["a.png", "well/d.png"]
    assert said == [f"{tmp_path / 'sub'} cannot be read: {os.strerror(number)}."]
    with pytest.raises(StackctlError):  # not even its top
        list(Files(tmp_path / "sub").list(said.append))


def test_a_machine_that_is_short_of_something_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a.png")

    def short(_: Path) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "read_bytes", short)
    with pytest.raises(StoreGone, match="Too many open files"):
        Files(tmp_path).read("a.png")


def test_files_of_dead_writers_are_swept_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    fill(tmp_path, f"sub/{PARTIAL}dead", f"{PARTIAL}alive", "a.png")
    with (tmp_path / f"{PARTIAL}alive").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert Files(tmp_path).sweep() == 1
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [f"{PARTIAL}alive", "a.png"]
    assert Files(tmp_path).sweep() == 1
    assert Files(tmp_path / "none").sweep() == 0


def test_a_file_that_is_swept_before_its_writer_locked_it_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []

    def sweep_first(descriptor: int, operation: int) -> None:
        if not swept:
            swept.append(Path(f"/proc/self/fd/{descriptor}").readlink())
            swept[0].unlink()

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    assert Files(tmp_path).write("a.png", b"x").size == 1
    assert swept
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


class Answers(http.server.BaseHTTPRequestHandler):
    """A store that has no room: it answers as MinIO does then."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>"
        self.send_response(507)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def full_store() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def at(endpoint: str) -> Objects:
    inner = S3Store(
        "bucket",
        endpoint=endpoint,
        region="us-east-1",
        access_key_id="a",
        secret_access_key="b",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
    )
    return Objects(ObjectStore("s3://bucket", inner))


def test_a_store_that_is_full_and_one_that_is_gone_are_told_apart(full_store: str) -> None:
    with pytest.raises(NoSpace):
        at(full_store).write("a.png", b"x")
    with pytest.raises(StoreGone):
        at("http://127.0.0.1:9").read("a.png")


def test_an_object_that_the_store_holds_cut_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore("s3://bucket", MemoryStore())
    keep = store.put
    monkeypatch.setattr(store, "put", lambda key, data: keep(key, data[:-1] + b"?"))
    with pytest.raises(StoreGone, match="not what was written"):
        Objects(store).write("a.png", b"pixels")


def test_a_link_that_leads_nowhere_is_listed_as_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    place = Files(tmp_path)
    assert place.names() == ["a.png", "loop.png"]
    with pytest.raises(StackctlError, match=r"loop\.png cannot be read"):
        place.read("loop.png")
