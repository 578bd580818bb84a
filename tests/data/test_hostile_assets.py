"""Assets made to do harm: refused with the reason, soon, and in little memory.

Each is loaded in one process of its own (`Jail`) that may not take more than LIMIT of address space beyond what the
libraries take, and whose time and highest resident size are measured.
"""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from one2345.data.download import unpack
from one2345.data.sources import Filters, FolderSource, Rejected
from one2345.errors import InputError
from one2345.objects import load_mesh
from one2345.objects.gltf import read_header
from one2345.objects.gltf_checks import MOST_FACES
from one2345.objects.image_checks import LONGEST_EDGE, check_image

# Of one asset: address space beyond the libraries', growth of the resident size, seconds.
SPACE_MB, RESIDENT_MB, SECONDS = 700, 250, 10.0

JAIL = """
import json, resource, sys, time
from pathlib import Path
from one2345.data.download import unpack
from one2345.data.sources import Filters
from one2345.errors import InputError
from one2345.objects.mesh_object import MeshObject
from one2345.objects import load_mesh
import trimesh.exchange.gltf, trimesh.exchange.obj

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(key + ":"))

most = (status("VmSize") + int(sys.argv[1])) << 20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
for line in sys.stdin:
    how, file = json.loads(line)
    Path("/proc/self/clear_refs").write_text("5")
    before, began = status("VmRSS"), time.monotonic()
    try:
        if how == "load":
            load_mesh(file)
        elif how == "filter":
            Filters(min_faces=None, flat=None).check_file(Path(file))
        else:
            unpack(Path(file), Path(file + ".out"), name="x")
        reason = "taken"
    except InputError as error:
        reason = f"InputError: {error}"
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
    print(json.dumps([reason, time.monotonic() - began, status("VmHWM") - before]), flush=True)
"""


class Jail:
    """A process that is asked for one file after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", JAIL, str(SPACE_MB)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def reason(self, file: Path, how: str = "load") -> str:
        """Why it was refused, or 'taken'; fails where that took too long or too much."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([how, str(file)]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process died"
        reason, seconds, grown = json.loads(line)
        assert seconds < SECONDS, f"{seconds:.1f} s: {reason}"
        assert grown < RESIDENT_MB, f"{grown} MB: {reason}"
        return reason

    def close(self) -> None:
        self._process.communicate(timeout=200)


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    made = Jail()
    yield made
    made.close()


def glb(header: dict[str, Any], blob: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    blob += b"\0" * (-len(blob) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(blob), 0x004E4942) + blob if blob else b""
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


def ball(subdivisions: int = 1) -> tuple[dict[str, Any], bytes]:
    """Header and binary chunk of a file that is fine."""
    shape = trimesh.creation.icosphere(subdivisions=subdivisions)
    points, faces = np.asarray(shape.vertices, "<f4").tobytes(), np.asarray(shape.faces, "<u4").tobytes()
    header: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(shape.vertices), "type": "VEC3"},
            {"bufferView": 1, "componentType": 5125, "count": shape.faces.size, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(points)},
            {"buffer": 0, "byteOffset": len(points), "byteLength": len(faces)},
        ],
        "buffers": [{"byteLength": len(points) + len(faces)}],
    }
    return header, points + faces


def png(width: int, height: int, rows: int = 0) -> bytes:
    """A PNG whose header states its size, with `rows` rows of it (all, where it is whole)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1 + (width + 7) // 8) * rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def textured(image: bytes) -> bytes:
    header, blob = ball()
    start = len(blob)
    uv = bytes(8 * header["accessors"][0]["count"])
    header["bufferViews"] += [
        {"buffer": 0, "byteOffset": start, "byteLength": len(uv)},
        {"buffer": 0, "byteOffset": start + len(uv), "byteLength": len(image)},
    ]
    header["accessors"].append(
        {"bufferView": 2, "componentType": 5126, "count": header["accessors"][0]["count"], "type": "VEC2"}
    )
    header["meshes"][0]["primitives"][0] |= {"attributes": {"POSITION": 0, "TEXCOORD_0": 2}, "material": 0}
    header |= {
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 3, "mimeType": "image/png"}],
    }
    blob += uv + image
    header["buffers"][0]["byteLength"] = len(blob)
    return glb(header, blob)


def test_the_files_are_taken_without_the_harm(tmp_path: Path, jail: Jail) -> None:
    (tmp_path / "ball.glb").write_bytes(glb(*ball()))
    (tmp_path / "textured.glb").write_bytes(textured(png(64, 32, 32)))
    for name in ("ball.glb", "textured.glb"):
        assert jail.reason(tmp_path / name) == "taken"
        assert jail.reason(tmp_path / name, "filter") == "taken"
    assert load_mesh(tmp_path / "textured.glb").texture is not None


# Changes of the header of a fine file -> what is said of it.
HEADERS = {
    "a billion faces": (
        {("accessors", 1, "count"): 3_000_000_000},
        r"accessor 1 states 3000000000 items; at most",
    ),
    "a billion vertices": (
        {("accessors", 0, "count"): 1_000_000_000},
        "accessor 0 states 1000000000 items; at most",
    ),
    "more faces than the buffer": (
        {("accessors", 1, "count"): 900_000},
        "accessor 1 states 900000 items, which need 3600000 bytes; its bufferView has 960",
    ),
    "a number without end": ({("accessors", 0, "count"): 10**400}, "states 10000"),
    "a negative count": ({("accessors", 0, "count"): -1}, "count is '-1', not a number"),
    "a view beyond its buffer": (
        {("bufferViews", 1, "byteLength"): 1 << 40},
        r"bufferView 1 ends at byte \d+ of a buffer of \d+ bytes",
    ),
    "a buffer beyond the file": (
        {("buffers", 0, "byteLength"): 1 << 40, ("bufferViews", 1, "byteLength"): 1 << 39},
        "buffer 0 states 1099511627776 bytes",
    ),
    "a node below itself": (
        {("nodes",): [{"mesh": 0, "children": [1]}, {"children": [2]}, {"children": [1]}]},
        "two parents",
    ),
    "a cycle": (
        {("nodes",): [{"children": [1], "mesh": 0}, {"children": [2]}, {"children": [0]}]},
        "cyclic: node 0 lies below itself",
    ),
    "its own child": ({("nodes",): [{"mesh": 0, "children": [0]}]}, "cyclic: node 0 lies below itself"),
    "a cycle beside the scene": (
        {("nodes",): [{"mesh": 0}, {"children": [2]}, {"children": [1]}]},
        "cyclic: node 1 lies below itself",
    ),
    "a child that is none": ({("nodes",): [{"mesh": 0, "children": [7]}]}, "child 7, which is no node"),
    "doubling by sharing": (
        {("nodes",): [*({"children": [i + 1, i + 1]} for i in range(40)), {"mesh": 0}]},
        "two parents",
    ),
    "a deep graph": (
        {("nodes",): [*({"children": [i + 1]} for i in range(90_000)), {"mesh": 0}]},
        "more than 1000 nodes deep",
    ),
    "a million nodes": ({("nodes",): [{"mesh": 0}] * 1_000_000}, "has 1000000 nodes; at most 100000"),
    "compressed": ({("extensionsRequired",): ["KHR_draco_mesh_compression"]}, "compressed"),
    "an address": (
        {("buffers", 0, "uri"): "https://example.org/evil.bin"},
        r"'https://example.org/evil.bin' is a URL",
    ),
    "a local address": ({("buffers", 0, "uri"): "file:///etc/passwd"}, "'file:///etc/passwd' is a"),
    "out of the folder": ({("buffers", 0, "uri"): "../../../etc/passwd"}, "leaves the mesh's folder"),
    "out by an absolute path": ({("buffers", 0, "uri"): "/etc/passwd"}, "is an absolute path"),
    "out by percent codes": ({("buffers", 0, "uri"): "%2e%2e/evil.bin"}, "leaves the mesh's folder"),
    "an image elsewhere": (
        {("images",): [{"uri": "http://127.0.0.1:1/pixel.png"}]},
        r"pixel.png' is a URL",
    ),
    "an image out of the folder": ({("images",): [{"uri": "../secret.png"}]}, "leaves the mesh's folder"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_claim_too_much_are_refused(tmp_path: Path, jail: Jail, name: str) -> None:
    changes, message = HEADERS[name]
    header, blob = ball()
    for keys, value in changes.items():
        place: Any = header
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
    file = tmp_path / "asset.glb"
    file.write_bytes(glb(header, blob))
    reason = jail.reason(file)
    assert reason.startswith(f"InputError: {file}: ")
    with pytest.raises(InputError, match=message):
        load_mesh(file)
    # What reads the header before the loader does survives it too.
    assert not jail.reason(file, "filter").startswith(("MemoryError", "RecursionError", "KeyError"))
    # The same as text, its buffer within.
    if "uri" not in header["buffers"][0] and "byteLength" not in {keys[-1] for keys in changes}:
        header["buffers"][0]["uri"] = (
            "data:application/octet-stream;base64," + base64.b64encode(blob).decode()
        )
        (tmp_path / "asset.gltf").write_text(json.dumps(header))
        assert jail.reason(tmp_path / "asset.gltf").startswith("InputError")


def test_a_mesh_that_is_placed_too_often(tmp_path: Path, jail: Jail) -> None:
    header, blob = ball(5)
    times = MOST_FACES // 20480 + 1
    header["nodes"] = [{"mesh": 0}] * times
    header["scenes"] = [{"nodes": list(range(times))}]
    (tmp_path / "many.glb").write_bytes(glb(header, blob))
    assert f"the header states {times * 20480} faces" in jail.reason(tmp_path / "many.glb")


def test_views_that_are_copied_too_often(tmp_path: Path, jail: Jail) -> None:
    header, blob = ball(5)
    header["bufferViews"] += [{"buffer": 0, "byteLength": len(blob)}] * 5000
    (tmp_path / "copies.glb").write_bytes(glb(header, blob))
    assert "buffer views of" in jail.reason(tmp_path / "copies.glb")


def test_zeros_that_take_no_room_in_the_file(tmp_path: Path, jail: Jail) -> None:
    header, _ = ball()
    header["accessors"] = [
        {"componentType": 5126, "count": 33_000_000, "type": "VEC3"},
        {"componentType": 5125, "count": 99_000_000, "type": "SCALAR"},
    ]
    (tmp_path / "zeros.glb").write_bytes(glb(header, bytes(2000)))
    assert jail.reason(tmp_path / "zeros.glb").startswith("InputError")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vertices_that_are_not_numbers(tmp_path: Path, jail: Jail, value: float) -> None:
    header, blob = ball()
    (tmp_path / "nan.glb").write_bytes(glb(header, struct.pack("<f", value) + blob[4:]))
    assert "vertices are NaN or infinite (first: 0)" in jail.reason(tmp_path / "nan.glb")
    assert jail.reason(tmp_path / "nan.glb", "filter") == "taken"


@pytest.mark.parametrize(
    ("width", "height"), [(20_000, 20_000), (20_000, 8), (16_384, 16_384), (9000, 9000), (60_000, 60_000)]
)
def test_a_texture_that_is_too_large(tmp_path: Path, jail: Jail, width: int, height: int) -> None:
    image = png(width, height, min(height, 20_000))
    (tmp_path / "large.glb").write_bytes(textured(image))
    (tmp_path / "large.png").write_bytes(image)
    header = read_header(textured(image))
    header["images"] = [{"uri": "large.png"}]
    (tmp_path / "large.gltf").write_text(json.dumps(header))
    (tmp_path / "large.mtl").write_text("newmtl a\nmap_Kd large.png\n")
    (tmp_path / "large.obj").write_text(
        "mtllib large.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"
    )
    for name in ("large.glb", "large.obj"):
        reason = jail.reason(tmp_path / name)
        assert reason.startswith("InputError"), name
        assert f"at most {LONGEST_EDGE} on an edge and 67108864 altogether" in reason


def test_the_limit_of_textures_is_as_stated() -> None:
    for width, height in ((8192, 8192), (16_384, 4096)):
        check_image(png(width, height), "fine")
    for width, height in ((8193, 8192), (16_385, 1)):
        with pytest.raises(InputError, match=f"has {width} x {height} pixels; at most"):
            check_image(png(width, height), "large")


def test_an_image_that_would_start_another_program(tmp_path: Path, jail: Jail) -> None:
    """Pillow has a PostScript interpreter draw EPS files."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\n%%EOF\n"
    (tmp_path / "eps.glb").write_bytes(textured(eps))
    assert "is of type EPS; textures are PNG" in jail.reason(tmp_path / "eps.glb")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
def test_archives_that_lead_out(tmp_path: Path, jail: Jail, name: str) -> None:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    file = tmp_path / "in/a.zip"
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr(info, b"x")
    assert "could lead out of the folder" in jail.reason(file, "unpack")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.zip"]


def test_an_archive_of_gigabytes_of_zeros(tmp_path: Path, jail: Jail) -> None:
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped, zipped.open("zeros", "w") as member:
        for _ in range(16):
            member.write(bytes(1 << 20))
    stated = (16 << 20).to_bytes(4, "little")
    content = file.read_bytes()
    file.write_bytes(content.replace(stated, ((1 << 32) - 2).to_bytes(4, "little")))
    assert "more than is taken" in jail.reason(file, "unpack")
    file.write_bytes(content)
    with pytest.raises(InputError, match="unpacks to 16777216 bytes"):
        unpack(file, tmp_path / "out", name="x", most_bytes=1 << 20)


def test_a_header_of_brackets(tmp_path: Path, jail: Jail) -> None:
    text = b'{"asset": {"version": "2.0"}, "extras": ' + b"[" * 400_000
    file = tmp_path / "deep.glb"
    chunk = struct.pack("<II", len(text), 0x4E4F534A) + text
    file.write_bytes(struct.pack("<III", 0x46546C67, 2, 12 + len(chunk)) + chunk)
    assert jail.reason(file).startswith("InputError")
    assert jail.reason(file, "filter").startswith("InputError")
    (tmp_path / "deep.gltf").write_bytes(text)
    assert jail.reason(tmp_path / "deep.gltf").startswith("InputError")


def primitive(**changes: Any) -> tuple[dict[str, Any], bytes]:
    header, blob = ball(2)
    header["meshes"][0]["primitives"][0] |= changes
    return header, blob


def rejected(tmp_path: Path, header: dict[str, Any], blob: bytes, **filters: Any) -> str:
    """What a source says of an object that its filters leave out."""
    (tmp_path / "x.glb").write_bytes(glb(header, blob))
    source = FolderSource(root=tmp_path, labels="unreliable", filters=Filters(**filters))
    with pytest.raises(Rejected) as caught:
        source.load("x")
    return str(caught.value)


def test_the_filters_say_why(tmp_path: Path) -> None:
    fine, blob = ball(2)
    (tmp_path / "x.glb").write_bytes(glb(fine, blob))
    assert FolderSource(root=tmp_path, filters=Filters()).load("x").exact
    assert rejected(tmp_path, *ball(0)) == "too few faces: 20, fewer than filters.min_faces=50"
    assert (
        rejected(tmp_path, fine, blob, max_faces=300)
        == "too many faces: 320, more than filters.max_faces=300"
    )
    assert "162 points or lines and no faces" in rejected(tmp_path, *primitive(mode=0))
    assert rejected(tmp_path, fine | {"meshes": []}, blob).startswith("empty")
    assert rejected(tmp_path, fine | {"animations": [{}, {}]}, blob).startswith("animated: 2 animations")
    assert rejected(tmp_path, fine | {"skins": [{"joints": [0]}]}, blob).startswith(
        "animated: it has a skeleton"
    )
    points = np.frombuffer(blob[: 162 * 12], "<f4").reshape(-1, 3).copy()
    points[:, 1] *= 0.001
    assert rejected(tmp_path, fine, points.tobytes() + blob[162 * 12 :]).startswith("flat: 0.1")
    corners = np.frombuffer(blob[162 * 12 :], "<u4").reshape(-1, 3).copy()
    corners[: len(corners) * 3 // 5] = corners[:1, :1]
    assert rejected(tmp_path, fine, blob[: 162 * 12] + corners.tobytes()) == (
        "degenerate: 60% of its faces have no area, more than filters.degenerate=0.5"
    )


def test_what_is_seen_through_is_measured_by_area(tmp_path: Path) -> None:
    """Two balls, one of twice the size and so four times the area; one of the two is glass."""
    glass = {"alphaMode": "BLEND", "pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 0.1]}}
    header, blob = ball(2)
    first = header["meshes"][0]["primitives"][0]
    header["meshes"] = [{"primitives": [first | {"material": i}]} for i in range(2)]
    header["nodes"] = [
        {"children": [1, 2]},
        {"mesh": 0},
        {"mesh": 1, "scale": [2, 2, 2], "translation": [5, 0, 0]},
    ]
    for clear, share in ((0, 0.2), (1, 0.8)):
        header["materials"] = [glass if i == clear else {} for i in range(2)]
        assert rejected(tmp_path, header, blob, transparent=share - 0.001).startswith(
            f"nearly transparent: {share:.0%}"
        )
        (tmp_path / "x.glb").write_bytes(glb(header, blob))
        Filters(transparent=share + 0.001).check_file(tmp_path / "x.glb")
    # Nothing is blended where alphaMode doesn't say so; transmission is glass by itself.
    header["materials"] = [{**glass, "alphaMode": "OPAQUE"}] * 2
    (tmp_path / "x.glb").write_bytes(glb(header, blob))
    Filters(transparent=0.0).check_file(tmp_path / "x.glb")
    header["materials"] = [{"extensions": {"KHR_materials_transmission": {"transmissionFactor": 0.9}}}] * 2
    assert rejected(tmp_path, header, blob).startswith("nearly transparent: 100%")


def test_filters_of_other_values(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"filters.flat=2: is a share"):
        Filters(flat=2)
    with pytest.raises(InputError, match=r"min_faces=9 is more than max_faces=8"):
        Filters(min_faces=9, max_faces=8)


def test_the_limits_of_the_jail_hold(jail: Jail, tmp_path: Path) -> None:
    """A file that it can't take within them shows. The last test: what it took stays with the process."""
    (tmp_path / "large.obj").write_text("v 0 0 0\nv 0 1 0\nv 1 0 0\n" + "f 1 2 3\n" * 4_000_000)
    with pytest.raises(AssertionError, match=r"\d MB: |\d s: |process died"):
        assert jail.reason(tmp_path / "large.obj") == "InputError"
