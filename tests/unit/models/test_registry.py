"""The registry client against a real MLflow server."""

from __future__ import annotations

import pytest
from support.mlflow_server import MlflowServer

from stackctl.models import Registry, UnknownModel, UnknownVersion, resolve

pytestmark = pytest.mark.slow


@pytest.fixture
def registry(mlflow_server: MlflowServer) -> Registry:
    return Registry(mlflow_server.url)


def test_versions_come_newest_first_with_stage_aliases_tags_and_metrics(
    mlflow_server: MlflowServer, registry: Registry
) -> None:
    mlflow_server.make_versions("listed", 2, {"stackctl.source": "test"})
    registry.transition_stage("listed", "1", "Production")
    registry.set_alias("listed", "production", "1")
    second, first = registry.versions("listed", metrics=True)
    assert (second.version, second.stage, second.aliases) == ("2", "None", ())
    assert (first.version, first.stage, first.aliases) == ("1", "Production", ("production",))
    assert first.status == "READY"
    assert first.tags["stackctl.source"] == "test"
    assert first.metrics == {"psnr_y": 28.5}


def test_production_is_what_the_stage_and_the_alias_lead_to(mlflow_server: MlflowServer, registry: Registry) -> None:
    mlflow_server.make_versions("both", 3)
    assert registry.production_of("both").version is None
    registry.transition_stage("both", "1", "Production")
    registry.set_alias("both", "production", "1")
    assert registry.production_of("both").agrees
    registry.transition_stage("both", "2", "Production", archive_existing=False)
    found = registry.production_of("both")
    assert not found.agrees
    assert (found.stage, found.alias) == ("2", "1")


def test_archiving_takes_the_others_out_of_the_stage_so_that_a_lower_version_counts(
    mlflow_server: MlflowServer, registry: Registry
) -> None:
    mlflow_server.make_versions("back", 2)
    registry.transition_stage("back", "2", "Production")
    registry.transition_stage("back", "1", "Production")
    assert registry.production_of("back").stage == "1"
    assert registry.version("back", "2").stage == "Archived"


def test_an_unknown_model_names_the_known_ones(mlflow_server: MlflowServer, registry: Registry) -> None:
    mlflow_server.make_versions("zz-known", 1)  # the last of a list that names the last ones
    with pytest.raises(UnknownModel, match="zz-known"):
        registry.model("unheard-of")
    with pytest.raises(UnknownModel, match="zz-known"):
        resolve(registry, "unheard-of", "1")


def test_an_unknown_version_names_the_known_ones(mlflow_server: MlflowServer, registry: Registry) -> None:
    mlflow_server.make_versions("counted", 2)
    with pytest.raises(UnknownVersion, match="Known: 1, 2"):
        resolve(registry, "counted", "9")


def test_tags_and_aliases_come_and_go(mlflow_server: MlflowServer, registry: Registry) -> None:
    mlflow_server.make_versions("tagged", 1)
    registry.set_model_tag("tagged", "colour", "it's “blue”")
    registry.set_version_tag("tagged", "1", "shape", "round")
    registry.set_alias("tagged", "candidate", "1")
    assert registry.model("tagged").tags == {"colour": "it's “blue”"}
    assert registry.version("tagged", "1").aliases == ("candidate",)
    for _ in range(2):  # deleting what is gone is no error
        registry.delete_model_tag("tagged", "colour")
        registry.delete_version_tag("tagged", "1", "shape")
        registry.delete_alias("tagged", "candidate")
    assert registry.model("tagged").tags == {}
    assert registry.version("tagged", "1").tags == {}
    assert registry.model("tagged").aliases == {}
