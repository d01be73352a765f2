"""A run that waits for new images: what it tells while nothing comes."""

from __future__ import annotations

from pathlib import Path

from support.chaotic_batch import Deaf

from stackctl.batch.cluster import Message
from stackctl.batch.dispatch import Dispatch
from stackctl.batch.events import EventLog, read
from stackctl.batch.manifest import Manifest
from stackctl.batch.order import Order, OrderedModel
from stackctl.batch.plan import Plan
from stackctl.store.files import Files


class Idle:
    """A cluster whose worker has nothing to do."""

    workers = 1
    connected = True

    def messages(self, _timeout: float) -> list[Message]:
        return []


def test_an_hour_without_images_is_told_of_once_a_minute(tmp_path: Path) -> None:
    now = 0.0
    order = Order("run", "now", "in", "out", "bad", OrderedModel("m", "1", "sha256:aa"), watch=True)
    events = EventLog(tmp_path / "events.jsonl")
    places = (Files(tmp_path / "in"), Files(tmp_path / "bad"))
    with Manifest.open(tmp_path / "manifest.sqlite") as manifest:
        dispatch = Dispatch(order, manifest, Idle(), places, events, Deaf(), clock=lambda: now)  # type: ignore[arg-type]
        plan = Plan.make(manifest, [], [], order.recipe, folder=tmp_path)
        for _ in range(1800):
            assert dispatch.run(plan) == "ok"
            now += 2.0
        plan.close()
    events.close()
    assert len(list(read(tmp_path / "events.jsonl"))) == 60
