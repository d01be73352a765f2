"""A headless Chromium for tests, and what went wrong on a page while it was open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Complaints:
    """Console errors (CSP violations are among them) and uncaught exceptions of one page."""

    console: list[str] = field(default_factory=list)
    uncaught: list[str] = field(default_factory=list)

    def all(self, *, but: str | None = None) -> list[str]:
        """Return every complaint, leaving out console lines that contain `but`."""
        return [*self.uncaught, *(line for line in self.console if but is None or but not in line)]


def find_chromium() -> str | None:
    """Return the Chromium to use: STACKCTL_TEST_CHROMIUM, or the first on the PATH; None where there is none."""
    named = os.environ.get("STACKCTL_TEST_CHROMIUM")
    if named:
        return named
    return next((path for name in CANDIDATES if (path := shutil.which(name))), None)


@contextmanager
def launch() -> Iterator[Browser]:
    """Yield a headless Chromium; raises RuntimeError, saying what to install, where the machine has none."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if path is None:
        raise RuntimeError("No Chromium on this machine. Install one (Debian: apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            headless=True,
            args=["--no-sandbox", "--disable-dev-shm-usage"],
            timeout=PATIENCE * 1000,
        )
        try:
            yield browser
        finally:
            browser.close()


def listen(page: Page, complaints: Complaints | None = None) -> Complaints:
    """Collect what goes wrong on `page` from now on, in `complaints` where they are given."""
    complaints = Complaints() if complaints is None else complaints

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.console.append(f"{message.text} {message.location.get('url', '')}".rstrip())

    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.uncaught.append(str(error)))
    return complaints
