"""Which version serves, and what takes that away from it; the versions' processes are made up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from support.waiting import PATIENCE
from unit.serving.fake_mlflow import FakeMlflow
from unit.serving.tiny_models import save_pyfunc_model

from stackctl.serving.cache import VersionCache
from stackctl.serving.child_process import Child
from stackctl.serving.exchange import Answer
from stackctl.serving.follower import Follower
from stackctl.serving.front import Front
from stackctl.serving.lineup import Lineup, Wish
from stackctl.serving.metrics import Metrics
from stackctl.serving.probation import Tally
from stackctl.serving.registry_view import Facts, MlflowView, Version, production_of
from stackctl.serving.scoring import build
from stackctl.serving.settings import ServingSettings
from stackctl.serving.slot import Workshop
from stackctl.serving.spec import ChildSpec, Report
from stackctl.stack import Stack

ENVIRONMENT = {"STACKCTL_NAME": "tiny-stack", "STACKCTL_MODEL": "tiny", "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}


class MadeUpChild:
    """Answers what is asked: "good" always; "new" fails version 2; "bad" and "slow" fail every version."""

    alive = True

    def __init__(self, number: str) -> None:
        self.number = number

    async def ask(self, method: str, target: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Answer:
        if body == b"slow" or (body == b"slow with 2" and self.number == "2"):
            await asyncio.sleep(60)
        failed = body == b"bad" or (body == b"new" and self.number == "2")
        return Answer(500 if failed else 200, (), self.number.encode())

    def kill(self, cause: str, why: str) -> None:
        """Stay; the slot would replace it."""


class MadeUpSlot:
    """A version that is prepared at once; ``contracts`` says which are no image models."""

    contracts: dict[str, str] = {}  # noqa: RUF012

    def __init__(
        self, version: Version, workshop: Workshop, *, attempt: str | None = None, digest: str | None = None
    ) -> None:
        self.version, self.attempt, self.digest = version, attempt, digest
        self.state, self.transient, self.ready = "prepared", False, True
        self.reason: str | None = None
        self.report = Report("prepared", contract=self.contracts.get(version.version, "image"))
        self.tally, self.last_death = Tally(), None
        self.ended_at: float | None = None

    async def child(self) -> MadeUpChild:
        return MadeUpChild(self.version.version)

    def retire(self) -> None:
        self.ready = False

    def refuse(self, reason: str) -> None:
        self.state, self.reason, self.ready, self.ended_at = "refused", reason, False, 0.0

    async def close(self, drain: float = 0.0) -> None:
        self.ready = False


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Return a workshop whose slots are made up."""
    monkeypatch.setattr("stackctl.serving.lineup.Slot", MadeUpSlot)
    monkeypatch.setattr(MadeUpSlot, "contracts", {})
    environ = {
        **ENVIRONMENT,
        "STACKCTL_SERVING_CACHE": str(tmp_path),
        "STACKCTL_SERVING_TIMEOUT": "0.1",
        "STACKCTL_SERVING_POLL": "0.05",
    }
    settings = ServingSettings.from_env(environ)
    for number in ("1", "2"):
        VersionCache(tmp_path).folder_of(Version("tiny", number)).mkdir(parents=True)
    return Workshop(settings, VersionCache(tmp_path), tmp_path, lambda: None, lambda _: None)


def promoted(lineup: Lineup, number: str) -> str | None:
    """Load a version and put it into Production; return which serves then."""
    lineup.load(Version("tiny", number))
    lineup.arrange(Wish(production=number))
    return lineup.serving.version.version if lineup.serving else None


@pytest.mark.parametrize(
    ("body", "serves"), [(b"bad", "2"), (b"slow", "2"), (b"new", "1"), (b"slow with 2", "1"), (b"good", "2")]
)
def test_requests_that_the_version_before_fails_on_too_undo_no_promotion(
    workshop: Workshop, body: bytes, serves: str
) -> None:
    async def scenario() -> str:
        lineup = Lineup(workshop, Metrics())
        assert [promoted(lineup, "1"), promoted(lineup, "2")] == ["1", "2"]
        front = Front(workshop.settings, lineup, Metrics())
        app = Starlette(routes=[Route("/v1/image", front.forward, methods=["POST"])])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            for _ in range(3):
                await client.post("/v1/image", content=body)
            await asyncio.gather(*front._tasks)  # what timed out is asked again behind the client's back
            answer = await client.post("/v1/image", content=b"good")
        await lineup.close()
        return answer.text

    assert asyncio.run(scenario()) == serves


def test_an_image_model_takes_no_other_successor_not_even_over_a_restart(workshop: Workshop) -> None:
    MadeUpSlot.contracts["2"] = "pyfunc"

    async def scenario() -> None:
        lineup = Lineup(workshop, Metrics())
        assert promoted(lineup, "2") == "2"
        assert promoted(lineup, "1") == "1"  # anything may be replaced by an image model
        assert promoted(lineup, "2") == "1"
        reason = "It is no image model, and version 1, which it would replace, is one."
        assert f"Version 2 is in Production but cannot be served: {reason}" in (lineup.error or "")
        await lineup.close()

        again = Lineup(workshop, Metrics())
        assert promoted(again, "2") is None
        assert again.stranded()  # so what served last does
        assert reason in (again.error or "")

    asyncio.run(scenario())


class MadeUpRegistry:
    """A registry whose names are brought together when that is asked for."""

    def __init__(self) -> None:
        self.now = Facts("1", "1", known="1")
        self.seen: Facts | None = None

    def facts(self) -> Facts:
        self.seen = self.now
        return self.now

    def version(self, number: str) -> Version:
        return Version("tiny", number)

    def align(self, agreed: str | None, by: str) -> str | None:
        winner = production_of(self.now, agreed)
        self.now = Facts(winner, winner, known=winner)
        return f"version {winner} counts"

    def report_failure(self, version: str, back_to: str, reason: str, by: str) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing is open."""


def test_the_same_change_made_again_elsewhere_is_aligned_again(workshop: Workshop) -> None:
    async def scenario() -> None:
        view, lineup = MadeUpRegistry(), Lineup(workshop, Metrics())
        follower = Follower(view, lineup, workshop.settings, workshop.cache)
        following = asyncio.create_task(follower.run())

        async def settled(number: str) -> None:
            async with asyncio.timeout(PATIENCE):
                while view.seen != Facts(number, number, known=number):  # noqa: ASYNC110 - it changes in a thread
                    await asyncio.sleep(0.01)

        await settled("1")
        for _ in range(2):
            view.seen, view.now = None, Facts(None, "1", known="1")  # somebody deletes the alias
            await settled("1")
        for _ in range(2):
            view.seen, view.now = None, Facts("1", "2", known="1")  # somebody moves the stage
            await settled("2")
            view.seen, view.now = None, Facts("1", "1", known="1")
            await settled("1")
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await lineup.close()

    asyncio.run(scenario())


def test_a_model_that_was_renamed_or_deleted_is_not_taken_for_one_without_a_version(workshop: Workshop) -> None:
    fake = FakeMlflow("tiny")
    fake.start()
    settings = replace(workshop.settings, stack=Stack.from_env({**ENVIRONMENT, "MLFLOW_TRACKING_URI": fake.uri}))

    async def scenario() -> None:
        lineup = Lineup(workshop, Metrics())
        promoted(lineup, "1")
        follower = Follower(MlflowView(settings.stack, "tiny"), lineup, settings, workshop.cache)
        following = asyncio.create_task(follower.run())

        async def says(error: str) -> None:
            async with asyncio.timeout(PATIENCE):
                while lineup.error != error:  # noqa: ASYNC110 - it changes with the next look
                    await asyncio.sleep(0.01)

        await says("No version is in Production; version 1 still serves.")
        fake.name = "renamed"
        await says("MLflow has no model tiny any more (renamed or deleted?); version 1 still serves.")
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await lineup.close()

    try:
        asyncio.run(scenario())
    finally:
        fake.stop()


def test_a_killed_process_is_not_explained_by_the_last_line_of_its_log(tmp_path: Path) -> None:
    async def ended(cause: str) -> str:
        spec = ChildSpec("tiny", "1", None, None, None, "", "", str(tmp_path / f"{cause}.sock"), 0, 1, 1024, 10.0)
        child = Child(spec, tmp_path)
        child._heard("2026-01-01T00:00:00Z serving loaded version=1")
        if cause == "killed":
            child.kill()
        await asyncio.wait_for(child.exited.wait(), PATIENCE)
        return child.how_it_ended

    assert asyncio.run(ended("killed")) == "was killed by signal SIGKILL (the system does this when memory runs out)"
    assert asyncio.run(ended("itself")).startswith("exited with status 3: ")


def test_a_long_word_is_not_said_again_in_full() -> None:
    class Model:
        def upscale(self, data: bytes, *, outscale: float, format: str, tile: int, precision: str) -> Any:  # noqa: A002
            error = ValueError(f"{format!r} and {precision!r} are not known")
            error.code = "bad_option"  # type: ignore[attr-defined]
            raise error

    spec = ChildSpec("tiny", "1", None, None, None, "", "", "", 0, 1, 1024, 10.0)
    app = build(spec, "sha256:1", Starlette(), cast("Any", Model()))

    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return await client.post("/v1/image", params={"format": "x" * 60_000, "precision": "y" * 999}, content=b"")

    answer = asyncio.run(asked())
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"'{'x' * 40}' and '{'y' * 40}' are not known"


def test_json_that_is_nested_too_deeply_is_the_requests_fault(tmp_path: Path) -> None:
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server

    loaded = mlflow.pyfunc.load_model(str(save_pyfunc_model(tmp_path / "model")))
    spec = ChildSpec("tiny", "1", None, None, None, "", "", "", 0, 1, 1024, 10.0)
    app = build(spec, "sha256:1", scoring_server.init(loaded), None)

    async def asked(body: str) -> httpx.Response:
        transport = httpx.ASGITransport(cast("Any", app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post("/invocations", content=body, headers={"Content-Type": "application/json"})

    answer = asyncio.run(asked("[" * 100_000))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_option")
    assert asyncio.run(asked('{"dataframe_split": {"columns": ["x"], "data": [[2.0]]}}')).json() == {
        "predictions": [{"x": 4.0}]
    }
