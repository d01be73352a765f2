"""ONNX files with tensors in other files: made whole from their own folder, refused from anywhere else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stackctl.checkpoints.golden_pairs import STARTER, golden_inputs
from stackctl.checkpoints.onnx_file import self_contained
from stackctl.errors import StackctlError
from stackctl.imaging import Network

NETWORK = STARTER / "v1" / "network.onnx"


def field(number: int, payload: bytes) -> bytes:
    """Return a protobuf field of bytes; short ones only."""
    length, size = len(payload), b""
    while length >= 0x80:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + payload


def external(location: str, shape: tuple[int, ...], offset: int, length: int, name: bytes) -> bytes:
    """Return a TensorProto of floats whose bytes lie in another file."""
    pairs = {"location": location, "offset": str(offset), "length": str(length)}
    entries = [field(13, field(1, key.encode()) + field(2, value.encode())) for key, value in pairs.items()]
    dims = b"".join(bytes([1 << 3, size]) for size in shape)
    return dims + b"\x10\x01" + field(8, name) + b"".join(entries) + b"\x70\x01"


def network(location: str, offset: int = 0) -> bytes:
    """Return a network x1 (one convolution 1×1) whose weights, 9 floats, lie in another file."""

    def image(name: bytes) -> bytes:
        sizes = [b"\x08\x01", b"\x08\x03", field(2, b"h"), field(2, b"w")]
        shape = b"".join(field(1, size) for size in sizes)
        return field(1, name) + field(2, field(1, b"\x08\x01" + field(2, shape)))

    node = field(1, b"image") + field(1, b"weight") + field(2, b"out") + field(4, b"Conv")
    graph = field(1, node) + field(2, b"g") + field(5, external(location, (3, 3, 1, 1), offset, 36, b"weight"))
    graph += field(11, image(b"image")) + field(12, image(b"out"))
    return b"\x08\x08" + field(7, graph) + field(8, field(1, b"") + b"\x10\x11")


def weights() -> bytes:
    """Return the identity of three channels as little-endian floats."""
    import numpy as np

    return np.eye(3, dtype="<f4").tobytes()


def test_a_file_that_is_whole_is_taken_as_it_is(tmp_path: Path) -> None:
    assert self_contained(NETWORK, tmp_path) == NETWORK
    assert not list(tmp_path.iterdir())


def test_tensors_beside_the_file_are_put_into_it(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "net.onnx").write_bytes(network("net.onnx.data", offset=8))
    (tmp_path / "given" / "net.onnx.data").write_bytes(b"8 bytes!" + weights())

    whole = self_contained(tmp_path / "given" / "net.onnx", tmp_path / "cache")
    (tmp_path / "given" / "net.onnx.data").unlink()

    assert whole.parent == tmp_path / "cache"
    loaded = Network.load(whole, precision="fp32")
    image = golden_inputs()["00_input.png"]
    assert loaded.scale == 1
    assert (loaded.infer(image) == image).all()


def test_two_commands_at_the_same_file_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(network("net.onnx.data"))
    (tmp_path / "net.onnx.data").write_bytes(weights())
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: self_contained(tmp_path / "net.onnx", tmp_path / "cache"), range(200)))

    assert list((tmp_path / "cache").iterdir()) == list(made)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "folder/../../secret", "link", ""])
def test_tensors_anywhere_else_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "secret").write_bytes(weights())
    (tmp_path / "given" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "given" / "net.onnx").write_bytes(network(location))

    with pytest.raises(StackctlError, match="outside its own folder"):
        self_contained(tmp_path / "given" / "net.onnx", tmp_path / "cache")


def test_tensors_that_are_missing_or_short_and_broken_messages_are_said(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(network("net.onnx.data"))
    with pytest.raises(StackctlError, match="cannot be read"):
        self_contained(file, tmp_path)
    (tmp_path / "net.onnx.data").write_bytes(weights()[:20])
    with pytest.raises(StackctlError, match="too short"):
        self_contained(file, tmp_path)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length] + b"location")
        try:
            self_contained(file, tmp_path / "cache")
        except StackctlError:
            continue
