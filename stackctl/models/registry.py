"""The model registry, typed, over MLflow's REST API: importing mlflow for the same calls costs seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stackctl.errors import StackctlError, UsageError
from stackctl.models.rest import NOT_FOUND, TIMEOUT, Rest, RestError
from stackctl.models.tags import EVALUATION_DIGEST
from stackctl.models.versions import Measured, ModelVersion, Production, RegisteredModel, parse_model, parse_version

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import httpx

    from stackctl.stack import Stack

_PAGE = 200
_LISTED = 10
_NEVER_IN_NAMES = frozenset("/:")  # MLflow refuses to register such names
_EVALUATION_CONTEXTS = frozenset({"eval", "evaluation", "test", "testing", "validation"})


class UnknownModel(StackctlError):
    """The registry has no such registered model."""


class UnknownVersion(StackctlError):
    """The registered model has no such version."""


class Registry:
    """A model registry and the tracking server that holds its runs.

    Args:
        tracking_uri: URL of the tracking server (runs and their metrics).
        registry_uri: URL of the registry; the tracking server's where it is None.
        token: bearer token for both, or None.
        timeout: seconds for one call.
        transport: how requests travel (tests put their own here).
    """

    def __init__(
        self,
        tracking_uri: str,
        registry_uri: str | None = None,
        token: str | None = None,
        *,
        timeout: float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._tracking = Rest(tracking_uri, token, timeout=timeout, transport=transport)
        same = registry_uri is None or registry_uri.rstrip("/") == self._tracking.uri
        self._registry = (
            self._tracking if same else Rest(registry_uri or "", token, timeout=timeout, transport=transport)
        )

    @classmethod
    def of(cls, stack: Stack, *, timeout: float = TIMEOUT) -> Registry:
        """Return the registry of a stack."""
        return cls(stack.endpoints.mlflow, stack.endpoints.registry, stack.mlflow_token(), timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._tracking.close()
        self._registry.close()

    @property
    def uri(self) -> str:
        """URL of the registry."""
        return self._registry.uri

    def models(self) -> list[RegisteredModel]:
        """Return every registered model, by name."""
        pages = self._pages("registered-models/search", "registered_models", {})
        return sorted((parse_model(entry) for entry in pages), key=lambda model: model.name)

    def model(self, name: str) -> RegisteredModel:
        """Return one registered model.

        Raises:
            UnknownModel: there is none of that name; the message lists those that are.
        """
        found = self.find_model(name)
        if found is None:
            raise self._unknown_model(name)
        return found

    def find_model(self, name: str) -> RegisteredModel | None:
        """Return one registered model, or None where there is none of that name."""
        if not name:
            raise UsageError("A model needs a name.")
        if not _NEVER_IN_NAMES.isdisjoint(name):
            return None
        try:
            return parse_model(self._registry.get("registered-models/get", {"name": name})["registered_model"])
        except RestError as error:
            if error.error_code == NOT_FOUND:
                return None
            raise

    def versions(self, name: str, *, metrics: bool = False) -> list[ModelVersion]:
        """Return every version of a model, newest first; ``metrics`` adds those of each run (one call per version).

        Raises:
            UnknownModel: there is no such model.
        """
        model = self.model(name)
        quote = '"' if "'" in name else "'"
        pages = self._pages("model-versions/search", "model_versions", {"filter": f"name={quote}{name}{quote}"})
        aliases: dict[str, list[str]] = {}
        for alias, version in model.aliases.items():
            aliases.setdefault(version, []).append(alias)
        found = [parse_version(entry, aliases=tuple(aliases.get(str(entry["version"]), ()))) for entry in pages]
        ordered = sorted(found, key=lambda version: int(version.version), reverse=True)
        return [self.with_metrics(version) for version in ordered] if metrics else ordered

    def version(self, name: str, number: str, *, metrics: bool = False) -> ModelVersion:
        """Return one version by its number.

        Raises:
            UnknownModel: there is no such model.
            UnknownVersion: the model has no such version; the message lists those it has.
        """
        if not number.isdecimal():
            raise UsageError(f"A version is a number, for instance 1; {number!r} is none.")
        if not _NEVER_IN_NAMES.isdisjoint(name):
            raise self._unknown_model(name)
        try:
            answer = self._registry.get("model-versions/get", {"name": name, "version": str(int(number))})
        except RestError as error:
            if error.error_code == NOT_FOUND:
                raise self._unknown_version(name, number) from None
            raise
        found = parse_version(answer["model_version"])
        return self.with_metrics(found) if metrics else found

    def with_metrics(self, version: ModelVersion) -> ModelVersion:
        """Return ``version`` with the metrics of its run (none where the run is gone)."""
        return replace(version, metrics=self.metrics(version.run_id)) if version.run_id else version

    def metrics(self, run_id: str) -> dict[str, float]:
        """Return the last value of every metric of a run; empty where there is no such run."""
        return _metrics(self._run(run_id))

    def measured(self, version: ModelVersion) -> Measured:
        """Return the metrics of a version's run and the digest of the data set they were measured on.

        The digest is the version's tag, else the run's tag of the same name, else the run's only data set that MLflow
        knows it was evaluated on.
        """
        run = self._run(version.run_id) if version.run_id else {}
        tags = {entry["key"]: entry.get("value", "") for entry in run.get("data", {}).get("tags", [])}
        digest = version.tags.get(EVALUATION_DIGEST) or tags.get(EVALUATION_DIGEST) or _evaluated_on(run)
        return Measured(_metrics(run), digest)

    def production_of(self, name: str) -> Production:
        """Return which version the stage and the alias of Production lead to.

        Raises:
            UnknownModel: there is no such model.
        """
        return self.model(name).production

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag on a registered model."""
        self._write("POST", "registered-models/set-tag", {"name": name, "key": key, "value": value})

    def delete_model_tag(self, name: str, key: str) -> None:
        """Delete a tag of a registered model; nothing happens where it is not set."""
        self._write("DELETE", "registered-models/delete-tag", {"name": name, "key": key})

    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a tag on a version."""
        self._write("POST", "model-versions/set-tag", {"name": name, "version": version, "key": key, "value": value})

    def delete_version_tag(self, name: str, version: str, key: str) -> None:
        """Delete a tag of a version; nothing happens where it is not set."""
        self._write("DELETE", "model-versions/delete-tag", {"name": name, "version": version, "key": key})

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias to a version."""
        self._write("POST", "registered-models/alias", {"name": name, "alias": alias, "version": version})

    def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias; nothing happens where it is not set."""
        self._write("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    def transition_stage(self, name: str, version: str, stage: str, *, archive_existing: bool = True) -> None:
        """Move a version to a stage; by default the versions in it are archived, in one transaction of MLflow's."""
        body = {"name": name, "version": version, "stage": stage, "archive_existing_versions": archive_existing}
        self._write("POST", "model-versions/transition-stage", body)

    def _run(self, run_id: str) -> dict[str, Any]:
        try:
            run: dict[str, Any] = self._tracking.get("runs/get", {"run_id": run_id})["run"]
        except RestError as error:
            if error.error_code == NOT_FOUND:
                return {}
            raise
        return run

    def _write(self, method: str, endpoint: str, body: Mapping[str, Any]) -> None:
        self._registry.call(method, endpoint, body=body)

    def _pages(self, endpoint: str, key: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page: dict[str, str | int] = {"max_results": _PAGE, **params, **({"page_token": token} if token else {})}
            answer = self._registry.get(endpoint, page)
            yield from answer.get(key, [])
            token = answer.get("next_page_token") or ""
            if not token:
                return

    def _unknown_model(self, name: str) -> UnknownModel:
        known = [model.name for model in self.models()]
        if not known:
            return UnknownModel(
                f"There is no model {name}: the registry is empty.",
                "Bring one in with `stackctl models import starter`.",
            )
        return UnknownModel(
            f"There is no model {name}. Known: {_listed(known)}.", "List them with `stackctl models list`."
        )

    def _unknown_version(self, name: str, number: str) -> StackctlError:
        known = [version.version for version in reversed(self.versions(name))]
        hint = f"List them with `stackctl models show {name}`."
        if not known:
            return UnknownVersion(f"{name} has no version {number}, nor any other.", hint)
        return UnknownVersion(f"{name} has no version {number}. Known: {_listed(known)}.", hint)


def _metrics(run: Mapping[str, Any]) -> dict[str, float]:
    return {entry["key"]: float(entry["value"]) for entry in run.get("data", {}).get("metrics", [])}


def _evaluated_on(run: Mapping[str, Any]) -> str | None:
    """Return the digest of the one data set that a run was evaluated on, by MLflow's own record, or None."""
    digests = {
        entry["dataset"]["digest"]
        for entry in run.get("inputs", {}).get("dataset_inputs", [])
        for tag in entry.get("tags", [])
        if tag.get("key") == "mlflow.data.context" and tag.get("value") in _EVALUATION_CONTEXTS
    }
    return digests.pop() if len(digests) == 1 else None


def _listed(words: list[str]) -> str:
    more = f"{len(words) - _LISTED} others, " if len(words) > _LISTED else ""
    return more + ", ".join(words[-_LISTED:])
