"""Files that state their own size and are shorter: trimesh takes some of them for whole."""

from __future__ import annotations

import struct
from collections.abc import Callable

from one2345.errors import InputError


def check_stl(data: bytes) -> None:
    """A binary STL states its size, but a short one could pass as text."""
    if data[:5].lower() == b"solid" and b"facet" in data[:1024]:
        if b"endsolid" not in data[-1024:].lower():
            raise InputError("truncated: the text ends before 'endsolid'")
    elif len(data) < 84:
        raise InputError(f"truncated: {len(data)} bytes are too few for a binary STL")
    elif len(data) < 84 + 50 * (count := struct.unpack_from("<I", data, 80)[0]):
        raise InputError(
            f"truncated: {count} triangles need {84 + 50 * count} bytes, the file has {len(data)}"
        )


def check_off(data: bytes) -> None:
    """An OFF file states how many vertex and face lines follow; trimesh takes fewer without a word."""
    lines = [
        text for line in data.decode("utf-8", "replace").splitlines() if (text := line.split("#")[0].split())
    ]
    words = [word for line in lines[:2] for word in line]
    if not words or not words[0].endswith("OFF") or not all(word.isdigit() for word in words[1:3]):
        raise InputError("not an OFF file: the header does not state the numbers of vertices and faces")
    body = lines[1 if len(lines[0]) > 1 else 2 :]
    expected = int(words[1]) + int(words[2])
    if len(body) < expected or (expected and len(body[expected - 1]) <= int(body[expected - 1][0])):
        raise InputError(f"truncated: {words[1]} vertices and {words[2]} faces are promised")


def check_ply(data: bytes) -> None:
    """A text PLY has one line per element; a binary one is checked by trimesh."""
    head, found, body = data.partition(b"end_header")
    if not data.startswith(b"ply") or not found:
        raise InputError("not a PLY file, or cut within its header")
    lines = [line.split() for line in head.splitlines()]
    if [b"format", b"ascii", b"1.0"] not in lines:
        return
    expected = sum(int(line[2]) for line in lines if len(line) == 3 and line[0] == b"element")
    present = sum(1 for line in body.splitlines() if line.strip())
    if present < expected:
        raise InputError(f"truncated: {expected} elements are promised, {present} are there")


CHECKS: dict[str, Callable[[bytes], None]] = {"stl": check_stl, "off": check_off, "ply": check_ply}
