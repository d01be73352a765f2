"""Production beside staging, and what is amiss with either."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from support.fake_model_server import FakeModelServer, Refusal
from support.live_demo import Visitor, demo_config, photo

from flask_demo import create_app

PAGE = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture
def staging_server() -> Iterator[FakeModelServer]:
    with FakeModelServer("2") as server:
        yield server


@pytest.fixture
def both(model_server: FakeModelServer, staging_server: FakeModelServer) -> Visitor:
    """Return a visitor of a demo with a staging server."""
    config = demo_config(model_server.url, staging_server=staging_server.url)
    return Visitor(create_app(config).test_client())


class Words(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def __str__(self) -> str:
        return " ".join(" ".join(self.parts).split())


def words(visitor: Visitor, path: str = "/live") -> str:
    return str(Words(visitor.client.get(path).get_data(as_text=True)))


def test_a_photo_goes_to_the_server_that_is_asked_for(
    both: Visitor, model_server: FakeModelServer, staging_server: FakeModelServer
) -> None:
    assert both.send(photo(), to="staging").headers["X-Stackctl-Model-Version"] == "2"
    assert (len(model_server.received), len(staging_server.received)) == (0, 1)
    assert both.send(photo()).headers["X-Stackctl-Model-Version"] == "1"


def test_both_versions_stand_side_by_side(both: Visitor) -> None:
    told = words(both)

    assert "Production Version 1 Staging Version 2" in told
    assert "PSNR 27.41 dB +0.58 over bicubic 27.81 dB +0.98 over bicubic" in told
    document = both.client.get("/model").get_json()
    assert [document[name]["version"] for name in ("production", "staging")] == ["1", "2"]


def test_a_change_in_staging_changes_the_tag_of_the_answer(both: Visitor, staging_server: FakeModelServer) -> None:
    tag = both.client.get("/model").headers["ETag"]
    assert both.client.get("/model", headers={"If-None-Match": tag}).status_code == 304
    staging_server.promote("3")
    assert both.client.get("/model", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("target", ["staging", "elsewhere"])
def test_a_stack_without_staging_says_how_to_get_it(visitor: Visitor, target: str) -> None:
    answer = visitor.send(photo(), to=target)

    assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "no_staging")
    assert answer.get_json()["error"]["command"] == "stackctl up"
    assert "Staging" not in words(visitor)


def test_an_empty_or_absent_staging_keeps_nothing_from_production(
    both: Visitor, staging_server: FakeModelServer
) -> None:
    staging_server.promote(None)
    assert "Staging None yet" in words(both)
    assert "stackctl promote super-resolution 2 --to staging" in words(both)
    staging_server.stop()
    assert "The staging server does not answer." in words(both)
    error = both.send(photo(), to="staging").get_json()["error"]
    assert error["message"] == "The staging server does not answer."
    assert both.send(photo()).status_code == 200


def test_an_error_of_the_staging_server_names_its_own_log(both: Visitor, staging_server: FakeModelServer) -> None:
    staging_server.refuse(Refusal(500, "internal"))
    assert both.send(photo(), to="staging").get_json()["error"]["command"] == "stackctl logs serving-staging"


def test_without_javascript_one_form_compares_both(both: Visitor, staging_server: FakeModelServer) -> None:
    both.accept = PAGE
    answer = both.send(photo(), compare="yes")
    page = answer.get_data(as_text=True)

    assert page.count('src="data:image/png;base64,') == 3
    assert "Download version 2" in page
    policy = answer.headers["Content-Security-Policy"]
    assert "img-src 'self' data:" in policy
    assert "script-src 'none'" in policy

    staging_server.promote(None)
    page = both.send(photo(), compare="yes").get_data(as_text=True)
    assert page.count('src="data:image/png;base64,') == 2
    assert "No version is in Staging yet." in page


def test_only_the_page_without_a_script_may_hold_photos_in_itself(visitor: Visitor) -> None:
    policy = visitor.client.get("/").headers["Content-Security-Policy"]

    assert "img-src 'self' blob:;" in policy
    assert "data:" not in policy


def test_a_registry_out_of_reach_is_told_with_the_moment(visitor: Visitor, model_server: FakeModelServer) -> None:
    model_server.stale_since = "2026-11-20T15:00:00Z"

    told = words(visitor)

    assert "MLflow has not answered since 20 Nov 2026, 15:00 UTC . Version 1 serves on." in told
    assert "stackctl status" in told


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("loading", "Version 2 is being prepared."),
        ("prepared", "Version 2 is ready for Production."),
        ("refused", "Version 2 was refused. too slow Version 1 serves on."),
    ],
)
def test_what_becomes_of_a_candidate_is_told(
    visitor: Visitor, model_server: FakeModelServer, state: str, sentence: str
) -> None:
    model_server.candidate = {"version": "2", "state": state, "reason": "too slow", "digest": None}
    model_server.error = "too slow"  # the server's last error is what the refusal says already

    assert sentence in words(visitor)
    assert words(visitor).count("too slow") == 1


def test_a_version_that_takes_no_photos_is_told_before_one_is_sent(
    visitor: Visitor, model_server: FakeModelServer
) -> None:
    model_server.contract = "pyfunc"

    told = words(visitor)

    assert "The version of super-resolution in Production is not an image model." in told
    assert "stackctl models show super-resolution" in told


def test_a_version_that_was_taken_back_is_told(visitor: Visitor, model_server: FakeModelServer) -> None:
    model_server.taken_back = {"version": "2", "reason": "6 of 20 requests failed.", "at": "2026-11-20T15:00:00Z"}

    assert "Version 2 was taken back. 6 of 20 requests failed. Version 1 serves on." in words(visitor)


def test_figures_that_were_measured_on_different_photos_are_not_left_to_compare(
    both: Visitor, model_server: FakeModelServer, staging_server: FakeModelServer
) -> None:
    model_server.evaluation = staging_server.evaluation = "sha256:one"
    assert "do not compare" not in words(both)
    staging_server.evaluation = "sha256:two"
    assert "The figures do not compare. They were measured on different photos." in words(both)


def test_a_version_without_metrics_says_so(visitor: Visitor, model_server: FakeModelServer) -> None:
    model_server.measured = False

    assert "Metrics none on its run" in words(visitor)


def test_the_servers_last_error_is_told(visitor: Visitor, model_server: FakeModelServer) -> None:
    model_server.error = "Version 3 died of SIGKILL: out of memory."

    assert "Version 3 died of SIGKILL: out of memory. Version 1 serves on." in words(visitor)


def test_the_live_parts_are_the_pages_own(both: Visitor) -> None:
    page, live = (both.client.get(path).get_data(as_text=True) for path in ("/", "/live"))

    parts = [line.strip() for line in live.splitlines() if "data-live" in line]
    assert len(parts) == 4
    assert all(part in page for part in parts)
    assert "<script" not in live


def test_a_backup_that_is_overdue_is_a_banner_on_the_page_and_a_fresh_one_is_none(
    both: Visitor, model_server: FakeModelServer, staging_server: FakeModelServer
) -> None:
    fresh = {"newest_verified": "2026-11-20T05:00:00Z", "degraded": False, "problem": None}
    model_server.backup = staging_server.backup = fresh
    assert "backup" not in words(both)
    late = {**fresh, "degraded": True, "problem": "the newest verified backup is 9.0 days old"}
    model_server.backup = staging_server.backup = late
    told = words(both)
    assert told.count("The newest verified backup is of 20 Nov 2026, 05:00 UTC .") == 1
    assert "stackctl backup" in told
    model_server.backup = {**late, "newest_verified": None}
    assert "There is no verified backup." in words(both)
