"""The URLs of a bucket where the object store is a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.local_stack import make_local_stack

from stackctl.errors import StackctlError, UsageError
from stackctl.stack import Stack
from stackctl.store.urls import ObjectMissing, bucket_folder, open_store

AWKWARD = ["a b.png", "100% ü.png", "x#y?.png", "deep/er/[1].png", "a%20b.png", ".hidden"]


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return make_local_stack(tmp_path / "stack")


@pytest.mark.parametrize("key", AWKWARD)
def test_what_was_put_is_got_listed_and_a_plain_file(stack: Stack, key: str) -> None:
    store = open_store(stack, "s3://inbound")
    store.put(key, b"pixels")
    assert store.get(key) == b"pixels"
    assert store.exists(key)
    assert [(info.key, info.size) for info in store.list()] == [(key, 6)]
    assert (stack.home / "data" / "inbound" / key).read_bytes() == b"pixels"
    store.delete(key)
    store.delete(key)
    assert not store.exists(key)


def test_a_file_that_a_person_put_there_is_an_object(stack: Stack) -> None:
    folder = stack.home / "data" / "inbound" / "holiday"
    folder.mkdir(parents=True)
    (folder / "Grüße #1.jpg").write_bytes(b"x")
    assert [info.key for info in open_store(stack, "s3://inbound").list("holiday")] == ["holiday/Grüße #1.jpg"]
    assert [info.key for info in open_store(stack, "s3://inbound/holiday").list()] == ["Grüße #1.jpg"]


def test_buckets_lie_where_a_person_looks_for_them(stack: Stack) -> None:
    assert bucket_folder(stack, "outbound") == stack.home / "data" / "outbound"
    assert bucket_folder(stack, "mlflow") == stack.var / "artifacts"
    assert bucket_folder(stack, "other") == stack.var / "store" / "other"


def test_a_missing_object_is_said_with_its_url(stack: Stack) -> None:
    with pytest.raises(ObjectMissing, match=r"There is no s3://outbound/a/b\.png\."):
        open_store(stack, "s3://outbound").get("a/b.png")


@pytest.mark.parametrize("url", ["inbound", "file:///etc", "s3://", "s3://inbound/../secrets"])
def test_what_is_no_url_of_a_store_is_refused(stack: Stack, url: str) -> None:
    with pytest.raises(UsageError, match="is no URL"):
        open_store(stack, url)


def test_a_key_cannot_climb_out_of_its_bucket(stack: Stack) -> None:
    with pytest.raises(UsageError, match="cannot be a key"):
        open_store(stack, "s3://inbound").get("../../secrets/s3_credentials")


def test_an_endpoint_that_does_not_answer_is_an_error_without_the_key(tmp_path: Path) -> None:
    stack = make_local_stack(tmp_path / "stack", store="minio")
    words = (stack.home / "secrets" / "s3_credentials").read_text().split()
    with pytest.raises(StackctlError) as caught:
        open_store(stack, "s3://inbound").get("a.png")
    assert "s3://inbound/a.png" in caught.value.message
    assert not [word for word in words if len(word) >= 16 and word in str(caught.value)]


def test_missing_credentials_name_the_file(tmp_path: Path) -> None:
    stack = make_local_stack(tmp_path / "stack", store="minio")
    (stack.home / "secrets" / "s3_credentials").write_text("[other]\n")
    with pytest.raises(StackctlError, match="s3_credentials holds no credentials"):
        open_store(stack, "s3://inbound")
