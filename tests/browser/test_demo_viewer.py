"""The viewer: slider, zoom and panning, by mouse, keyboard, wheel and fingers, in a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.demo_page import Open, choose, share_left, touch, transforms, wait_for_result
from support.live_demo import LiveDemo, photo

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Page

pytestmark = pytest.mark.browser


@pytest.fixture
def viewed(page: Page) -> Page:
    """Return the page with a result of 640 × 240 on it."""
    choose(page, photo(160, 60))
    wait_for_result(page)
    page.get_by_role("slider").wait_for()
    return page


def place(page: Page) -> FloatRect:
    box = page.locator("#viewer").bounding_box()
    assert box
    return box


def zoom(page: Page) -> str:
    return page.locator("#zoom").inner_text()


def test_the_slider_obeys_the_keyboard_and_says_where_it_stands(viewed: Page) -> None:
    viewed.get_by_role("slider").focus()
    steps = [
        ("ArrowRight", 52),
        ("Shift+ArrowRight", 62),
        ("ArrowLeft", 60),
        ("PageDown", 50),
        ("Home", 0),
        ("End", 100),
    ]

    for key, share in steps:
        viewed.keyboard.press(key)
        assert share_left(viewed) == share, key
    assert viewed.get_by_role("slider").get_attribute("aria-valuetext") == "100 % before, 0 % after"
    assert viewed.get_by_role("slider").get_attribute("aria-label") == "Divider between before and after"


def test_the_divider_follows_the_mouse(viewed: Page) -> None:
    box = place(viewed)
    viewed.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    viewed.mouse.down()
    viewed.mouse.move(box["x"] + box["width"] / 4, box["y"] + 30)
    viewed.mouse.up()

    assert abs(share_left(viewed) - 25) <= 1


def test_buttons_zoom_to_single_pixels_and_both_sides_move_as_one(viewed: Page) -> None:
    box = place(viewed)
    while zoom(viewed) != "1600 %":
        viewed.get_by_role("button", name="Zoom in").click()
    enlarged = transforms(viewed)
    viewed.mouse.move(box["x"] + 300, box["y"] + 100)
    viewed.mouse.down()
    viewed.mouse.move(box["x"] + 200, box["y"] + 60)
    viewed.mouse.up()
    moved = transforms(viewed)

    assert moved != enlarged
    assert moved[0] == moved[1]
    assert share_left(viewed) == 50


def test_pixels_are_squares_from_four_times_their_size_on(viewed: Page) -> None:
    def rendering() -> list[str]:
        names = ("left", "right")
        return [
            str(viewed.locator(f".viewer-{name}").evaluate("image => getComputedStyle(image).imageRendering"))
            for name in names
        ]

    seen = {}
    viewed.locator("#viewer").focus()
    viewed.keyboard.press("1")
    while "400 %" not in seen:
        seen[zoom(viewed)] = rendering()
        viewed.keyboard.press("+")

    # At 100 % a pixel of the photo before, a quarter of the result's size, covers four on the screen.
    assert seen["100 %"] == ["pixelated", "auto"]
    assert seen["400 %"] == ["pixelated", "pixelated"]
    viewed.keyboard.press("0")
    assert rendering()[1] == "auto"
    viewed.get_by_role("button", name="Pixels", exact=True).click()
    assert rendering() == ["pixelated", "pixelated"]


def test_the_keyboard_zooms_moves_and_fits(viewed: Page) -> None:
    viewed.locator("#viewer").focus()
    viewed.keyboard.press("1")
    assert zoom(viewed) == "100 %"
    while zoom(viewed) != "400 %":
        viewed.keyboard.press("+")
    before = transforms(viewed)
    viewed.keyboard.press("ArrowRight")
    assert transforms(viewed) != before
    viewed.keyboard.press("0")
    assert viewed.get_by_role("button", name="Fit the photo").get_attribute("aria-pressed") == "true"


def test_the_wheel_scrolls_the_page_until_the_photo_was_clicked(viewed: Page) -> None:
    box = place(viewed)
    viewed.locator("#choose").focus()
    fitted = zoom(viewed)
    viewed.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    viewed.mouse.wheel(0, 120)
    viewed.wait_for_function("() => scrollY > 0")
    assert zoom(viewed) == fitted

    viewed.evaluate("scrollTo(0, 0)")
    viewed.locator("#viewer").click()
    scrolled = viewed.evaluate("scrollY")
    viewed.mouse.wheel(0, -240)
    viewed.wait_for_function("text => document.getElementById('zoom').textContent !== text", arg=fitted)
    assert viewed.evaluate("scrollY") == scrolled


def test_fingers_move_the_divider_and_pinch_to_zoom(open_page: Open, demo: LiveDemo) -> None:
    page = open_page(demo.url, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Street").tap()
    wait_for_result(page)
    page.locator("#viewer").scroll_into_view_if_needed()
    box = place(page)
    middle, high = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    touch(page, [(middle, high)], [(middle + 40, high)], [(box["x"] + box["width"] * 0.8, high)])
    assert share_left(page) == 80

    fitted = zoom(page)
    touch(page, *[[(middle - gap, high + 20), (middle + gap, high + 20)] for gap in (20, 40, 60, 80)])
    assert zoom(page) != fitted
    left, right = transforms(page)
    assert left == right


def test_looking_at_another_result_of_the_same_size_keeps_the_place(viewed: Page) -> None:
    choose(viewed, photo(160, 60, "JPEG"), name="second.jpg")
    viewed.get_by_role("button", name="second.jpg: Done").wait_for()
    viewed.locator("#viewer").focus()
    for key in ("1", "+", "ArrowRight"):
        viewed.keyboard.press(key)
    seen = transforms(viewed)

    viewed.get_by_role("button", name="holiday.png: Done").click()
    viewed.get_by_role("link", name="Download").and_(viewed.locator('[download="holiday_x4_v1.png"]')).wait_for()
    assert transforms(viewed) == seen
