"""What serves, as the page shows it: figures against bicubic, dates, links into MLflow, and what is amiss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

from flask_demo.errors import DemoError, no_model, not_an_image_model
from flask_demo.model_server import DEFAULT_MODEL, ModelServer, ServedModel
from flask_demo.targets import PRODUCTION, Target

# Metric name -> (label, unit, decimals); a metric NAME_bicubic beside it is the figure to beat.
KNOWN_METRICS = {"psnr_y": ("PSNR", "dB", 2), "ssim_y": ("SSIM", "", 4)}
MOST_METRICS = 4
SCALES = {2: "twice as large", 3: "three times larger", 4: "four times larger", 8: "eight times larger"}


@dataclass(frozen=True)
class Figure:
    """One metric, formatted; `gain` is the signed difference to bicubic, or empty."""

    label: str
    value: str
    unit: str
    gain: str


@dataclass(frozen=True)
class Links:
    """Where MLflow's UI shows a version and its run; empty when unknown."""

    version: str
    run: str


@dataclass(frozen=True)
class Notice:
    """Something a person should know though photos still go through; `moment` (ISO 8601) ends the message."""

    tone: Literal["calm", "warn"]
    message: str
    moment: str = ""
    hint: str = ""
    command: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Panel:
    """Everything the page says about one server; `problem` is set when no photo can go through it."""

    stage: str
    reachable: bool
    name: str
    version: str | None
    run_id: str | None
    figures: tuple[Figure, ...]
    evaluation: str | None
    promoted_at: str | None
    since: str | None
    scale: int | None
    links: Links
    notices: tuple[Notice, ...]
    problem: dict[str, str] | None

    @property
    def larger(self) -> str:
        """How much larger photos come out, in words ("four times larger")."""
        return "larger" if self.scale is None else SCALES.get(self.scale, f"{self.scale} times larger")

    def to_dict(self) -> dict[str, Any]:
        """Return the panel as plain JSON data."""
        return asdict(self)


def mlflow_links(mlflow_url: str, model: str, version: str | None, run_id: str | None) -> Links:
    """Return the pages of a version and of a run in MLflow's UI (routes of MLflow 3: they need no experiment)."""
    return Links(
        version=f"{mlflow_url}/#/models/{quote(model, safe='')}/versions/{quote(version, safe='')}" if version else "",
        run=f"{mlflow_url}/#/runs/{quote(run_id, safe='')}" if run_id else "",
    )


def read_panel(server: ModelServer, mlflow_url: str) -> Panel:
    """Ask `server` what serves and return it for the page; never raises."""
    problem: DemoError | None = None
    try:
        model = server.model()
    except DemoError as error:
        return _panel(ServedModel(name=DEFAULT_MODEL), server.target, mlflow_url, reachable=False, problem=error)
    if model.version is None:
        problem = no_model(model.name, model.error or "", server.target)
    elif model.contract not in {None, "image"}:
        problem = not_an_image_model(model.name, target=server.target)
    return _panel(model, server.target, mlflow_url, reachable=True, problem=problem)


def figures(metrics: Mapping[str, float]) -> tuple[Figure, ...]:
    """Return the metrics to show: the known ones first, each with its gain over bicubic where that was measured."""
    names = [name for name in KNOWN_METRICS if name in metrics]
    names += sorted(name for name in metrics if name not in KNOWN_METRICS and not name.endswith("_bicubic"))
    shown = []
    for name in names[:MOST_METRICS]:
        label, unit, decimals = KNOWN_METRICS.get(name, (name, "", 4))
        rival = metrics.get(f"{name}_bicubic")
        gain = "" if rival is None else f"{metrics[name] - rival:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")
        shown.append(Figure(label, f"{metrics[name]:.{decimals}f}", unit, gain))
    return tuple(shown)


def labels(panels: Sequence[Panel]) -> list[str]:
    """Return the names of the figures that any of `panels` shows, in order: the rows of the table."""
    return list(dict.fromkeys(figure.label for panel in panels for figure in panel.figures))


def comparable(panels: Sequence[Panel]) -> bool:
    """Return whether the figures of `panels` may be compared: False when they were measured on different photos."""
    return len({panel.evaluation for panel in panels if panel.figures and panel.evaluation}) < 2


def notices(model: ServedModel, target: Target) -> tuple[Notice, ...]:
    """Return what to know about `model`: a candidate beside it, a registry out of reach, the last thing that failed."""
    told = []
    goes_on = f"Version {model.version} serves on." if model.version else ""
    if model.stale_since:
        hint = f"{goes_on} A promotion shows once MLflow is back. To see what is up, run:".strip()
        told.append(Notice("warn", "MLflow has not answered since", model.stale_since, hint, "stackctl status"))
    candidate = model.candidate
    if candidate and candidate.version != model.version:
        if candidate.state == "refused":
            told.append(
                Notice("warn", f"Version {candidate.version} was refused.", hint=goes_on, detail=candidate.reason or "")
            )
        elif candidate.state == "prepared":
            told.append(Notice("calm", f"Version {candidate.version} is ready for {target.stage}."))
        else:
            told.append(Notice("calm", f"Version {candidate.version} is being prepared."))
    if model.taken_back:
        back = model.taken_back
        told.append(Notice("warn", f"Version {back.version} was taken back.", hint=goes_on, detail=back.reason))
    if model.backup and model.backup.problem and target is PRODUCTION:
        newest = model.backup.newest_verified
        message = "The newest verified backup is of" if newest else "There is no verified backup."
        hint = "A failed disk would take what was trained since. To make one, run:"
        told.append(Notice("warn", message, newest or "", hint, "stackctl backup"))
    said = any(notice.detail and notice.detail == model.error for notice in told)
    if model.error and model.version and not said:
        told.append(Notice("warn", model.error, hint=goes_on))
    return tuple(told)


def say_when(moment: str | None) -> str:
    """Return an ISO 8601 moment as "21 Nov 2026, 01:20 UTC"; text that is no moment comes back unchanged."""
    if not moment:
        return ""
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{parsed.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def _panel(model: ServedModel, target: Target, mlflow_url: str, *, reachable: bool, problem: DemoError | None) -> Panel:
    return Panel(
        stage=target.stage,
        reachable=reachable,
        name=model.name,
        version=model.version,
        run_id=model.run_id,
        figures=figures(model.metrics),
        evaluation=model.evaluation,
        promoted_at=model.promoted_at,
        since=model.since,
        scale=model.scale,
        links=mlflow_links(mlflow_url, model.name, model.version, model.run_id),
        notices=notices(model, target),
        problem=problem.to_dict() if problem else None,
    )
