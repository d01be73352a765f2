"""How the page looks and reads: phones, the dark, little motion, the keyboard alone, no script; in a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.browser import Complaints
from support.demo_page import Open, a_file, choose, wait_for_queue, wait_for_result
from support.fake_model_server import FakeModelServer
from support.live_demo import LiveDemo, photo

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

# Every text that is seen, with the contrast between its colour and what lies behind it (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return { rgb: [r, g, b], alpha: a / 255 };
  };
  const over = (top, below) => top.rgb.map((value, at) => value * top.alpha + below[at] * (1 - top.alpha));
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value /= 255) <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    const seen = element.checkVisibility({ visibilityProperty: true });
    if (!text || !seen || element.closest("noscript, .visually-hidden, .skip")) continue;
    const back = behind(element);
    const [a, b] = [light(over(parse(getComputedStyle(element).color), back)), light(back)];
    found.push([Math.round((Math.max(a, b) + .05) / (Math.min(a, b) + .05) * 100) / 100, text]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


def worst_contrasts(page: Page) -> list[Any]:
    """Return the texts that are too faint to read, with their contrast; there must be texts at all."""
    found: list[Any] = page.evaluate(CONTRASTS)
    assert len(found) > 10
    return [entry for entry in found if entry[0] < 4.5]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_every_state(
    open_page: Open, demo_of_two: LiveDemo, model_server: FakeModelServer, scheme: str
) -> None:
    page = open_page(demo_of_two.url, color_scheme=scheme)
    assert worst_contrasts(page) == []

    model_server.candidate = {"version": "3", "state": "refused", "reason": "slow", "digest": None}
    choose(page, photo(), b"words")
    wait_for_queue(page, "holiday-1.png: Done", "holiday-2.png: Failed")
    page.get_by_text("was refused").wait_for()
    assert worst_contrasts(page) == []
    page.get_by_role("button", name="holiday-2.png: Failed").click()
    page.get_by_role("alert").get_by_role("paragraph").first.wait_for()
    model_server.promote(None)
    page.locator("#banner").wait_for()
    assert worst_contrasts(page) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(19, 20, 22)" if scheme == "dark" else "rgb(238, 239, 240)")


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_needs_no_sideways_scrolling(
    open_page: Open, demo_of_two: LiveDemo, model_server: FakeModelServer, width: int
) -> None:
    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    page = open_page(
        demo_of_two.url,
        viewport={"width": width, "height": 700},
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
    )
    assert fits()
    for _ in range(6):
        page.get_by_role("button", name="Street", exact=True).tap()
    wait_for_queue(page, *["Street: Done"] * 6)
    page.get_by_role("radio", name="Compare versions").check()
    wait_for_result(page, "2")
    assert fits()
    model_server.promote("3")
    page.locator("#banner").wait_for()
    assert fits()
    small = page.locator("button:visible, a.button:visible").evaluate_all(
        "all => all.filter(each => each.getBoundingClientRect().height < 24).map(each => each.outerHTML)"
    )
    assert small == []


def test_everything_can_be_done_with_the_keyboard_alone(page: Page) -> None:
    def tab_to(words: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if words in page.evaluate("(document.activeElement.ariaLabel || document.activeElement.textContent)"):
                return
        pytest.fail(f"{words} cannot be reached")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the photos"
    tab_to("Street")
    page.keyboard.press("Enter")
    wait_for_result(page)

    page.locator("body").press("Control+Home")
    page.locator(".brand").focus()
    tab_to("Photo. Plus and minus zoom")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    tab_to("Divider between before and after")
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("slider").get_attribute("aria-valuenow") == "52"
    tab_to("Download")
    with page.expect_download():
        page.keyboard.press("Enter")
    tab_to("Remove Street")
    page.keyboard.press("Enter")
    page.get_by_text("Choose photos").wait_for()
    assert page.evaluate("document.activeElement.id") == "photo"


def test_a_screen_reader_hears_of_progress_results_and_refusals(page: Page) -> None:
    choose(page, photo())
    page.get_by_text("holiday.png: done, made by version 1.").wait_for(state="attached")
    assert page.locator("#say").get_attribute("aria-live") == "polite"
    choose(page, b"words", name="notes.txt")
    page.get_by_role("alert").get_by_text("This file is not a photo.").wait_for()
    assert page.get_by_role("button", name="notes.txt: Failed").get_attribute("aria-current") == "true"
    assert page.get_by_role("button", name="holiday.png: Done").get_attribute("aria-current") is None
    assert page.get_by_role("heading", name="Small photo in, four times larger out.").count() == 1


@pytest.mark.parametrize(("motion", "still"), [("reduce", True), ("no-preference", False)])
def test_nothing_moves_for_those_who_asked_for_that(
    open_page: Open, demo: LiveDemo, model_server: FakeModelServer, motion: str, still: bool
) -> None:
    page = open_page(demo.url, reduced_motion=motion)
    model_server.hold.clear()
    choose(page, photo())
    page.get_by_text("Upscaling").first.wait_for()
    repeats = page.locator("#progress").evaluate("bar => getComputedStyle(bar).animationIterationCount")
    model_server.hold.set()
    wait_for_result(page)

    assert (repeats == "1") is still


def test_without_javascript_the_form_still_upscales_and_compares(
    open_page: Open, demo_of_two: LiveDemo, complaints: Complaints
) -> None:
    page = open_page(demo_of_two.url, java_script_enabled=False)
    assert page.get_by_role("columnheader").count() == 2
    page.locator("#photo").set_input_files(a_file(photo(20, 10)))
    page.get_by_label("Compare with Staging").check()
    page.get_by_role("button", name="Upscale the photo").click()

    page.get_by_text("After, 80 × 40").first.wait_for()
    downloads = page.get_by_role("link", name="Download")
    names = [link.get_attribute("download") for link in downloads.all()]
    assert names == ["holiday_x4_v1.png", "holiday_x4_v2.png"]
    assert complaints.all() == []
