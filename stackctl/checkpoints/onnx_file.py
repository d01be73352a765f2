"""ONNX files whose tensors lie in files beside them: made whole, and kept from reading anything else.

ONNX is a protobuf message (https://onnx.ai/onnx/repo-docs/ExternalData.html). A tensor may name a file, which a
careless reader opens wherever it lies. Here it must lie in the ONNX file's own folder, and its bytes are put into the
message, which is walked on the wire, so that neither the onnx package nor torch is needed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stackctl.errors import StackctlError

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
# Fields (by number) of each kind of message that lead to tensors; of onnx.proto3.
_INSIDE: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Function": {7: "Node"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14
_MAX_DEPTH = 32


def self_contained(file: Path, cache: Path) -> Path:
    """Return an ONNX file that refers to no other: ``file`` itself, or a copy in ``cache`` with the other's tensors.

    Raises:
        StackctlError: the file cannot be read, or refers to a file outside its own folder.
    """
    try:
        message = file.read_bytes()
    except OSError as error:
        raise StackctlError(f"{file} cannot be read: {error.strerror}.") from error
    if b"location" not in message:  # the key without which no tensor lies elsewhere
        return file
    whole = _inlined(memoryview(message), "Model", file, 0)
    if whole == message:
        return file
    cache.mkdir(parents=True, exist_ok=True)
    copy = cache / f"whole-{hashlib.sha256(whole).hexdigest()[:16]}.onnx"
    handle, part = tempfile.mkstemp(prefix=".whole-", dir=cache)  # another command may be at the very same
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(whole)
        Path(part).chmod(0o644)
        Path(part).replace(copy)
    finally:
        Path(part).unlink(missing_ok=True)
    return copy


@dataclass(frozen=True)
class _Field:
    number: int
    kind: int
    whole: memoryview
    """The field as it is on the wire, tag included."""
    value: memoryview
    """Its payload; of a varint, the varint."""


def _fields(message: memoryview, file: Path) -> Iterator[_Field]:
    position = 0
    while position < len(message):
        begin = position
        tag, position = _varint(message, position, file)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, end = _varint(message, position, file)
        elif kind == _BYTES:
            length, position = _varint(message, position, file)
            end = position + length
        elif kind in {_EIGHT, _FOUR}:
            end = position + (8 if kind == _EIGHT else 4)
        else:
            raise _broken(file)
        if end > len(message) or number == 0:
            raise _broken(file)
        yield _Field(number, kind, message[begin:end], message[position:end])
        position = end


def _varint(message: memoryview, position: int, file: Path) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise _broken(file)


def _inlined(message: memoryview, kind: str, file: Path, depth: int) -> bytes:
    if depth > _MAX_DEPTH:
        raise _broken(file)
    if kind == "Tensor":
        return _tensor(message, file)
    parts: list[bytes | memoryview] = []
    for field in _fields(message, file):
        inside = _INSIDE[kind].get(field.number) if field.kind == _BYTES else None
        parts.append(
            field.whole if inside is None else _bytes_field(field, _inlined(field.value, inside, file, depth + 1))
        )
    return b"".join(parts)


def _tensor(message: memoryview, file: Path) -> bytes:
    kept: list[bytes | memoryview] = []
    entries: dict[str, str] = {}
    external = False
    for field in _fields(message, file):
        if field.number == _EXTERNAL_DATA and field.kind == _BYTES:
            pair = {entry.number: bytes(entry.value).decode(errors="replace") for entry in _fields(field.value, file)}
            entries[pair.get(1, "")] = pair.get(2, "")
        elif field.number == _DATA_LOCATION and field.kind == _VARINT:
            external = _varint(field.value, 0, file)[0] == 1
        else:
            kept.append(field.whole)
    if not external and not entries:
        return bytes(message)
    data = _external(file, entries) if external else b""
    return b"".join([*kept, _tagged(_RAW_DATA, data)] if external else kept)


def _external(file: Path, entries: dict[str, str]) -> bytes:
    location = PurePosixPath(entries.get("location", ""))
    folder = file.resolve().parent
    beside = (folder / location).resolve()
    if not entries.get("location") or location.is_absolute() or not beside.is_relative_to(folder):
        raise StackctlError(
            f"{file.name} was refused: it reads {str(location)!r}, which is outside its own folder.",
            "Export it as one file.",
        )
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "-1"))
        with beside.open("rb") as handle:
            handle.seek(offset)
            data = handle.read(length)
    except (OSError, ValueError) as error:
        raise StackctlError(f"{file.name} has its tensors in {location}, which cannot be read: {error}.") from error
    if length >= 0 and len(data) != length:
        raise StackctlError(f"{file.name} has its tensors in {location}, which is too short.")
    return data


def _bytes_field(field: _Field, payload: bytes) -> bytes | memoryview:
    return field.whole if payload == field.value else _tagged(field.number, payload)


def _tagged(number: int, payload: bytes) -> bytes:
    return _as_varint(number << 3 | _BYTES) + _as_varint(len(payload)) + payload


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _broken(file: Path) -> StackctlError:
    return StackctlError(f"{file.name} is no ONNX file, or a broken one.")
