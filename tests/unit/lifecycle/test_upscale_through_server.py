"""A folder upscaled through a model server that has bad moments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_model_server import FakeModelServer, Refusal
from support.pictures import encode, noise

from stackctl.errors import Unhealthy
from stackctl.lifecycle.upscale import How, Upscaled, plan, through_server


class MoodyServer(FakeModelServer):
    """Refuses the requests whose numbers are in ``moods``."""

    def __init__(self) -> None:
        self.moods: dict[int, Refusal] = {}
        super().__init__()

    @property
    def refusal(self) -> Refusal | None:
        return self.moods.get(len(self.received))

    @refusal.setter
    def refusal(self, _none: Refusal | None) -> None:
        pass


@pytest.fixture
def server() -> Iterator[MoodyServer]:
    with MoodyServer() as running:
        yield running


def run(tmp_path: Path, server: MoodyServer, how: How | None = None) -> list[Upscaled]:
    for name in ("a", "b", "c"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.png").write_bytes(encode(noise(8, 8)))
    work = plan(str(tmp_path / "in"), str(tmp_path / "out"), how or How())
    return list(through_server(work, server.url))


def test_what_was_asked_reaches_the_server_and_its_version_the_result(tmp_path: Path, server: MoodyServer) -> None:
    found = run(tmp_path, server, How(outscale=2, image_format="jpeg", tile=64, precision="fp32", suffix="x"))
    query = {"outscale": "2", "format": "jpeg", "tile": "64", "precision": "fp32"}
    assert query.items() <= server.received[0].query.items()
    assert [item.result for item in found] == [str(tmp_path / "out" / f"{name}_x.jpg") for name in "abc"]
    assert {item.version for item in found} == {"1"}


def test_a_busy_server_is_asked_again(tmp_path: Path, server: MoodyServer) -> None:
    server.moods = {1: Refusal(429, "busy"), 2: Refusal(429, "busy")}
    assert all(item.error is None for item in run(tmp_path, server))
    assert len(server.received) == 5


@pytest.mark.parametrize(("status", "code"), [(504, "timeout"), (500, "internal"), (400, "corrupt_image")])
def test_an_image_that_the_server_fails_on_does_not_stop_the_others(
    tmp_path: Path, server: MoodyServer, status: int, code: str
) -> None:
    server.moods = {2: Refusal(status, code, "It took too long.")}
    assert [item.error for item in run(tmp_path, server)] == [None, "It took too long.", None]


def test_a_server_that_is_gone_ends_the_batch(tmp_path: Path, server: MoodyServer) -> None:
    server.away = True
    with pytest.raises(Unhealthy, match="cannot be reached"):
        run(tmp_path, server)
