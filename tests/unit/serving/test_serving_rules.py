"""Rules of the model server that need no process: who wakes it, who loses its place, how much memory there is."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stackctl.errors import UsageError
from stackctl.models.targets import PRODUCTION, STAGING
from stackctl.serving.cache import VersionCache
from stackctl.serving.memory import MIB, Memory
from stackctl.serving.metrics import Metrics
from stackctl.serving.probation import Ban, Probation, Tally
from stackctl.serving.registry_view import Facts, Version
from stackctl.serving.requirements import check
from stackctl.serving.settings import ServingSettings
from stackctl.serving.webhook import signed_by, verified

SECRET = "a secret"
NOW = 1_800_000_000.0


def signature(body: bytes, *, secret: str = SECRET, delivery: str = "d-1", timestamp: str = str(int(NOW))) -> str:
    """Sign as MLflow does."""
    content = f"{delivery}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret.encode(), content, hashlib.sha256).digest()).decode()


def headers(body: bytes, **changed: str) -> dict[str, str]:
    """Return the headers of MLflow's delivery of ``body``."""
    return {
        "x-mlflow-signature": signature(body),
        "x-mlflow-delivery-id": "d-1",
        "x-mlflow-timestamp": str(int(NOW)),
        **changed,
    }


def test_a_webhook_counts_only_with_a_fresh_signature_over_id_time_and_body() -> None:
    assert signed_by(SECRET, headers(b"{}"), b"{}", now=NOW + 60)
    several = f"v0,AAAA v1,not-base64! {signature(b'{}')}"
    assert signed_by(SECRET, headers(b"{}", **{"x-mlflow-signature": several}), b"{}", now=NOW)

    assert not signed_by(SECRET, headers(b"{}"), b"{ }", now=NOW)
    assert not signed_by("another secret", headers(b"{}"), b"{}", now=NOW)
    assert not signed_by(SECRET, headers(b"{}"), b"{}", now=NOW + 301)
    assert not signed_by(SECRET, headers(b"{}"), b"{}", now=NOW - 301)
    assert not signed_by(SECRET, headers(b"{}", **{"x-mlflow-delivery-id": "d-2"}), b"{}", now=NOW)
    assert not signed_by(SECRET, headers(b"{}", **{"x-mlflow-timestamp": "soon"}), b"{}", now=NOW)
    assert not signed_by(SECRET, headers(b"{}", **{"x-mlflow-timestamp": "9" * 400}), b"{}", now=NOW)
    assert not signed_by(SECRET, {}, b"{}", now=NOW)


def test_mlflow_signs_its_webhooks_as_they_are_checked() -> None:
    from mlflow.webhooks import delivery
    from mlflow.webhooks.constants import WEBHOOK_DELIVERY_ID_HEADER, WEBHOOK_SIGNATURE_HEADER, WEBHOOK_TIMESTAMP_HEADER

    signed = delivery._generate_hmac_signature(SECRET, "d-1", str(int(NOW)), "{}")
    given = {
        WEBHOOK_SIGNATURE_HEADER: signed,
        WEBHOOK_DELIVERY_ID_HEADER: "d-1",
        WEBHOOK_TIMESTAMP_HEADER: str(int(NOW)),
    }
    assert signed_by(SECRET, httpx.Headers(given), b"{}", now=NOW)


def test_the_webhook_says_why_it_was_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackctl.serving.webhook.time", SimpleNamespace(time=lambda: NOW))
    file = tmp_path / "secret"

    async def status(secret: Path | None, content: bytes, **changed: str) -> int:
        async def hook(request: Request) -> Response:
            return await verified(request, secret)

        app = Starlette(routes=[Route("/webhook", hook, methods=["POST"])])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            answer = await client.post("/webhook", content=content, headers=headers(b"{}", **changed))
            return answer.status_code

    def answered(secret: Path | None, content: bytes, **changed: str) -> int:
        return asyncio.run(status(secret, content, **changed))

    assert answered(None, b"{}") == 404
    assert answered(file, b"{}") == 503
    file.write_text(f"{SECRET}\n")
    assert answered(file, b"{}") == 204
    assert answered(file, b"[]") == 401
    assert answered(file, b"{}", **{"x-mlflow-signature": ""}) == 401
    assert answered(file, b" " * 300_000) == 413


def on_probation(old_rate: float = 0.0) -> Probation:
    """Return the probation of a version that took over from version 1."""
    return Probation(cast("Any", SimpleNamespace(version=Version("tiny", "1"))), 0.0, old_rate)


@pytest.mark.parametrize(
    ("requests", "failures", "old_rate", "goes"),
    [
        (100, 0, 0.0, False),
        (2, 2, 0.0, False),  # too few to tell
        (3, 3, 0.0, True),
        (0, 3, 0.0, True),  # its process died three times
        (100, 10, 0.0, False),  # one in ten
        (100, 20, 0.0, True),
        (10, 9, 0.9, False),  # the old one was no better
        (10, 9, 0.5, True),
    ],
)
def test_a_version_that_fails_more_than_the_one_before_loses_its_place(
    requests: int, failures: int, old_rate: float, goes: bool
) -> None:
    slot = cast("Any", SimpleNamespace(tally=Tally(requests, failures), last_death=None))
    verdict = on_probation(old_rate).verdict(slot)
    assert (verdict is not None) is goes
    if verdict:
        assert f"{failures} of its first" in verdict


def test_a_ban_outlives_a_restart_and_ends_with_a_new_promotion_or_another_run(tmp_path: Path) -> None:
    version = Version("tiny", "2", "run2", promoted_at="2026-01-01T00:00:00Z")
    VersionCache(tmp_path).write_ban("tiny", Ban.of(version, "3 of its first 3 requests failed"))
    ban = VersionCache(tmp_path).ban("tiny")
    assert ban is not None
    assert ban.covers(version)
    assert not ban.covers(Version("tiny", "2", "run2", promoted_at="2026-02-02T00:00:00Z"))
    assert not ban.covers(Version("tiny", "2", "run9", promoted_at="2026-01-01T00:00:00Z"))
    VersionCache(tmp_path).write_ban("tiny", None)
    assert VersionCache(tmp_path).ban("tiny") is None


def cgroup(root: Path, lines: str, files: dict[str, str]) -> Memory:
    """Read the limit from a made-up /proc and /sys."""
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cgroup").write_text(lines)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Memory.read({}, proc=root / "proc", root=root)


def test_the_memory_limit_is_the_smallest_of_the_control_groups(tmp_path: Path) -> None:
    two = cgroup(
        tmp_path / "v2",
        "0::/stack/serving\n",
        {
            "cgroup.controllers": "memory",
            "stack/memory.max": f"{300 * MIB}\n",
            "stack/memory.events": "low 0\noom 2\noom_kill 2\n",
            "stack/serving/memory.max": "max\n",
        },
    )
    assert two.limit == 300 * MIB
    assert two.kernel_kills() == 2
    one = cgroup(
        tmp_path / "v1",
        "5:cpu:/\n4:memory:/docker/abc\n",
        {"memory/memory.limit_in_bytes": f"{512 * MIB}\n", "memory/memory.oom_control": "under_oom 0\noom_kill 1\n"},
    )
    assert (one.limit, one.kernel_kills()) == (512 * MIB, 1)
    free = cgroup(tmp_path / "free", "4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"})
    assert free.limit is None
    assert free.request_limit(2) == 0
    assert free.exceeded([]) is None


def test_the_memory_setting_counts_where_no_control_group_is_smaller(tmp_path: Path) -> None:
    nothing = {"proc": tmp_path, "root": tmp_path}
    memory = Memory.read({"STACKCTL_SERVING_MEMORY": "2g"}, **nothing)
    assert memory.limit == 2048 * MIB
    assert 900 * MIB < memory.request_limit(2) < 1100 * MIB
    assert Memory.read({"STACKCTL_SERVING_MEMORY": "300m"}, **nothing).request_limit(2) == 384 * MIB
    assert Memory(limit=MIB).exceeded([]) is not None
    with pytest.raises(UsageError, match="STACKCTL_SERVING_MEMORY is 'much'"):
        Memory.read({"STACKCTL_SERVING_MEMORY": "much"}, **nothing)


def test_missing_requirements_are_all_listed_and_other_major_versions_only_told(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "--find-links wheels\n# a comment\nmlflow==3.1.0\nopencv-python\nnosuchpackage==1.2\n"
        "anothermissing>=2  # why\nnumpy==99.0\npillow\npywin32; sys_platform == 'win32'\n"
    )
    missing, differing = check(tmp_path)
    assert missing == ["nosuchpackage==1.2", "anothermissing>=2"]
    assert len(differing) == 1
    assert differing[0].startswith("numpy==99.0 is wanted")
    assert check(tmp_path / "none") == ([], [])


def test_a_server_follows_the_target_that_its_role_names(tmp_path: Path) -> None:
    environ = {
        "STACKCTL_NAME": "tiny-stack",
        "STACKCTL_MODEL": "tiny",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        "STACKCTL_SERVING_CACHE": str(tmp_path),
    }
    assert ServingSettings.from_env(environ).target is PRODUCTION
    assert ServingSettings.from_env({**environ, "STACKCTL_ROLE": "staging"}).target is STAGING
    with pytest.raises(UsageError, match="no target"):
        ServingSettings.from_env({**environ, "STACKCTL_ROLE": "canary"})


def test_the_registry_needs_aligning_until_both_names_and_the_history_agree() -> None:
    assert Facts().settled
    assert Facts(alias="2", stage="2", known="2").settled
    assert not Facts(alias="2", stage="2", known="1").settled
    assert not Facts(alias="1", stage="2", known="1").settled


def test_the_metrics_name_requests_latency_queue_version_swaps_rejections_fallbacks_and_deaths() -> None:
    metrics = Metrics()
    metrics.watch(lambda: 1, lambda: 2)
    metrics.requests.labels("/v1/image", "200").inc()
    metrics.seconds.labels("/v1/image").observe(0.03)
    metrics.rejected.labels("busy").inc()
    metrics.deaths.labels("memory").inc()
    metrics.swaps.inc()
    metrics.fallbacks.inc()
    lines = metrics.text("tiny", "2", 1).decode().splitlines()
    for line in (
        'stackctl_requests_total{path="/v1/image",status="200"} 1.0',
        'stackctl_request_seconds_bucket{le="0.05",path="/v1/image"} 1.0',
        "stackctl_queued 2.0",
        'stackctl_model_info{name="tiny",version="2"} 1.0',
        "stackctl_swaps_total 1.0",
        'stackctl_rejected_total{code="busy"} 1.0',
        "stackctl_fallbacks_total 1.0",
        'stackctl_deaths_total{cause="memory"} 1.0',
    ):
        assert line in lines
