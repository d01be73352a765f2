"""Photos through the demo, as a person sends them in a real Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.demo_page import choose, queue, transfer, wait_for_queue, wait_for_result
from support.fake_model_server import FakeModelServer, Refusal
from support.live_demo import photo

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_a_picked_photo_becomes_a_result_that_names_its_maker(page: Page, model_server: FakeModelServer) -> None:
    choose(page, photo(64, 48))
    wait_for_result(page)

    assert page.locator(".viewer-right").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [256, 192]
    made = page.locator("#made")
    assert "64 × 48 to 256 × 192" in made.inner_text()
    hrefs = [link.get_attribute("href") for link in made.get_by_role("link").all()]
    assert hrefs == [
        "http://mlflow.example:5000/#/models/super-resolution/versions/1",
        f"http://mlflow.example:5000/#/runs/{model_server.run_id}",
    ]


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_photos_can_be_pasted_or_dropped_anywhere(page: Page, model_server: FakeModelServer, kind: str) -> None:
    first, second = photo(20, 10), photo(30, 10)
    transfer(page, kind, ("first.png", first), ("second.png", second))

    wait_for_queue(page, "first.png: Done", "second.png: Done")
    assert [each.body for each in model_server.received] == [first, second]


def test_the_download_is_byte_for_byte_what_the_model_server_made(
    page: Page, model_server: FakeModelServer, tmp_path: Path
) -> None:
    sent = photo(64, 48)
    choose(page, sent)
    wait_for_result(page)

    with page.expect_download() as started:
        page.get_by_role("link", name="Download").click()

    assert started.value.suggested_filename == "holiday_x4_v1.png"
    started.value.save_as(tmp_path / "got.png")
    assert (tmp_path / "got.png").read_bytes() == model_server.upscale(sent, "auto")[0]


def test_each_of_several_photos_tells_its_state_and_can_be_looked_at(page: Page, model_server: FakeModelServer) -> None:
    model_server.hold.clear()
    choose(page, photo(20, 10), photo(30, 10), photo(40, 10))

    wait_for_queue(page, "holiday-1.png: Upscaling", "holiday-2.png: Waiting", "holiday-3.png: Waiting")
    page.get_by_role("button", name="holiday-3.png: Waiting").click()
    page.get_by_text("Waiting for 2 other photos").wait_for()
    page.get_by_role("button", name="Remove holiday-2.png").click()
    model_server.hold.set()

    wait_for_queue(page, "holiday-1.png: Done", "holiday-3.png: Done")
    page.get_by_text("40 × 10 to 160 × 40").wait_for()
    page.get_by_role("button", name="holiday-1.png: Done").click()
    page.get_by_text("20 × 10 to 80 × 40").wait_for()
    assert len(model_server.received) == 2


def test_one_bad_file_does_not_keep_the_others_from_their_results(page: Page) -> None:
    choose(page, b"%PDF-1.7 not a photo", photo())

    wait_for_queue(page, "holiday-1.png: Failed", "holiday-2.png: Done")
    alert = page.get_by_role("alert")
    alert.get_by_text("This is a PDF document, not a photo the model can read.").wait_for()
    assert "Choose a PNG, JPEG, WebP, TIFF or BMP file." in alert.inner_text()
    assert alert.get_by_role("button").count() == 0
    page.get_by_role("button", name="holiday-2.png: Done").click()
    wait_for_result(page)
    assert alert.is_hidden()


def test_a_file_above_the_limit_is_told_without_sending_it(
    page: Page, model_server: FakeModelServer, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(photo().ljust(13 * 1024 * 1024, b"\0"))
    page.locator("#photo").set_input_files(large)

    page.get_by_role("alert").get_by_text("This file is larger than 12 MB, the most this page takes.").wait_for()
    assert not model_server.received


def test_a_busy_model_is_asked_again_by_itself(page: Page, model_server: FakeModelServer) -> None:
    model_server.refuse(Refusal(429, "busy", headers={"Retry-After": "1"}))
    choose(page, photo())

    page.get_by_text("The model is busy with other photos. Next try in 1 s").wait_for()
    assert queue(page) == ["holiday.png: Pausing"]
    model_server.refuse(None)
    wait_for_result(page)


def test_a_photo_that_failed_for_a_passing_reason_can_be_tried_again(page: Page, model_server: FakeModelServer) -> None:
    model_server.promote(None)
    choose(page, photo())
    alert = page.get_by_role("alert")
    alert.get_by_text("No version is in Production yet.").wait_for()
    assert alert.locator("code").inner_text() == "stackctl promote super-resolution 1"

    model_server.promote("1")
    alert.get_by_role("button", name="Try again").click()
    wait_for_result(page)
    assert alert.is_hidden()


def test_work_in_progress_shows_and_can_be_cancelled(page: Page, model_server: FakeModelServer) -> None:
    model_server.hold.clear()
    choose(page, photo())

    page.get_by_text("Upscaling").first.wait_for()
    assert page.locator(".viewer-left").is_visible()
    assert page.locator("#viewer").get_attribute("aria-busy") == "true"
    page.get_by_role("button", name="Cancel").click()
    model_server.hold.set()

    page.get_by_text("Choose photos").wait_for()
    assert page.get_by_role("alert").is_hidden()
    choose(page, photo())
    wait_for_result(page)


def test_a_tiff_shows_its_result_though_browsers_cannot_show_it(page: Page) -> None:
    choose(page, photo(encoding="TIFF"), name="scan.tif")
    wait_for_result(page)

    page.get_by_text("Browsers cannot show this kind of photo").wait_for()
    assert page.locator(".viewer-right").is_visible()
    assert page.get_by_role("slider").is_hidden()
    assert page.locator("#queue").get_by_text("TIF", exact=True).is_visible()


def test_more_photos_than_the_page_takes_are_told(page: Page, model_server: FakeModelServer) -> None:
    model_server.hold.clear()
    choose(page, *[photo()] * 31)
    told = page.get_by_role("alert").get_by_text("This page takes 30 photos at a time.")
    told.wait_for()
    assert len(queue(page)) == 30

    model_server.hold.set()
    wait_for_result(page)
    assert told.is_visible()
