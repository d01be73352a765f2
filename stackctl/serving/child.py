"""The process of one version: downloads, verifies, loads and replays it, then answers on a Unix socket.

Started as ``python -m stackctl.serving.child SPEC``; it ends with its parent. Reports go to standard output between log
lines (see ``spec.Report``).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stackctl.errors import StackctlError
from stackctl.models.digest import digest_of_folder
from stackctl.serving import artifacts
from stackctl.serving.errors import Refused
from stackctl.serving.events import event
from stackctl.serving.golden import ImageModel, golden_folder, replay
from stackctl.serving.spec import IMAGE, LONGEST_REASON, PYFUNC, ChildSpec, Report
from stackctl.stack import Stack

if TYPE_CHECKING:
    from starlette.types import ASGIApp

PR_SET_PDEATHSIG = 1
REFUSED_STATUS = 3
SPARE_SECONDS = 30


def main() -> int:
    """Prepare the version that the specification in ``argv[1]`` names, and serve it."""
    spec = ChildSpec.read(Path(sys.argv[1]))
    die_with(spec.parent)
    die_before_the_parent()
    try:
        return _run(spec)
    except Refused as error:
        refused = Report("refused", error.reason[:LONGEST_REASON], error.transient, error.digest)
    except Exception as error:  # noqa: BLE001 - whatever a model's code raises is its refusal, with the trace in the log
        traceback.print_exc()
        refused = Report("refused", f"{error.__class__.__name__}: {error}"[:LONGEST_REASON])
    _report(refused)
    return REFUSED_STATUS


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when ``parent`` ends, however it ends; exit if it has already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(REFUSED_STATUS)


def die_before_the_parent() -> None:
    """Have the kernel choose this process, not its parent, when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _run(spec: ChildSpec) -> int:
    started = time.monotonic()
    folder = Path(spec.folder)
    digest = _verified_files(spec, folder)
    fetched = time.monotonic()
    loaded, model = _load(spec, folder, digest)
    ready = time.monotonic()
    golden = _replay(spec, folder, digest, model)
    app = _application(spec, digest, loaded, model)
    event(
        "loaded", version=spec.version, files=fetched - started, load=ready - fetched,
        golden=time.monotonic() - ready, checked=golden,
    )  # fmt: skip
    _serve(spec, app, _prepared(digest, model))
    return 0


def _verified_files(spec: ChildSpec, folder: Path) -> str:
    """Return the digest of the version's files, which are downloaded unless they lie there intact.

    Raises:
        Refused: they cannot be had, or are not what was logged.
    """
    if folder.is_dir():
        digest = digest_of_folder(folder)
        if spec.digest in (None, digest):
            return digest
        event("cache_damaged", version=spec.version, digest=digest, expected=spec.digest)
        artifacts.remove(folder)
    stack = Stack.from_env()
    artifacts.fetch(_source(stack, spec), folder, tracking_uri=stack.endpoints.mlflow, token=stack.mlflow_token())
    digest = digest_of_folder(folder)
    if spec.digest not in (None, digest):
        artifacts.remove(folder)
        raise Refused(
            f"The files of {spec.name} version {spec.version} are not those that were logged: "
            f"their digest is {digest}, the version's tag says {spec.digest}.",
            digest=digest,
        )
    return digest


def _source(stack: Stack, spec: ChildSpec) -> str:
    from stackctl.models.rest import Rest

    try:
        answer = Rest(stack.endpoints.registry, stack.mlflow_token()).get(
            "model-versions/get-download-uri", {"name": spec.name, "version": spec.version}
        )
    except StackctlError as error:
        raise Refused(error.message, transient=True) from error
    return str(answer["artifact_uri"])


def _load(spec: ChildSpec, folder: Path, digest: str) -> tuple[Any, ImageModel | None]:
    for secret in ("MLFLOW_TRACKING_TOKEN", "STACKCTL_MLFLOW_TOKEN_FILE"):  # a model's code has no use for them
        os.environ.pop(secret, None)
    sys.dont_write_bytecode = True  # the digest counts every file in the folder
    _check_requirements(spec, folder, digest)
    import mlflow.pyfunc

    try:
        loaded = mlflow.pyfunc.load_model(str(folder), model_config=_configuration(spec, folder))
    except ModuleNotFoundError as error:
        raise Refused(
            f"The version needs the Python module {error.name}, which is not installed in the model server. "
            "Add its package to serving.packages in stack.yaml and run `stackctl up`.",
            digest=digest,
        ) from error
    model = _image_model(loaded)
    if model is None and spec.contract == IMAGE:
        raise Refused(
            "The version is tagged as an image model, but its Python model has no `upscale` and `network_info`.",
            digest=digest,
        )
    return loaded, model


def _check_requirements(spec: ChildSpec, folder: Path, digest: str) -> None:
    from stackctl.serving.requirements import check

    missing, differing = check(folder)
    for sentence in differing:
        event("requirement_differs", version=spec.version, what=sentence)
    if missing:
        raise Refused(
            f"The version needs Python packages that are not installed in the model server: {', '.join(missing)}. "
            "Add them to serving.packages in stack.yaml and run `stackctl up`.",
            digest=digest,
        )


def _configuration(spec: ChildSpec, folder: Path) -> dict[str, Any] | None:
    """Return what this server sets of the model's own configuration, as far as the model knows it."""
    from mlflow.models import Model

    flavor = Model.load(str(folder)).flavors.get("python_function", {})
    known = flavor.get("config") or {}
    ours = {"cache_dir": spec.network_cache, "max_bytes": spec.max_bytes, "max_memory": spec.max_memory}
    return {name: value for name, value in ours.items() if name in known} or None


def _image_model(loaded: Any) -> ImageModel | None:
    from mlflow.exceptions import MlflowException

    try:
        model = loaded.unwrap_python_model()
    except (MlflowException, AttributeError):
        return None
    has_contract = callable(getattr(model, "upscale", None)) and callable(getattr(model, "network_info", None))
    return cast("ImageModel", model) if has_contract else None


def _replay(spec: ChildSpec, folder: Path, digest: str, model: ImageModel | None) -> str:
    if model is None:
        return "no golden images"
    golden = golden_folder(folder)
    if golden is None:
        if spec.contract == IMAGE:
            raise Refused("The version has no golden images to check it with.", digest=digest)
        return "no golden images"
    try:
        return replay(model, golden)
    except Refused as error:
        raise Refused(error.reason, digest=digest) from error


def _application(spec: ChildSpec, digest: str, loaded: Any, model: ImageModel | None) -> ASGIApp:
    os.environ["MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"] = str(int(spec.timeout) + SPARE_SECONDS)
    from mlflow.pyfunc import scoring_server

    from stackctl.serving.scoring import build

    return build(spec, digest, scoring_server.init(loaded), model)


def _prepared(digest: str, model: ImageModel | None) -> Report:
    from mlflow.version import VERSION

    return Report(
        "prepared",
        digest=digest,
        contract=PYFUNC if model is None else IMAGE,
        image=None if model is None else dict(model.network_info()),
        mlflow=VERSION,
    )


def _serve(spec: ChildSpec, app: ASGIApp, report: Report) -> None:
    import gc

    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[Any] | None = None) -> None:
            await super().startup(sockets)
            _report(report)

    gc.collect()
    gc.freeze()
    config = uvicorn.Config(
        app,
        uds=spec.socket,
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=int(spec.timeout) + 1,
    )
    Server(config).run()


def _report(report: Report) -> None:
    sys.stdout.write(report.line())
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
