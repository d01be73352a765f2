"""An image's name follows from everything that decides what is in it, and from nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.image_stacks import stack_with

from stackctl.errors import UsageError
from stackctl.images import CATALOGUE, images_of
from stackctl.images.catalogue import checked, image
from stackctl.images.client import Present, tagged
from stackctl.images.recipe import Recipe

BASE = Present("stackctl/base:bookworm", "sha256:1", 1, ("sha256:aa",), {}, "")


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_same_inputs_give_the_same_name(name: str) -> None:
    assert Recipe.of(image(name), BASE).reference == Recipe.of(image(name), BASE).reference


def test_a_name_says_repository_version_and_hash() -> None:
    recipe = Recipe.of(image("demo"), BASE)
    repository, _, tag = recipe.reference.partition(":")
    version, _, digest = tag.rpartition("-")
    assert (repository, version, digest) == ("stackctl/demo", recipe.software_version, recipe.digest[:12])


@pytest.mark.parametrize(
    "change",
    [
        {"base": dataclasses.replace(BASE, layers=("sha256:bb",))},
        {"constraints": "flask==0.1\n"},
        {"requirements": ("flask",)},
        {"wheel": "another"},
        {"files": {"Dockerfile": "another"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_input_changes_the_name(change: dict[str, object]) -> None:
    recipe = Recipe.of(image("demo"), BASE)
    assert dataclasses.replace(recipe, **change).reference != recipe.reference  # type: ignore[arg-type]


def test_the_engines_own_id_and_name_of_the_base_do_not_matter() -> None:
    moved = dataclasses.replace(BASE, reference="registry.example.org/base:1", id="sha256:2", created="yesterday")
    assert Recipe.of(image("mlflow"), moved).reference == Recipe.of(image("mlflow"), BASE).reference


def test_our_code_is_no_input_of_the_store() -> None:
    recipe = Recipe.of(image("store"), BASE)
    assert (recipe.wheel, recipe.constraints, recipe.requirements) == ("", "", ())


def test_no_image_but_the_training_one_asks_for_torch() -> None:
    for name in ("mlflow", "serving", "demo"):
        recipe = Recipe.of(image(name), BASE)
        text = (recipe.folder / "Dockerfile").read_text()
        assert not any(
            "torch" in line for line in (*recipe.requirements, *text.splitlines()) if not line.startswith("#")
        )


def test_mlflows_image_is_labelled_with_mlflows_version() -> None:
    recipe = Recipe.of(image("mlflow"), BASE)
    assert f"mlflow=={recipe.software_version}" in recipe.constraints.splitlines()


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, ("store", "mlflow", "serving", "demo", "backup")),
        ({"store": {"kind": "s3", "endpoint": "https://s3.example.org"}}, ("mlflow", "serving", "demo", "backup")),
        (
            {"mlflow": {"kind": "external", "tracking_uri": "https://mlflow.example.org"}},
            ("store", "mlflow", "serving", "demo", "backup"),  # the buckets are made in MLflow's image
        ),
        (
            {
                "store": {"kind": "s3", "endpoint": "https://s3.example.org"},
                "mlflow": {"kind": "external", "tracking_uri": "https://mlflow.example.org"},
            },
            ("serving", "demo", "backup"),
        ),
    ],
    ids=["everything bundled", "store elsewhere", "MLflow elsewhere", "both elsewhere"],
)
def test_a_stack_needs_the_images_of_the_services_it_runs(
    tmp_path: Path, settings: dict[str, object], wanted: tuple[str, ...]
) -> None:
    assert images_of(stack_with(tmp_path, **settings)) == wanted


def test_an_unknown_image_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match="no image web") as refusal:
        checked(["demo", "web"], None)
    assert refusal.value.hint is not None
    assert "serving" in refusal.value.hint


def test_a_name_without_a_tag_means_latest() -> None:
    assert tagged("debian") == "debian:latest"
    assert tagged("localhost:5000/debian") == "localhost:5000/debian:latest"
    assert tagged("debian:bookworm") == "debian:bookworm"


def test_drills_under_docker_take_an_image_that_has_what_they_run_and_the_memory_for_it(tmp_path: Path) -> None:
    from stackctl.stack.environment import docker_environment

    with pytest.raises(UsageError, match=r"set memory\.backup to 2g"):
        stack_with(tmp_path, backup={"drill_schedule": "0 7 1 * *"})
    stack = stack_with(tmp_path, backup={"drill_schedule": "0 7 1 * *"}, memory={"backup": "2g"})
    assert images_of(stack) == ("store", "mlflow", "serving", "demo", "drill")
    assert docker_environment(stack, {"backup": "b", "drill": "d"})["STACKCTL_IMAGE_BACKUP"] == "d"
