"""Bad input to a running stack: each ends in a sentence, the right exit code, and a stack that goes on serving."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.cli import Cli
from support.golden import starter_pair
from support.served import served_model, upscale, url_of
from support.stacks import Stacks, edit_port
from support.waiting import PATIENCE

pytestmark = pytest.mark.slow


def test_an_unknown_model_is_named_beside_the_known_ones(promoted: Cli) -> None:
    text = promoted.fails(1, "promote", "no-such-model", "1")
    assert "no-such-model" in text
    assert "super-resolution" in text


def test_an_unknown_version_is_named_beside_the_known_ones(promoted: Cli) -> None:
    text = promoted.fails(1, "promote", "super-resolution", "99")
    assert "99" in text
    assert "1, 2" in text


def test_a_version_whose_artifact_was_tampered_with_never_reaches_production(promoted: Cli) -> None:
    assert promoted.folder is not None
    networks = [
        file
        for file in (promoted.folder / "var" / "artifacts").rglob("network.onnx")
        if file.read_bytes() == (starter_network(2)).read_bytes()
    ]
    assert len(networks) == 1
    original = networks[0].read_bytes()
    networks[0].write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    try:
        text = promoted.fails(1, "promote", "super-resolution", "2")
    finally:
        networks[0].write_bytes(original)
    assert "digest" in text
    assert served_model(promoted)["version"] == "1"
    report = promoted.json("models", "show", "super-resolution")
    assert {version["version"]: version["stage"] for version in report["versions"]}["1"] == "Production"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"no image at all", 415), (starter_pair(1).input[:80], 400)],
    ids=["empty", "text", "truncated"],
)
def test_a_corrupt_upload_gets_a_sentence_and_harms_nobody(promoted: Cli, body: bytes, status: int) -> None:
    request = urllib.request.Request(f"{url_of(promoted, 'serving')}/v1/image", data=body, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=PATIENCE)
    assert caught.value.code == status
    assert '"message"' in caught.value.read().decode()
    assert upscale(promoted, starter_pair(1).input).version == "1"


def test_a_folder_with_one_broken_image_still_yields_the_others(promoted: Cli, tmp_path: Path) -> None:
    inbound = tmp_path / "in"
    (inbound / "sub").mkdir(parents=True)
    (inbound / "sub" / "good.png").write_bytes(starter_pair(1).input)
    (inbound / "broken.png").write_bytes(starter_pair(1).input[:60])
    text = promoted.fails(1, "image", "upscale", inbound, tmp_path / "out")
    assert "broken.png" in text
    assert [str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.png")] == [
        "sub/good_out.png"
    ]


def test_a_taken_port_is_named_with_its_holder_and_the_setting_to_change(stacks: Stacks) -> None:
    import socket

    cli = stacks.make("port-taken", "local")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        edit_port(cli, "demo", port)
        text = cli.fails(4, "up")
    assert str(port) in text
    assert "ports.demo" in text


def starter_network(version: int) -> Path:
    """Return the path of a starter version's network in the package."""
    from stackctl import checkpoints

    return Path(checkpoints.__file__).parent / "starter" / f"v{version}" / "network.onnx"
