"""Which version a word means."""

from __future__ import annotations

import pytest
from support.memory_mlflow import MemoryMlflow

from stackctl.errors import UsageError
from stackctl.models import UnknownModel, UnknownVersion, resolve


def scene() -> MemoryMlflow:
    mlflow = MemoryMlflow(versions=12)
    mlflow.aliases["best"] = "7"
    return mlflow


@pytest.mark.parametrize(
    ("word", "version"),
    [("2", "2"), ("v2", "2"), (" 002 ", "2"), ("latest", "12"), ("@best", "7"), (f"{10:032x}", "10")],
)
def test_a_version_goes_by_number_latest_alias_or_run(word: str, version: str) -> None:
    assert resolve(scene().registry(), "m", word).version == version


def test_of_several_versions_of_one_run_the_newest_counts() -> None:
    mlflow = scene()
    mlflow.versions["11"]["run_id"] = mlflow.versions["3"]["run_id"]
    assert resolve(mlflow.registry(), "m", f"{3:032x}").version == "11"


@pytest.mark.parametrize(
    ("word", "told"),
    [("@nobody", r"no alias nobody. Its aliases: @best \(7\)"), ("f" * 32, "no version that run"), ("13", "Known")],
)
def test_what_names_no_version_is_said_with_what_there_is(word: str, told: str) -> None:
    with pytest.raises(UnknownVersion, match=told):
        resolve(scene().registry(), "m", word)


@pytest.mark.parametrize("word", ["", "@", "newest", "1.5", "-1", "0", "²", "V2", "a" * 31])
def test_other_words_are_usage_errors(word: str) -> None:
    with pytest.raises(UsageError, match="is not a version"):
        resolve(scene().registry(), "m", word)


@pytest.mark.parametrize("name", ["a/b?c", "a:b", "a?b&c"])
@pytest.mark.parametrize("word", ["1", "latest", "@best", "0" * 32])
def test_a_name_that_no_model_can_have_is_an_unknown_model(name: str, word: str) -> None:
    with pytest.raises(UnknownModel, match="There is no model"):
        resolve(scene().registry(), name, word)
