"""The demo's page in a browser: what a person does with it, and what they read on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page


class Open(Protocol):
    """Opens an address in a browser context of its own; `options` are Playwright's for the context."""

    def __call__(self, url: str, **options: object) -> Page: ...


TRANSFER = """([kind, files]) => {
  const transfer = new DataTransfer();
  for (const [name, content] of files)
    transfer.items.add(new File([new Uint8Array(content)], name, { type: "image/png" }));
  if (kind === "paste")
    document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
  else
    for (const step of ["dragenter", "dragover", "drop"])
      document.body.dispatchEvent(new DragEvent(step, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def a_file(content: bytes, name: str = "holiday.png") -> FilePayload:
    """Return a file for an input; its name and type promise nothing."""
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def choose(page: Page, *contents: bytes, name: str = "holiday.png") -> None:
    """Pick photos; several are numbered: holiday-1.png and so on."""
    stem, _, suffix = name.rpartition(".")
    names = [name] if len(contents) == 1 else [f"{stem}-{number}.{suffix}" for number in range(1, len(contents) + 1)]
    page.locator("#photo").set_input_files([a_file(each, called) for each, called in zip(contents, names, strict=True)])


def transfer(page: Page, kind: str, *files: tuple[str, bytes]) -> None:
    """Paste or drop files on the page, as the browser hands them over."""
    page.evaluate(TRANSFER, [kind, [[name, list(content)] for name, content in files]])


def wait_for_result(page: Page, version: str = "1") -> None:
    """Wait until the stage shows what `version` made."""
    page.locator("#made").get_by_role("link", name=f"version {version}", exact=True).wait_for()


def share_left(page: Page) -> int:
    """Return where the divider stands: per cent of the left picture."""
    return int(page.get_by_role("slider").get_attribute("aria-valuenow") or -1)


def queue(page: Page) -> list[str]:
    """Return what each photo of the queue is called and what becomes of it."""
    labels = page.locator("#queue .thumb").evaluate_all("all => all.map(each => each.getAttribute('aria-label'))")
    return [str(label) for label in labels]


def wait_for_queue(page: Page, *labels: str) -> None:
    """Wait until the queue reads so."""
    page.wait_for_function(
        """labels => JSON.stringify(labels) === JSON.stringify(
             [...document.querySelectorAll("#queue .thumb")].map(each => each.getAttribute("aria-label")))""",
        arg=list(labels),
    )


def transforms(page: Page) -> list[str]:
    """Return how the left and the right picture are moved and enlarged."""
    return [
        str(page.locator(f".viewer-{side}").evaluate("image => image.style.transform")) for side in ("left", "right")
    ]


def touch(page: Page, *steps: Sequence[tuple[float, float]]) -> None:
    """Put fingers down at the first step's points, move them through the others, and lift them."""
    session = page.context.new_cdp_session(page)
    for number, points in enumerate(steps):
        kind = "touchMove" if number else "touchStart"
        fingers = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
