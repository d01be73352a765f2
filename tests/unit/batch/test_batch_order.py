from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from stackctl.batch.events import EventLog, read
from stackctl.batch.order import Order, OrderedModel, OrderedOptions, OrderedSecurity
from stackctl.errors import StackctlError

ORDER = Order(
    run="20261121-080501-ab12",
    created="2026-11-21T08:05:01Z",
    input="s3://inbound",
    output="s3://outbound",
    quarantine="s3://quarantine",
    model=OrderedModel("super-resolution", "3", "sha256:aa", network="models/aa/network.onnx"),
)


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    order = dataclasses.replace(ORDER, workers=3, security=OrderedSecurity("ca", "cert", "key"))
    (tmp_path / "order.json").write_text(order.to_json())
    assert Order.read(tmp_path) == order


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", ORDER.to_json().replace('"schema_version": 1', '"schema_version": 9')]
)
def test_a_file_that_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(StackctlError, match=r"cannot be read|has version 9"):
        Order.from_json(text)


def test_the_recipe_changes_with_all_that_changes_a_result_and_with_nothing_else() -> None:
    other_model = dataclasses.replace(ORDER, model=dataclasses.replace(ORDER.model, digest="sha256:bb"))
    other_option = dataclasses.replace(ORDER, options=OrderedOptions(outscale=2.0))
    assert len({ORDER.recipe, other_model.recipe, other_option.recipe}) == 3
    assert dataclasses.replace(ORDER, run="x", workers=9, suffix="_out").recipe == ORDER.recipe


@pytest.mark.parametrize(("text", "most"), [(None, None), ("3", 3), ("10%", 20), ("0", 0)])
def test_the_error_threshold_is_a_number_or_a_share(text: str | None, most: int | None) -> None:
    assert dataclasses.replace(ORDER, error_threshold=text).most_failures(200) == most


def test_events_are_read_on_from_where_the_reader_stopped(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.say("begin", total=2)
    [(begin, offset)] = read(log_file := tmp_path / "events.jsonl")
    log.say("image", name="ä.png", status="done")
    with log_file.open("ab") as handle:
        handle.write(b'{"event": "ima')  # a writer was killed here
    assert begin["event"] == "begin"
    assert [event["name"] for event, _ in read(log_file, offset)] == ["ä.png"]
    log.close()


def test_events_of_a_full_disk_are_written_when_it_has_space_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    real = os.write
    room = 20

    def full(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "full")
        room, now = 0, room
        return real(descriptor, data[:now])

    monkeypatch.setattr(os, "write", full)
    log.say("note", text="one")
    log.say("note", text="two")
    monkeypatch.setattr(os, "write", real)
    log.say("note", text="three")
    log.close()
    assert [event["text"] for event, _ in read(tmp_path / "events.jsonl")] == ["one", "two", "three"]
