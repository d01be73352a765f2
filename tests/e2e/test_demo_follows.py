"""A person with the demo open sees a promotion arrive, without touching the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.browser import launch, listen
from support.cli import Cli
from support.demo_page import a_file, wait_for_result
from support.golden import starter_pair
from support.served import served_model, upscale, url_of
from support.waiting import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_an_open_page_follows_a_promotion_by_itself(promoted: Cli, tmp_path: Path) -> None:
    sent = starter_pair(1).input
    with launch() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        complaints = listen(page)
        loads: list[str] = []
        page.on("load", lambda _: loads.append(page.url))
        page.goto(url_of(promoted, "demo"))
        serving = page.get_by_role("complementary", name="What serves now")
        serving.get_by_text("Version 1", exact=True).wait_for()
        page.locator("#photo").set_input_files(a_file(sent))
        wait_for_result(page, "1")

        promoted.run("promote", "super-resolution", "2")

        page.locator("#banner").get_by_text("Version 2 is in Production now, in place of version 1.").wait_for()
        serving.get_by_text("Version 2", exact=True).wait_for()
        page.get_by_role("button", name="Run the photo again").click()
        wait_for_result(page, "2")
        with page.expect_download() as started:
            page.get_by_role("link", name="Download").click()
        started.value.save_as(tmp_path / "got.png")

        run = page.locator("#made").get_by_role("link").last
        assert str(run.get_attribute("href")).startswith(f"{url_of(promoted, 'mlflow').rstrip('/')}/#/runs/")
        assert len(loads) == 1
        assert complaints.all() == []
    answer = upscale(promoted, sent)
    assert answer.version == "2"
    assert (tmp_path / "got.png").read_bytes() == answer.data


def test_a_staging_server_brings_the_comparison(promoted: Cli) -> None:
    assert promoted.folder
    settings = promoted.folder / "stack.yaml"
    before = settings.read_text()
    settings.write_text(before.replace("staging: false", "staging: true"))
    promoted.run("up")
    try:
        assert_compares(promoted)
    finally:
        settings.write_text(before)
        promoted.run("up")


def assert_compares(promoted: Cli) -> None:
    """Promote to staging what is not in Production, and look at both versions on one page."""
    in_production = served_model(promoted)["version"]
    other = "1" if in_production == "2" else "2"
    promoted.run("promote", "super-resolution", other, "--to", "staging")

    with launch() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        complaints = listen(page)
        page.goto(url_of(promoted, "demo"))
        headers = page.get_by_role("columnheader").all_inner_texts()
        page.locator("#photo").set_input_files(a_file(starter_pair(1).input))
        wait_for_result(page, in_production)
        page.get_by_role("radio", name="Compare versions").check()
        wait_for_result(page, other)

        words = [" ".join(header.split()) for header in headers]
        assert words == [f"Production Version {in_production}", f"Staging Version {other}"]
        divider = f"Divider between version {in_production} in Production and version {other} in Staging"
        assert page.get_by_role("slider").get_attribute("aria-label") == divider
        assert complaints.all() == []
