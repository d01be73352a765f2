"""The MLflow model registry as this product uses it, over MLflow's REST API."""

from stackctl.models.digest import digest_of_folder
from stackctl.models.registry import Registry, UnknownModel, UnknownVersion
from stackctl.models.resolve import resolve
from stackctl.models.versions import ModelVersion, Production, RegisteredModel

__all__ = [
    "ModelVersion",
    "Production",
    "RegisteredModel",
    "Registry",
    "UnknownModel",
    "UnknownVersion",
    "digest_of_folder",
    "resolve",
]
