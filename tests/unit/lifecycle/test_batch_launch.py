"""What a person wants of a batch: places, options and models, and what is refused before anything is done."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.image_stacks import stack_with
from support.local_stack import make_local_stack

from stackctl.batch.order import OrderedModel
from stackctl.batch.runs import hold
from stackctl.engines import engine_of
from stackctl.errors import StackctlError, Unhealthy, UsageError
from stackctl.lifecycle.batch import Wanted, capped, launch
from stackctl.lifecycle.batch_model import _lay, batch_model
from stackctl.lifecycle.batch_places import route
from stackctl.lifecycle.batch_runs import runs_of
from stackctl.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return make_local_stack(tmp_path / "stack")


@pytest.fixture
def buckets(tmp_path: Path) -> Stack:
    return make_local_stack(tmp_path / "buckets", store="minio")


@pytest.fixture
def containers(tmp_path: Path) -> Stack:
    made = stack_with(tmp_path / "containers")
    (made.home / "secrets").mkdir()
    (made.home / "secrets" / "s3_credentials").write_text(
        "[default]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    return made


def silent(_subject: str, _what: str) -> None:
    """Draw nothing."""


def refused(stack: Stack, **wanted: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        launch(stack, engine_of(stack), Wanted(**wanted), silent, print, {})  # type: ignore[arg-type]
    assert caught.value.hint, caught.value.message
    assert not runs_of(stack).all()
    return caught.value


def test_a_stack_of_folders_runs_from_inbound_to_outbound_whatever_they_are_called(stack: Stack) -> None:
    data = stack.home / "data"
    (data / "inbound").mkdir(parents=True)
    expected = (str(data / "inbound"), str(data / "outbound"), str(data / "quarantine"), None, None)
    for source, target in ((None, None), ("s3://inbound", "s3://outbound/"), (str(data / "inbound") + "/", None)):
        found = route(stack, source, target)
        assert (found.input, found.output, found.quarantine, found.push, found.pull) == expected
    assert route(stack, "s3://inbound/cats", None).input == str(data / "inbound" / "cats")


def test_a_stack_with_buckets_brings_its_own_folders_and_no_other_on_the_local_engine(
    buckets: Stack, tmp_path: Path
) -> None:
    found = route(buckets, None, None)
    assert (found.input, found.output, found.quarantine) == ("s3://inbound", "s3://outbound", "s3://quarantine")
    data = buckets.home / "data"
    assert (found.push, found.pull, found.pull_quarantine) == (
        *(data / "inbound", data / "outbound"),
        data / "quarantine",
    )
    (tmp_path / "photos").mkdir()
    found = route(buckets, str(tmp_path / "photos"), "s3://outbound/photos")
    assert (found.input, found.output, found.push, found.pull) == (
        *(str(tmp_path / "photos"), "s3://outbound/photos"),
        *(None, None),
    )


def test_a_store_that_does_not_answer_is_told_before_anything_is_done(buckets: Stack) -> None:
    (buckets.home / "data" / "inbound").mkdir(parents=True)
    with pytest.raises(Unhealthy) as caught:
        launch(buckets, engine_of(buckets), Wanted(), silent, print, {})
    assert "stackctl up" in str(caught.value.hint)
    assert not runs_of(buckets).all()


def test_under_docker_any_folder_travels_below_a_prefix_of_its_own_that_no_listing_of_the_bucket_shows(
    containers: Stack, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "more").mkdir()
    one = route(containers, str(tmp_path / "photos"), str(tmp_path / "large"))
    other = route(containers, str(tmp_path / "more"), str(tmp_path / "large"))
    assert one.input.startswith("s3://inbound/.host/")
    assert one.output.startswith("s3://outbound/.host/")
    assert (one.push, one.pull) == (tmp_path / "photos", tmp_path / "large")
    assert one.input != other.input
    assert one.output == other.output
    (containers.home / "data" / "inbound").mkdir(parents=True)
    assert route(containers, str(containers.home / "data" / "inbound"), None).input == "s3://inbound"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input": "no/such/folder"}, "There is no folder"),
        ({"input": "photo.png"}, "is a file"),
        ({"input": "s3:/inbound"}, "There is no folder"),
        ({"input": "s3://In_bound"}, "no URL"),
        ({"input": "https://example.org/photos"}, "no URL"),
        ({"input": "s3://elsewhere"}, "no bucket elsewhere"),
        ({"input": "photos", "output": "photos"}, "are the same"),
        ({"input": "photos", "output": "photos/large"}, "lies in the input"),
        ({"output": "photo.png"}, "is a file"),
        ({"suffix": "a/b"}, "suffix"),
        ({"error_threshold": "few"}, "no error threshold"),
        ({"error_threshold": "101%"}, "no error threshold"),
        ({"scheduler": "dask:8786"}, "no address"),
        ({"scheduler": "tls://dask"}, "no address"),
        ({"scheduler": "tcp://dask:8786"}, "not encrypted"),
        ({"scheduler": "tls://dask:8786", "local": True}, "exclude each other"),
        ({"tls": (Path("ca"), Path("cert"), Path("key"))}, "without a --scheduler"),
        ({"scheduler": "tls://dask:8786", "tls": (Path("ca"), Path("cert"), Path("key"))}, "There is no file"),
        ({"model": "a/b/c"}, "names no model"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_type_instead(
    stack: Stack, options: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.png").touch()
    assert said in refused(stack, **options).message


@pytest.mark.parametrize("output", ["photos", "photos/large", "link"])
def test_under_docker_too_results_never_go_among_the_inputs(containers: Stack, output: str, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    with pytest.raises(UsageError, match=r"the same|lies in the input"):
        route(containers, str(photos), str(tmp_path / output))
    (containers.home / "data" / "inbound").mkdir(parents=True)
    with pytest.raises(UsageError, match="the same"):
        route(containers, None, str(containers.home / "data" / "inbound"))


def test_a_place_that_a_run_writes_to_at_this_moment_is_refused_by_that_runs_name(stack: Stack) -> None:
    run = runs_of(stack).create()
    held = hold(run.folder)
    (run.folder / "order.json").write_text(json.dumps({"output": str(stack.home / "data" / "outbound")}))
    with pytest.raises(StackctlError, match=run.id) as caught:
        launch(stack, engine_of(stack), Wanted(), silent, print, {})
    assert caught.value.code == 1
    assert f"stackctl batch cancel {run.id}" in str(caught.value.hint)
    assert held


def test_adsp_worker_max_caps_the_workers_and_says_so() -> None:
    told: list[str] = []

    def workers(wanted: int | None, most: str, note: Callable[[str], None] = told.append) -> int | None:
        return capped(Wanted(workers=wanted), {"ADSP_WORKER_MAX": most}, note).workers

    assert workers(8, "2") == 2
    assert "ADSP_WORKER_MAX" in told.pop()
    assert workers(1, "2") == 1
    assert workers(None, "1") == 1
    assert workers(None, "") is None
    assert told == []
    with pytest.raises(UsageError, match="ADSP_WORKER_MAX is 'many'"):
        workers(1, "many")


def test_where_mlflow_does_not_answer_the_version_that_it_named_last_is_taken_and_the_person_told(
    stack: Stack, tmp_path: Path
) -> None:
    told: list[str] = []
    folder = tmp_path / "batch"
    with pytest.raises(Unhealthy):
        batch_model(stack, None, folder, silent, told.append)
    known = OrderedModel(
        "super-resolution", "3", "sha256:ab", "run", "models/ab/network.onnx", None, True, "production"
    )
    (tmp_path / "network.onnx").write_bytes(b"a network")
    _lay(tmp_path / "network.onnx", None, folder / "models" / "ab")
    (folder / "models" / "resolved.json").write_text(json.dumps({"super-resolution": dataclasses.asdict(known)}))
    assert batch_model(stack, None, folder, silent, told.append) == known
    assert "super-resolution version 3" in told[0]
    with pytest.raises(Unhealthy):
        batch_model(stack, "super-resolution@other", folder, silent, told.append)
    (folder / "models" / "ab" / "network.onnx").write_bytes(b"a natwork")
    with pytest.raises(Unhealthy):  # images upscaled with a damaged one would be said to be that version's
        batch_model(stack, None, folder, silent, told.append)
    _lay(tmp_path / "network.onnx", None, folder / "models" / "ab")
    assert batch_model(stack, None, folder, silent, told.append) == known
    assert {file.name for file in (folder / "models").iterdir()} == {"ab", "ab.digest", "resolved.json"}
