from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
from support.pictures import encode, noise

from stackctl.batch.dask_cluster import check_scheduler
from stackctl.batch.faults import Fault, NothingCanBeWritten, put_into_quarantine, take_out_of_quarantine
from stackctl.batch.in_time import NoAnswer, in_time
from stackctl.batch.network import CACHE_VARIABLE, Parcel
from stackctl.batch.order import Order, OrderedModel, OrderedSecurity
from stackctl.batch.plan import ImageTask, Known
from stackctl.batch.task import Job, Outcome, Upscaled, Workbench, unscaled
from stackctl.checkpoints.networks import prepare
from stackctl.errors import StackctlError, UsageError
from stackctl.imaging import ImageTooLarge
from stackctl.store.errors import CannotWrite, NoSpace, StoreGone
from stackctl.store.files import Files
from stackctl.store.places import Listed

PARTS = ("in", "out", "bad")


@pytest.fixture
def order(tmp_path: Path) -> Order:
    for part in PARTS:
        (tmp_path / part).mkdir()
    first, second, third = (str(tmp_path / part) for part in PARTS)
    return Order("run", "now", first, second, third, OrderedModel("m", "1", "sha256:aa"))


@pytest.fixture
def bench(order: Order) -> Workbench:
    return Workbench.open(Job(order, None), worker="w")


def task(tmp_path: Path, name: str, data: bytes = b"data", known: Known | None = None) -> ImageTask:
    file = tmp_path / "in" / name
    file.write_bytes(data)
    return ImageTask(name, len(data), "1", f"{Path(name).stem}_out", known)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_result_is_left_as_it_is_where_only_stamps_have_changed(tmp_path: Path, bench: Workbench) -> None:
    (tmp_path / "out" / "a_out.png").write_bytes(b"result")
    known = Known(digest(b"data"), "a_out.png", digest(b"result"))
    image = task(tmp_path, "a.png", known=known)
    assert bench.one(image).status == "unchanged"
    (tmp_path / "out" / "a_out.png").write_bytes(b"broken")
    assert bench.one(image).status == "done"
    assert (tmp_path / "out" / "a_out.png").read_bytes() == b"data"
    (tmp_path / "in" / "a.png").write_bytes(b"another")
    assert bench.one(image).output_digest == digest(b"another")


def test_a_result_on_hand_that_cannot_be_read_is_made_anew(tmp_path: Path, order: Order) -> None:
    class Secret(Files):
        def read(self, name: str) -> bytes:
            raise StackctlError(f"{name} cannot be read: Permission denied.")

    (tmp_path / "out" / "a_out.png").write_bytes(b"result")
    bench = Workbench(order, unscaled, (Files(tmp_path / "in"), Secret(tmp_path / "out"), Files(tmp_path / "bad")))
    known = Known(digest(b"data"), "a_out.png", digest(b"result"))
    assert bench.one(task(tmp_path, "a.png", known=known)).status == "done"


def test_what_fails_once_and_is_not_the_images_fault_costs_no_image(tmp_path: Path, order: Order) -> None:
    asked: list[str] = []

    def upscale(image: ImageTask, data: bytes) -> Upscaled:
        asked.append(image.name)
        if image.name == "never.png" or asked.count(image.name) == 1:
            if image.name == "larger.png":
                raise ImageTooLarge("There is not enough memory.") from MemoryError()
            raise MemoryError if image.name == "large.png" else RuntimeError("The network could not be compiled.")
        return Upscaled(data, "png", 1, 1)

    first, second, third = (Files(tmp_path / part) for part in PARTS)
    bench = Workbench(order, upscale, (first, second, third))
    assert bench.one(task(tmp_path, "a.png")).status == "done"
    assert bench.one(task(tmp_path, "large.png")).status == "done"
    assert bench.one(task(tmp_path, "larger.png")).status == "done"
    never = bench.one(task(tmp_path, "never.png"))
    assert (never.status, never.code) == ("quarantined", "internal")
    assert asked == [name for name in ("a.png", "large.png", "larger.png", "never.png") for _ in range(2)]


def test_an_image_that_was_removed_is_gone_and_not_in_quarantine(tmp_path: Path, bench: Workbench) -> None:
    image = task(tmp_path, "a.png")
    (tmp_path / "in" / "a.png").unlink()
    assert bench.one(image).status == "gone"
    assert not list((tmp_path / "bad").iterdir())


def test_a_name_that_cannot_be_written_is_that_images_fault_alone(tmp_path: Path, bench: Workbench) -> None:
    (tmp_path / "out" / "a_out.png").mkdir()
    outcome = bench.one(task(tmp_path, "a.png"))
    assert (outcome.status, outcome.code) == ("quarantined", "cannot_write")
    reason = json.loads((tmp_path / "bad" / "a.png.json").read_text())
    assert (reason["code"], reason["worker"], reason["input_digest"]) == ("cannot_write", "w", digest(b"data"))
    assert (tmp_path / "bad" / "a.png").read_bytes() == b"data"


def test_two_inputs_keep_their_own_images_of_one_name_in_quarantine(tmp_path: Path, order: Order) -> None:
    place, other = Files(tmp_path / "bad"), dataclasses.replace(order, input=str(tmp_path / "other"))
    for _ in range(2):
        put_into_quarantine(place, order, "sub/a.png", b"mine", Fault("corrupt_image", "It ends early."))
        put_into_quarantine(place, other, "sub/a.png", b"theirs", Fault("corrupt_image", "It ends early."))
    mine, theirs = sorted(place.names(), key=len)
    assert (place.read(mine), place.read(theirs)) == (b"mine", b"theirs")
    take_out_of_quarantine(place, other, "sub/a.png")
    assert place.names() == [mine] == ["sub/a.png"]
    take_out_of_quarantine(place, order, "sub/a.png")
    assert not list((tmp_path / "bad" / "sub").iterdir())


class Denied(Files):
    def write(self, name: str, data: bytes) -> Listed:
        if name != "0_out.png":
            raise CannotWrite(f"{name} cannot be written: Permission denied.")
        return super().write(name, data)


def test_a_place_that_takes_no_result_at_all_ends_the_batch_at_once_and_what_is_done_is_told(
    tmp_path: Path, order: Order
) -> None:
    heard: list[str] = []
    bench = Workbench(order, unscaled, (Files(tmp_path / "in"), Denied(tmp_path / "out"), Files(tmp_path / "bad")))
    images = [task(tmp_path, f"{number}.png") for number in range(3)]
    with pytest.raises(NothingCanBeWritten, match=r"No result can be written: 1_out\.png cannot be written"):
        bench.process(images, lambda done, _: heard.extend(f"{each.name} {each.status}" for each in done))
    assert heard == ["0.png done"]
    assert not list((tmp_path / "bad").iterdir())


class Ended(BaseException):
    """The worker's process ends here."""


def test_a_file_that_can_never_be_read_ends_its_worker_by_the_limit_so_that_the_death_names_it(
    tmp_path: Path, order: Order
) -> None:
    def end() -> None:
        raise Ended

    stuck = tmp_path / "in" / "stuck.png"
    os.mkfifo(stuck)
    first, second, third = (Files(tmp_path / part) for part in PARTS)
    bench = Workbench(dataclasses.replace(order, image_timeout=0.2), unscaled, (first, second, third), end=end)
    with pytest.raises(Ended):
        bench.one(ImageTask("stuck.png", 4, "1", "stuck_out"))
    os.close(os.open(stuck, os.O_WRONLY | os.O_NONBLOCK))  # lets go of whoever still reads


class Dead(Files):
    def read(self, name: str) -> bytes:
        threading.Event().wait()
        raise AssertionError

    def stat(self, name: str) -> Listed | None:
        raise StoreGone("The mount does not answer.")


def test_a_place_of_inputs_that_never_answers_is_no_images_fault(tmp_path: Path, order: Order) -> None:
    first, second, third = Dead(tmp_path / "in"), Files(tmp_path / "out"), Files(tmp_path / "bad")
    bench = Workbench(dataclasses.replace(order, image_timeout=0.2), unscaled, (first, second, third), end=pytest.fail)
    outcome = bench.one(task(tmp_path, "a.png"))
    assert (outcome.status, outcome.reason) == ("later", "The mount does not answer.")


def test_a_call_that_is_answered_in_time_gives_its_answer_or_its_error() -> None:
    assert in_time(60, "It", lambda: 7) == 7
    with pytest.raises(NoSpace):
        in_time(60, "It", lambda: Full(Path()).write("a", b""))
    with pytest.raises(NoAnswer, match=r"It did not answer for 0.01 s"):
        in_time(0.01, "It", threading.Event().wait)


class Full(Files):
    def write(self, name: str, data: bytes) -> Listed:
        raise NoSpace("The disk is full.")


def test_after_a_full_disk_the_rest_of_a_batch_is_not_begun(tmp_path: Path, order: Order) -> None:
    places = (Files(tmp_path / "in"), Full(tmp_path / "out"), Files(tmp_path / "bad"))
    heard: list[Outcome] = []
    begun: list[str] = []
    images = [task(tmp_path, f"{number}.png", b"x" * 100_000) for number in range(5)]
    bench = Workbench(order, unscaled, places)
    bench.process(images, lambda done, names: (heard.extend(done), begun.extend(names))[0])  # type: ignore[func-returns-value]
    assert [outcome.status for outcome in heard] == ["later"] * 5
    assert [outcome.reason for outcome in heard] == ["The disk is full.", "", "", "", ""]
    assert begun == ["0.png"]


def test_each_image_is_announced_before_it_is_begun_and_large_ones_alone(tmp_path: Path, order: Order) -> None:
    told: list[str] = []
    groups: list[int] = []

    def upscale(image: ImageTask, data: bytes) -> Upscaled:
        assert image.name in told
        return Upscaled(data, "png", 1, 1)

    def announce(_: list[Outcome], names: list[str]) -> None:
        told.extend(names)
        groups.append(len(names))

    first, second, third = (Files(tmp_path / part) for part in PARTS)
    bench = Workbench(order, upscale, (first, second, third))
    bench.process([task(tmp_path, f"{number}.png") for number in range(60)], announce)
    assert max(groups) > 1
    groups.clear()
    bench.process([task(tmp_path, f"{number}.png", b"x" * 100_000) for number in range(5)], announce)
    assert groups == [1, 1, 1, 1, 1, 0]


def test_an_image_that_needs_more_memory_than_its_worker_has_is_given_up_without_a_try(
    tmp_path: Path, order: Order
) -> None:
    found = prepare("starter", run=lambda *_: "", progress=lambda *_: None)
    parcel = Parcel.pack(found.path, found.golden, bf16_allowed=found.bf16_allowed, carry=False)
    bench = Workbench.open(Job(order, parcel, 1, max_memory=310 * 2**20))
    assert bench.one(task(tmp_path, "small.png", encode(noise(20, 20)))).status == "done"
    outcome = bench.one(task(tmp_path, "large.png", encode(noise(700, 700))))
    assert (outcome.status, outcome.code) == ("quarantined", "too_large")
    assert "MiB of memory" in outcome.reason


def test_a_network_is_brought_to_a_worker_that_does_not_see_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    golden = tmp_path / "golden"
    golden.mkdir()
    (golden / "manifest.json").write_text("{}")
    network = tmp_path / "network.onnx"
    network.write_bytes(b"network")
    parcel = Parcel.pack(network, golden, bf16_allowed=True, carry=True)
    assert parcel.unpack() == (network, golden)
    network.write_bytes(b"another one under the same path")
    copied, pairs = parcel.unpack()
    assert copied.read_bytes() == b"network"
    assert pairs is not None
    assert (pairs / "manifest.json").read_text() == "{}"


KEYS = OrderedSecurity("ca", "cert", "key")


@pytest.mark.parametrize(
    ("url", "keys"),
    [("tcp://10.0.0.1:8786", None), ("tcp://scheduler:8786", KEYS), ("tls://10.0.0.1:8786", None), ("ucx://x", None)],
)
def test_a_scheduler_that_others_could_reach_in_plain_text_is_refused(url: str, keys: OrderedSecurity | None) -> None:
    with pytest.raises(UsageError):
        check_scheduler(url, keys)


@pytest.mark.parametrize(("url", "keys"), [("tcp://127.0.0.1:1", None), ("tcp://[::1]:1", None), ("tls://h:1", KEYS)])
def test_a_scheduler_on_loopback_or_with_keys_is_taken(url: str, keys: OrderedSecurity | None) -> None:
    check_scheduler(url, keys)
