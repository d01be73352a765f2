"""Pings of a Healthchecks-style address."""

from __future__ import annotations

import httpx
import pytest

from stackctl.backup import pings
from stackctl.backup.pings import ping

URL = "https://hc.example.org/ping/1234"


class Checks:
    """Receives pings; the first ``failures`` of them are lost."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.heard: list[tuple[str, str]] = []

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._hear)

    def _hear(self, request: httpx.Request) -> httpx.Response:
        if self.failures:
            self.failures -= 1
            raise httpx.ConnectError("no route", request=request)
        self.heard.append((str(request.url), request.content.decode()))
        return httpx.Response(200)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pings, "_PAUSE", 0.0)


def test_start_success_and_failure_go_to_their_own_addresses() -> None:
    checks = Checks()
    assert ping(URL, "start", transport=checks.transport()) is None
    assert ping(URL, "success", "snapshot X", transport=checks.transport()) is None
    assert ping(URL + "/", "failure", "the disk is full", transport=checks.transport()) is None
    assert checks.heard == [(f"{URL}/start", ""), (URL, "snapshot X"), (f"{URL}/fail", "the disk is full")]


def test_a_ping_that_is_lost_is_sent_again_and_one_that_never_arrives_is_told() -> None:
    checks = Checks(failures=2)
    assert ping(URL, "success", transport=checks.transport()) is None
    said = ping(URL, "failure", transport=Checks(failures=9).transport())
    assert said == "The ping of failure did not arrive: no route."


def test_nobody_is_pinged_where_nobody_asked() -> None:
    assert ping(None, "start") is None
