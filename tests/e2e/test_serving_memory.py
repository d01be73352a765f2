"""The memory limit in ``stack.yaml``, as users of the model server meet it."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image
from support.cli import Cli
from support.golden import starter_pair
from support.served import served_model, upscale, url_of
from support.stacks import Stacks

pytestmark = pytest.mark.slow

MIB = 1024 * 1024


def test_an_image_that_needs_more_memory_than_there_is_is_refused_before_it_is_decoded(
    engine: str, stacks: Stacks
) -> None:
    cli = stacks.make(f"narrow-{engine}", engine, "memory_serving=900m")
    cli.run("up")
    cli.run("models", "import", "starter")
    cli.run("promote", "super-resolution", "1")
    limit = served_model(cli)["memory_limit"]
    assert limit == 900 * MIB

    refused = httpx.post(f"{url_of(cli, 'serving')}/v1/image", content=white(4000, 3000), timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")
    assert "MiB of memory" in refused.json()["error"]["message"]
    assert upscale(cli, starter_pair(1).input).version == "1"
    assert served_model(cli)["last_death"] is None
    assert restarts(cli) == 0


def white(width: int, height: int) -> bytes:
    """Return a PNG that is small as a file and large as an image."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(out, "PNG")
    return out.getvalue()


def restarts(cli: Cli) -> int:
    """Return how often the model server was restarted."""
    return next(int(each["restarts"]) for each in cli.json("status")["services"] if each["name"] == "serving")
