"""Two runs never write to one place of results at once, whatever they call it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from stackctl.batch.order import Order, OrderedModel
from stackctl.batch.output_hold import held, lock_of
from stackctl.errors import StackctlError


def order(run: str) -> Order:
    return Order(run, "now", "/in", "/out", "/bad", OrderedModel("m", "1", "sha256:aa"))


@pytest.mark.parametrize(
    ("first", "second"),
    [("/out", "/out"), ("/out", "/out/sub"), ("/out/sub", "/out"), ("s3://b", "s3://b/sub"), ("/", "/out")],
)
def test_a_run_into_the_place_of_another_a_part_of_it_or_around_it_names_the_other(
    tmp_path: Path, first: str, second: str
) -> None:
    with (
        held(tmp_path, first, order("20261121-080501-ab12")),
        pytest.raises(StackctlError, match=f"20261121-080501-ab12 works on {first} now") as refused,
        held(tmp_path, second, order("other")),
    ):
        pass
    assert "batch status 20261121-080501-ab12" in str(refused.value.hint)
    with held(tmp_path, second, order("other")):
        assert lock_of(tmp_path, second).read_text() == f"other\n{second}"


@pytest.mark.parametrize(("first", "second"), [("/out", "/outer"), ("/out/a", "/out/b"), ("s3://b", "s3://bc")])
def test_runs_into_places_apart_go_on_beside_each_other(tmp_path: Path, first: str, second: str) -> None:
    with held(tmp_path, first, order("one")), held(tmp_path, second, order("two")):
        pass


def test_a_run_and_a_batch_that_is_processed_by_itself_do_not_share_a_place(tmp_path: Path) -> None:
    with lock_of(tmp_path, "/out").open("a") as shared:
        fcntl.flock(shared, fcntl.LOCK_SH)
        with (
            pytest.raises(StackctlError, match="Batches are processed into /out"),
            held(tmp_path, "/out", order("one")),
        ):
            pass
