"""A version is held against every gate, and a refusal names the gate and quotes both figures."""

from __future__ import annotations

import pytest
from support.memory_mlflow import MemoryMlflow

from stackctl.models.gates import Direction, MetricGate, Passed, check_all
from stackctl.models.promotion import PromotionRefused

ON = {"stackctl.evaluation.digest": "sha256:photos"}
IMAGE = {"stackctl.contract": "image"}


def scene(
    champion: dict[str, float] | None, challenger: dict[str, float] | None, *, on: dict[str, str] | None = None
) -> MemoryMlflow:
    mlflow = MemoryMlflow(versions=0)
    mlflow.add(champion, {**ON, **IMAGE})
    mlflow.add(challenger, {**(ON if on is None else on), **IMAGE})
    return mlflow


def check(mlflow: MemoryMlflow, metric: MetricGate | None = None, *, champion: bool = True) -> list[Passed]:
    registry = mlflow.registry()
    return check_all(registry, registry.version("m", "2"), registry.version("m", "1") if champion else None, metric)


def refused(mlflow: MemoryMlflow, metric: MetricGate | None = None) -> PromotionRefused:
    with pytest.raises(PromotionRefused) as caught:
        check(mlflow, metric)
    return caught.value


@pytest.mark.parametrize(
    ("ours", "direction", "min_delta", "passes"),
    [
        (29.1, "higher", 0.0, True),
        (29.0, "higher", 0.0, False),
        (28.9, "higher", 0.0, False),
        (29.1, "higher", 0.1, True),  # 29.1 - 29.0 is a little less than 0.1 in binary
        (29.05, "higher", 0.1, False),
        (28.9, "lower", 0.0, True),
        (28.9, "lower", 0.2, False),
        (29.1, "lower", 0.0, False),
    ],
)
def test_a_version_must_be_better_by_enough(ours: float, direction: Direction, min_delta: float, passes: bool) -> None:
    mlflow = scene({"psnr_y": 29.0}, {"psnr_y": ours})
    gate = MetricGate("psnr_y", min_delta, direction)
    if passes:
        assert check(mlflow, gate)[-1].figures == {"psnr_y": ours, "psnr_y_champion": 29.0, "data": "sha256:photos"}
    else:
        refusal = refused(mlflow, gate)
        assert refusal.gate == "metric"
        assert refusal.code == 1
        assert f"{ours:g}" in refusal.message
        assert "29 of version 1" in refusal.message
        assert refusal.figures["psnr_y"] == ours


@pytest.mark.parametrize("on", [{}, {"stackctl.evaluation.digest": "sha256:other"}])
def test_figures_that_were_measured_on_other_data_are_not_compared(on: dict[str, str]) -> None:
    refusal = refused(scene({"psnr_y": 29.0}, {"psnr_y": 35.0}, on=on), MetricGate("psnr_y"))
    assert refusal.gate == "metric"
    assert "different data" in refusal.message
    assert "sha256:photos" in refusal.message
    assert "stackctl.evaluation.digest" in (refusal.hint or "")


def test_the_data_set_may_be_recorded_on_the_run_or_by_mlflow_itself() -> None:
    mlflow = scene({"psnr_y": 29.0}, {"psnr_y": 29.5}, on={})
    run = mlflow.runs[mlflow.versions["2"]["run_id"]]
    run["data"]["tags"] = [{"key": "stackctl.evaluation.digest", "value": "sha256:photos"}]
    assert check(mlflow, MetricGate("psnr_y"))[-1].gate == "metric"
    run["data"]["tags"] = []
    context = [{"key": "mlflow.data.context", "value": "evaluation"}]
    run["inputs"] = {"dataset_inputs": [{"tags": context, "dataset": {"digest": "sha256:photos"}}]}
    assert check(mlflow, MetricGate("psnr_y"))[-1].gate == "metric"


def test_a_missing_metric_is_refused_with_those_there_are() -> None:
    refusal = refused(scene({"psnr_y": 29.0}, {"ssim_y": 0.8}), MetricGate("psnr_y"))
    assert refusal.gate == "metric"
    assert "no metric psnr_y" in refusal.message
    assert "ssim_y" in refusal.message


def test_a_metric_that_is_no_number_is_refused() -> None:
    assert "nan" in refused(scene({"psnr_y": 29.0}, {"psnr_y": float("nan")}), MetricGate("psnr_y")).message


def test_without_a_champion_there_is_nothing_to_compare_with() -> None:
    passed = check(scene(None, {"psnr_y": 29.0}), MetricGate("psnr_y"), champion=False)
    assert "nothing is in Production" in passed[-1].sentence


def test_a_version_that_is_not_ready_is_refused_with_its_status() -> None:
    mlflow = scene({}, {})
    mlflow.versions["2"]["status"] = "PENDING_REGISTRATION"
    refusal = refused(mlflow)
    assert refusal.gate == "status"
    assert "PENDING_REGISTRATION, not READY" in refusal.message


@pytest.mark.parametrize("contract", [None, "table"])
def test_an_image_champion_takes_no_other_successor(contract: str | None) -> None:
    mlflow = scene({}, {})
    mlflow.versions["2"]["tags"] = {"stackctl.contract": contract} if contract else {}
    refusal = refused(mlflow)
    assert refusal.gate == "contract"
    assert "contract image" in refusal.message


def test_a_champion_without_a_contract_takes_any_successor() -> None:
    mlflow = scene({}, {})
    mlflow.versions["1"]["tags"] = {}
    assert [gate.gate for gate in check(mlflow)] == ["status"]


def test_golden_outputs_that_were_not_reproduced_at_registration_are_refused() -> None:
    mlflow = scene({}, {})
    mlflow.versions["2"]["tags"]["stackctl.golden"] = "failed: pair 00 differs by 9 levels, allowed 1"
    refusal = refused(mlflow)
    assert refusal.gate == "golden"
    assert "9 levels, allowed 1" in refusal.message


@pytest.mark.parametrize(("recorded", "meaning"), [("53.9", "may be chosen"), ("41.2", "stays fp32"), ("torn", None)])
def test_the_recorded_fidelity_decides_the_precision_and_refuses_nothing(recorded: str, meaning: str | None) -> None:
    mlflow = scene({}, {})
    mlflow.versions["2"]["tags"]["stackctl.fidelity.bf16"] = recorded
    told = [gate.sentence for gate in check(mlflow) if gate.gate == "fidelity"]
    assert len(told) == (meaning is not None)
    assert all((meaning or "") in sentence and "50 dB" in sentence for sentence in told)
