"""The demo as a person meets it, in a real Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.browser import Complaints, listen
from support.fake_model_server import FakeModelServer
from support.live_demo import LiveDemo, photo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FilePayload, Page

pytestmark = pytest.mark.browser

REFUSED = "Failed to load resource"  # Chromium's own line for any answer above 399


@pytest.fixture
def complaints(browser_page: Page) -> Complaints:
    return listen(browser_page)


@pytest.fixture
def page(browser_page: Page, demo: LiveDemo, complaints: Complaints) -> Page:
    browser_page.goto(demo.url)
    return browser_page


def a_file(content: bytes, name: str = "holiday.png") -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def choose(page: Page, content: bytes, name: str = "holiday.png") -> None:
    page.get_by_label("Choose a").set_input_files(a_file(content, name))


def wait_for_result(page: Page, version: str = "1") -> None:
    page.locator("#made").get_by_role("link", name=f"version {version}", exact=True).wait_for()


def share_before(page: Page) -> int:
    return int(page.get_by_role("slider").get_attribute("aria-valuenow") or -1)


def test_an_upload_shows_the_slider_and_the_version_that_made_it(
    page: Page, model_server: FakeModelServer, complaints: Complaints
) -> None:
    choose(page, photo(64, 48))
    wait_for_result(page)

    assert page.locator(".viewer-after").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [256, 192]
    assert page.get_by_role("slider").is_visible()
    assert share_before(page) == 50
    made = page.locator("#made")
    assert "64 × 48 to 256 × 192" in made.inner_text()
    hrefs = [link.get_attribute("href") for link in made.get_by_role("link").all()]
    assert hrefs == [
        "http://mlflow.example:5000/#/models/super-resolution/versions/1",
        f"http://mlflow.example:5000/#/runs/{model_server.run_id}",
    ]
    assert complaints.all() == []


def test_the_result_can_be_downloaded_under_a_telling_name(page: Page, tmp_path: Path) -> None:
    choose(page, photo(64, 48))
    wait_for_result(page)

    with page.expect_download() as started:
        page.get_by_role("link", name="Download").click()

    assert started.value.suggested_filename == "holiday_x4_v1.png"
    started.value.save_as(tmp_path / "got.png")
    assert (tmp_path / "got.png").read_bytes().startswith(b"\x89PNG")


def test_a_promotion_shows_a_banner_and_a_reload_follows_it(
    page: Page, model_server: FakeModelServer, complaints: Complaints
) -> None:
    choose(page, photo())
    wait_for_result(page, "1")
    assert page.locator("#banner").is_hidden()

    model_server.promote("2")
    page.get_by_text("Version 2 is in Production now. This page shows version 1.").wait_for()
    with page.expect_navigation():
        page.get_by_role("button", name="Reload").click()

    page.get_by_role("complementary").get_by_text("Version 2", exact=True).wait_for()
    assert page.locator("#banner").is_hidden()
    choose(page, photo())
    wait_for_result(page, "2")
    assert complaints.all() == []


def test_the_photo_can_be_run_again_with_the_new_version(page: Page, model_server: FakeModelServer) -> None:
    choose(page, photo())
    wait_for_result(page, "1")
    model_server.promote("2")

    page.get_by_role("button", name="Run this photo again").click()

    wait_for_result(page, "2")
    page.get_by_role("complementary").get_by_text("Version 2", exact=True).wait_for()
    assert page.locator("#banner").is_hidden()
    assert model_server.received[0].body == model_server.received[1].body


def test_the_page_says_when_the_model_server_goes_away_and_comes_back(
    page: Page, model_server: FakeModelServer
) -> None:
    page.get_by_role("status").get_by_text("Version 1 in Production").wait_for()
    model_server.stop()
    page.get_by_role("status").get_by_text("Model server does not answer").wait_for()


def test_the_slider_obeys_the_keyboard(page: Page) -> None:
    choose(page, photo())
    wait_for_result(page)
    page.get_by_role("slider").focus()

    for key, share in [
        ("ArrowRight", 52),
        ("Shift+ArrowRight", 62),
        ("ArrowLeft", 60),
        ("PageDown", 50),
        ("Home", 0),
        ("End", 100),
    ]:
        page.keyboard.press(key)
        assert share_before(page) == share, key
    assert page.get_by_role("slider").get_attribute("aria-valuetext") == "100 % before, 0 % after"


def test_everything_can_be_done_with_the_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the photo"
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == "Street":
            break
    page.keyboard.press("Enter")
    wait_for_result(page)

    page.locator("#viewer").focus()
    page.keyboard.press("1")
    assert page.locator("#zoom").inner_text() == "100 %"
    page.keyboard.press("+")
    assert page.locator("#zoom").inner_text() == "200 %"
    page.keyboard.press("0")
    assert page.get_by_role("button", name="Fit the photo").get_attribute("aria-pressed") == "true"


def test_the_divider_follows_the_mouse_and_zoom_reaches_single_pixels(page: Page) -> None:
    choose(page, photo(120, 80))
    wait_for_result(page)
    box = page.locator("#viewer").bounding_box()
    assert box

    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 30)
    page.mouse.up()
    assert share_before(page) == 25

    for _ in range(6):
        page.get_by_role("button", name="Zoom in").click()
    assert page.locator("#zoom").inner_text() == "1600 %"
    assert "pixels" in (page.locator(".viewer-after").get_attribute("class") or "")
    before = page.locator(".viewer-after").evaluate("image => image.style.transform")
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 60)
    page.mouse.up()
    assert page.locator(".viewer-after").evaluate("image => image.style.transform") != before
    assert share_before(page) == 25


def test_a_wrong_file_shows_the_sentence_and_the_page_goes_on(page: Page, complaints: Complaints) -> None:
    choose(page, b"%PDF-1.7 not a photo", "holiday.png")
    alert = page.get_by_role("alert")
    alert.get_by_text("This is a PDF document, not a photo the model can read.").wait_for()
    assert "Choose a PNG, JPEG, WebP, TIFF or BMP file." in alert.inner_text()

    choose(page, photo())
    wait_for_result(page)
    assert alert.is_hidden()
    assert complaints.all(but=REFUSED) == []


def test_a_file_above_the_limit_is_told_without_sending_it(
    page: Page, model_server: FakeModelServer, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(photo().ljust(13 * 1024 * 1024, b"\0"))
    page.get_by_label("Choose a").set_input_files(large)

    page.get_by_role("alert").get_by_text("This file is larger than 12 MB, the most this page takes.").wait_for()
    assert not model_server.received


def test_no_version_in_production_is_told_with_what_to_type(page: Page, model_server: FakeModelServer) -> None:
    model_server.promote(None)
    choose(page, photo())

    page.get_by_role("alert").get_by_text("No version is in Production yet.").wait_for()
    assert page.get_by_role("alert").locator("code").inner_text() == "stackctl promote super-resolution 1"


PASTE = """(content) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(content)], "pasted.png", { type: "image/png" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: files, bubbles: true }));
}"""
DROP = """(content) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(content)], "dropped.png", { type: "image/png" }));
  for (const name of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(name, { dataTransfer: files, bubbles: true, cancelable: true }));
}"""


@pytest.mark.parametrize("script", [PASTE, DROP], ids=["pasted", "dropped"])
def test_a_photo_can_be_pasted_or_dropped_anywhere(page: Page, model_server: FakeModelServer, script: str) -> None:
    page.evaluate(script, list(photo()))

    wait_for_result(page)
    assert model_server.received[0].body == photo()


def test_work_in_progress_shows_and_can_be_cancelled(page: Page, model_server: FakeModelServer) -> None:
    model_server.hold.clear()
    choose(page, photo())

    page.get_by_text("Upscaling").wait_for()
    assert page.locator(".viewer-before").is_visible()
    page.get_by_role("button", name="Cancel").click()
    model_server.hold.set()

    page.get_by_text("Choose a photo").wait_for()
    assert page.get_by_role("alert").is_hidden()
    choose(page, photo())
    wait_for_result(page)


def test_a_tiff_shows_its_result_though_browsers_cannot_show_it(page: Page, complaints: Complaints) -> None:
    choose(page, photo(encoding="TIFF"), "scan.tif")
    wait_for_result(page)

    assert page.locator(".viewer-after").is_visible()
    assert page.get_by_role("slider").is_hidden()
    assert "Browsers cannot show this kind of photo" in page.locator("#note").inner_text()
    assert complaints.all() == []


SCHEMES = [("light", 320), ("dark", 390)]


@pytest.mark.parametrize(("scheme", "width"), SCHEMES)
def test_a_phone_needs_no_sideways_scrolling(
    browser: Browser, demo: LiveDemo, model_server: FakeModelServer, scheme: str, width: int
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 700},
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    complaints = listen(page)

    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    page.goto(demo.url)
    assert fits()
    page.get_by_role("button", name="Street").tap()
    wait_for_result(page)
    assert fits()
    model_server.promote("2")
    page.locator("#banner").wait_for()
    assert fits()

    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(19, 20, 22)" if scheme == "dark" else "rgb(238, 239, 240)")
    assert complaints.all() == []
    context.close()


def touch(page: Page, *steps: list[tuple[float, float]]) -> None:
    """Put fingers down at the first step's points, move them through the others, and lift them."""
    session = page.context.new_cdp_session(page)
    for number, points in enumerate(steps):
        kind = "touchMove" if number else "touchStart"
        fingers = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_fingers_move_the_divider_and_pinch_to_zoom(browser: Browser, demo: LiveDemo) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(demo.url)
    page.get_by_role("button", name="Street").tap()
    wait_for_result(page)
    page.locator("#viewer").scroll_into_view_if_needed()
    box = page.locator("#viewer").bounding_box()
    assert box
    middle, high = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    touch(page, [(middle, high)], [(middle + 40, high)], [(box["x"] + box["width"] * 0.8, high)])
    assert share_before(page) == 80

    fitted = page.locator("#zoom").inner_text()
    apart = [[(middle - gap, high + 20), (middle + gap, high + 20)] for gap in (20, 40, 60, 80)]
    touch(page, *apart)
    assert page.locator("#zoom").inner_text() != fitted
    assert page.get_by_role("button", name="Fit the photo").get_attribute("aria-pressed") == "false"
    context.close()


def test_without_javascript_the_form_still_upscales(browser: Browser, demo: LiveDemo) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(demo.url)

    page.locator("#photo").set_input_files(a_file(photo(20, 10)))
    page.get_by_role("button", name="Upscale the photo").click()

    page.get_by_text("After, 80 × 40").wait_for()
    assert page.get_by_role("link", name="Download").get_attribute("download") == "holiday_x4_v1.png"
    context.close()
