"""What serves while the page is open: promotions, comparisons and bad days, in a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.browser import Complaints
from support.demo_page import Open, choose, queue, share_left, wait_for_queue, wait_for_result
from support.fake_model_server import FakeModelServer
from support.live_demo import LiveDemo, demo_config, photo

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

LOADS = "performance.getEntriesByType('navigation').length + '/' + performance.timeOrigin"
HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def panel(page: Page) -> Locator:
    return page.get_by_role("complementary", name="What serves now")


def test_a_promotion_shows_by_itself_and_the_photos_can_be_run_again(page: Page, model_server: FakeModelServer) -> None:
    choose(page, photo(20, 10), photo(30, 10))
    wait_for_queue(page, "holiday-1.png: Done", "holiday-2.png: Done")
    wait_for_result(page, "1")
    assert page.locator("#banner").is_hidden()
    loaded = page.evaluate(LOADS)

    model_server.promote("2")
    page.get_by_text("Version 2 is in Production now, in place of version 1.").first.wait_for()
    panel(page).get_by_text("Version 2", exact=True).wait_for()
    assert "27.81" in panel(page).inner_text()
    assert page.locator("#say").inner_text() == "Version 2 is in Production now, in place of version 1."
    assert page.locator("#made").get_by_role("link", name="version 1", exact=True).is_visible()

    page.get_by_role("button", name="Run 2 photos again").click()
    wait_for_result(page, "2")
    wait_for_queue(page, "holiday-1.png: Done", "holiday-2.png: Done")
    assert page.locator("#banner").is_hidden()
    assert len(model_server.received) == 4
    assert page.evaluate(LOADS) == loaded


def test_the_banner_can_be_closed_and_comes_back_with_the_next_change(
    page: Page, model_server: FakeModelServer
) -> None:
    model_server.promote("2")
    page.locator("#banner").wait_for()
    assert page.get_by_role("button", name="again").is_hidden()
    page.get_by_role("button", name="Close").click()
    assert page.locator("#banner").is_hidden()

    model_server.promote(None)
    page.locator("#banner").get_by_text("Version 2 left Production. Nothing serves now.").wait_for()
    page.locator("#hurdle").get_by_text("stackctl promote super-resolution 1").wait_for()


def test_a_page_that_nobody_looks_at_does_not_ask(open_page: Open, model_server: FakeModelServer) -> None:
    with LiveDemo(demo_config(model_server.url, poll_seconds=60)) as demo:
        page = open_page("about:blank")
        page.clock.install()
        polls: list[str] = []
        page.on("request", lambda request: polls.append(request.url) if request.url.endswith("/model") else None)
        page.goto(demo.url, wait_until="networkidle")
        assert len(polls) == 1

        page.evaluate(HIDE, True)
        model_server.promote("2")
        page.clock.run_for(600_000)
        page.wait_for_load_state("networkidle")
        assert len(polls) == 1
        assert page.locator("#banner").is_hidden()

        page.evaluate(HIDE, False)
        page.locator("#banner").wait_for()


def test_an_unchanged_model_costs_no_bytes(page: Page) -> None:
    with page.expect_response(lambda answer: answer.url.endswith("/model") and answer.status == 304) as polled:
        pass
    assert polled.value.request.headers["if-none-match"]


def test_a_model_server_that_goes_away_is_told_and_so_is_its_return(
    open_page: Open, model_server: FakeModelServer, demo: LiveDemo
) -> None:
    page = open_page(demo.url)
    page.get_by_role("status").get_by_text("Version 1 in Production").wait_for()
    model_server.away = True
    page.get_by_role("status").get_by_text("Model server does not answer").wait_for()
    page.locator("#hurdle").get_by_text("stackctl status").wait_for()

    model_server.away = False
    page.get_by_role("status").get_by_text("Version 1 in Production").wait_for()
    assert page.locator("#hurdle").is_hidden()
    assert page.locator("#banner").is_hidden()


def test_a_demo_that_goes_away_is_told(
    open_page: Open, model_server: FakeModelServer, demo: LiveDemo, complaints: Complaints
) -> None:
    page = open_page(demo.url)
    page.context.set_offline(True)
    page.get_by_role("status").get_by_text("The demo does not answer").wait_for()
    page.context.set_offline(False)
    page.get_by_role("status").get_by_text("Version 1 in Production").wait_for()
    complaints.console.clear()  # Chromium's own lines about the connection


def test_a_refused_candidate_and_a_registry_out_of_reach_are_told(page: Page, model_server: FakeModelServer) -> None:
    reason = "Golden input 1 differs from its recorded output by 9 levels."
    model_server.candidate = {"version": "2", "state": "refused", "reason": reason, "digest": None}
    panel(page).get_by_text("Version 2 was refused.").wait_for()
    assert reason in panel(page).inner_text()
    assert "Version 1 serves on." in panel(page).inner_text()

    model_server.stale_since = "2026-11-20T15:00:00Z"
    panel(page).get_by_text("MLflow has not answered since").wait_for()
    assert panel(page).locator("time[datetime='2026-11-20T15:00:00Z']").is_visible()
    assert page.locator("#banner").is_hidden()


def test_two_versions_are_compared_on_the_same_photo(
    open_page: Open, demo_of_two: LiveDemo, model_server: FakeModelServer, staging_server: FakeModelServer
) -> None:
    page = open_page(demo_of_two.url)
    headers = panel(page).get_by_role("columnheader").all_inner_texts()
    assert [" ".join(each.split()) for each in headers] == ["Production Version 1", "Staging Version 2"]
    figures = panel(page).get_by_role("row", name="PSNR").get_by_role("cell").all_inner_texts()
    assert [each.split()[0] for each in figures] == ["27.41", "27.81"]

    sent = photo(40, 30)
    choose(page, sent)
    wait_for_result(page, "1")
    assert not staging_server.received
    page.get_by_role("radio", name="Compare versions").check()
    wait_for_result(page, "2")

    assert [each.body for each in model_server.received] == [each.body for each in staging_server.received] == [sent]
    sources = [page.locator(f".viewer-{side}").evaluate("image => image.naturalWidth") for side in ("left", "right")]
    assert sources == [160, 160]
    slider = page.get_by_role("slider")
    assert slider.get_attribute("aria-label") == "Divider between version 1 in Production and version 2 in Staging"
    slider.press("Home")
    assert share_left(page) == 0
    with page.expect_download() as started:
        page.get_by_role("link", name="Download v2").click()
    assert started.value.suggested_filename == "holiday_x4_v2.png"

    choose(page, photo(20, 10), name="next.png")
    wait_for_queue(page, "holiday.png: Done", "next.png: Done")
    staging_server.promote("3")
    page.locator("#banner").get_by_text("Version 3 is in Staging now, in place of version 2.").wait_for()
    page.get_by_role("button", name="Run 2 photos again").click()
    wait_for_result(page, "3")
    wait_for_queue(page, "holiday.png: Done", "next.png: Done")
    assert (len(model_server.received), len(staging_server.received)) == (2, 4)
    page.get_by_role("radio", name="Before and after").check()
    assert slider.get_attribute("aria-label") == "Divider between before and after"


def test_a_photo_that_is_on_its_way_joins_a_comparison_that_begins(
    open_page: Open, demo_of_two: LiveDemo, model_server: FakeModelServer, staging_server: FakeModelServer
) -> None:
    page = open_page(demo_of_two.url)
    model_server.hold.clear()
    choose(page, photo())
    page.get_by_text("Upscaling").first.wait_for()
    page.get_by_role("radio", name="Compare versions").check()
    model_server.hold.set()

    wait_for_result(page, "2")
    assert len(staging_server.received) == 1


def test_an_empty_staging_is_told_and_production_goes_on(
    open_page: Open, demo_of_two: LiveDemo, staging_server: FakeModelServer
) -> None:
    staging_server.promote(None)
    page = open_page(demo_of_two.url)
    panel(page).get_by_text("No version is in Staging yet.").wait_for()
    choose(page, photo())
    wait_for_result(page, "1")

    page.get_by_role("radio", name="Compare versions").check()
    alert = page.get_by_role("alert")
    alert.get_by_text("No version is in Staging yet.").wait_for()
    assert alert.locator("code").inner_text() == "stackctl promote super-resolution 2 --to staging"
    assert queue(page) == ["holiday.png: Done"]
    page.get_by_role("radio", name="Before and after").check()
    alert.wait_for(state="hidden")
    page.get_by_role("radio", name="Compare versions").check()
    alert.wait_for()
    staging_server.promote("2")
    alert.get_by_role("button", name="Try again").click()
    wait_for_result(page, "2")
