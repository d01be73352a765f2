"""Whatever happens between runs, and wherever a run is killed, a plan holds exactly what is missing or changed."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stackctl.batch.manifest import UNCHANGED, Manifest, Record
from stackctl.batch.plan import ImageTask, Plan
from stackctl.store.places import Listed

NAMES = st.sampled_from(["a.jpg", "a.png", "a_png.jpg", "sub/a.png"])
CONTENTS = st.sampled_from(["one", "two", "bad"])
"""All of one size, so that only stamps tell them apart."""
RECIPES = ("r1", "r2")


class Killed(Exception):
    """The process ends here, whatever it was doing."""


@dataclass
class Thing:
    """A file: its content and its stamp, another one each time that it is written."""

    content: str
    stamp: int


def upscaled(content: str, recipe: str) -> str:
    return f"{recipe} of {content}"


class Folders(RuleBasedStateMachine):
    """Two places and a manifest; the oracle is what is true of the files, whatever the manifest says."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = 0
        self.inputs: dict[str, Thing] = {}
        self.outputs: dict[str, Thing] = {}
        self.stems: dict[str, str] = {}
        self.states: list[Path] = []
        self.upscales = 0

    @initialize()
    def begin(self) -> None:
        self.manifest = Manifest.open(self.folder / "m.sqlite")
        self.keep()

    def teardown(self) -> None:
        self.finish("r1")
        self.finish("r2")
        self.manifest.close()
        shutil.rmtree(self.folder)

    def stamp(self) -> int:
        self.clock += 1
        return self.clock

    def keep(self) -> None:
        """Keep the manifest as it is after a transaction."""
        self.states.append(Path(shutil.copy(self.manifest.file, self.folder / f"state-{len(self.states)}")))

    @rule(name=NAMES, content=CONTENTS)
    def put(self, name: str, content: str) -> None:
        self.inputs[name] = Thing(content, self.stamp())

    @rule(name=NAMES)
    def touch(self, name: str) -> None:
        if name in self.inputs:
            self.inputs[name].stamp = self.stamp()

    @rule(name=NAMES)
    def take_away(self, name: str) -> None:
        self.inputs.pop(name, None)

    @rule(number=st.integers(0, 5), content=st.sampled_from([None, "vandal", "r2 of one"]))
    def spoil_a_result(self, number: int, content: str | None) -> None:
        if number < len(self.outputs):
            name = sorted(self.outputs)[number]
            if content is None:
                del self.outputs[name]
            else:
                self.outputs[name] = Thing(content, self.stamp())

    @rule(back=st.integers(0, 8))
    def restore_an_older_manifest(self, back: int) -> None:
        """Cut the manifest off after an earlier transaction, as when an old copy of it is put back."""
        self.manifest.close()
        shutil.copy(self.states[max(0, len(self.states) - 1 - back)], self.manifest.file)
        self.manifest = Manifest.open(self.manifest.file)
        self.stems = {}

    @rule(
        recipe=st.sampled_from(RECIPES),
        size=st.integers(1, 4),
        killed_after=st.integers(0, 10),
        retry=st.booleans(),
        back=st.booleans(),
    )
    def run(self, recipe: str, size: int, killed_after: int, retry: bool, back: bool) -> None:
        """Run until done or killed: steps are writes of a result and appends of a group."""
        planned = self.plan(recipe, retry=retry)
        steps = iter(range(killed_after, -1, -1))

        def step() -> None:
            if next(steps, 0) == 0:
                raise Killed

        with contextlib.suppress(Killed):
            while batch := planned.next_batch(10, size):
                records = []
                for task in batch.images:
                    if back and task.name == "a.png":
                        planned.put_back([task.name])
                        back = False
                        continue
                    step()
                    records.append(self.work(task, recipe))
                step()
                self.manifest.append(records)
                self.keep()
        planned.close()
        self.manifest.close()
        self.manifest = Manifest.open(self.manifest.file)

    def work(self, task: ImageTask, recipe: str) -> Record:
        source = self.inputs[task.name]
        facts: dict[str, Any] = {"recipe": recipe, "model_digest": "m", "input_digest": source.content}
        if source.content == "bad":  # a bad image
            return self.record(task, status="quarantined", code="corrupt_image", **facts)
        there = self.outputs.get(task.known.output) if task.known else None
        right = bool(
            task.known
            and there
            and source.content == task.known.input_digest
            and there.content == task.known.output_digest
        )
        output = f"{task.output_stem}.png"
        if not right:
            self.outputs[output] = Thing(upscaled(source.content, recipe), self.stamp())
            self.upscales += 1
        made = self.outputs[output]
        return self.record(
            task,
            status="done",
            code=UNCHANGED if right else "",
            output=output,
            output_digest=made.content,
            output_size=len(made.content),
            output_stamp=str(made.stamp),
            **facts,
        )

    def record(self, task: ImageTask, **facts: Any) -> Record:
        return Record(name=task.name, stem=task.output_stem, size=task.size, stamp=task.stamp, run="R", **facts)

    def plan(self, recipe: str, *, retry: bool = False) -> Plan:
        def listed(things: dict[str, Thing]) -> list[Listed]:
            return [Listed(name, len(thing.content), str(thing.stamp)) for name, thing in things.items()]

        return Plan.make(
            self.manifest, listed(self.inputs), listed(self.outputs), recipe, folder=self.folder, retry_failed=retry
        )

    @invariant()
    def what_is_skipped_is_right_and_what_is_missing_is_pending(self) -> None:
        for recipe in RECIPES if hasattr(self, "manifest") else ():
            planned = self.plan(recipe)
            batch = planned.next_batch(1e9, 100)
            planned.close()
            pending = {task.name: task for task in batch.images} if batch else {}
            assert len(pending) == planned.planned.pending
            total = planned.planned.skipped + planned.planned.known_bad + planned.planned.pending
            assert total == planned.planned.total == len(self.inputs)
            stems = dict(self.manifest._connection.execute("SELECT name, stem FROM names"))
            assert len(set(stems.values())) == len(stems)
            assert self.stems.items() <= stems.items()  # a name once given stays
            self.stems = stems
            for name, source in self.inputs.items():
                result = self.outputs.get(f"{stems[name]}.png")
                right = result is not None and result.content == upscaled(source.content, recipe)
                if name not in pending:
                    assert right or source.content == "bad"
                elif result is not None and right:
                    # Only what the manifest cannot vouch for is looked at again: another recipe's record came
                    # after it, a stamp moved, or the record was lost with a kill.
                    newest = self.manifest.latest(name)
                    vouched = newest and (newest.recipe, newest.stamp, newest.output_stamp) == (
                        recipe, str(source.stamp), str(result.stamp),
                    )  # fmt: skip
                    assert not vouched

    @rule(recipe=st.sampled_from(RECIPES))
    def finish(self, recipe: str) -> None:
        """An undisturbed run leaves nothing to do, the next one does nothing, and every result is right."""
        self.run(recipe, 3, 10_000, retry=False, back=True)
        before = self.upscales
        planned = self.plan(recipe)
        planned.close()
        assert planned.planned.pending == 0
        self.run(recipe, 3, 10_000, retry=False, back=False)
        assert self.upscales == before
        stems = dict(self.manifest._connection.execute("SELECT name, stem FROM names"))
        for name, source in self.inputs.items():
            if source.content != "bad":
                assert self.outputs[f"{stems[name]}.png"].content == upscaled(source.content, recipe)


TestFolders = Folders.TestCase
TestFolders.settings = settings(
    max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
