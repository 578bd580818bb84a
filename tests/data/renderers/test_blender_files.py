"""What goes into Blender (a copy of a glTF file) and what comes out (OpenEXR)."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from one2345.data.renderers.blender_scene import read_exr
from one2345.data.renderers.gltf_copy import copy_gltf
from one2345.errors import InputError


def document(**extra: Any) -> dict[str, Any]:
    """A triangle in a buffer of its own, and whatever else."""
    return {
        "asset": {"version": "2.0"},
        "scene": 1,
        "scenes": [{"nodes": [1]}, {"nodes": [0]}],
        "nodes": [{"mesh": 0, "skin": 0, "children": [2]}, {"mesh": 0}, {"camera": 0, "mesh": 1}],
        "meshes": [
            {"primitives": [
                {"attributes": {"POSITION": 0}, "targets": [{"POSITION": 0}]},
                {"attributes": {"POSITION": 0, "COLOR_0": 0}},
                {"attributes": {"POSITION": 0}, "mode": 1},
            ]},
            {"primitives": [{"attributes": {"POSITION": 0}, "mode": 0}]},
        ],
        "skins": [{"joints": [0]}], "animations": [{}], "cameras": [{}],
        "extensions": {"KHR_lights_punctual": {"lights": [{}]}},
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": 36, "uri": "data%20of%20it.bin"}],
        **extra,
    }  # fmt: skip


def copied(tmp_path: Path, header: dict[str, Any], plain: float = 0.25) -> dict[str, Any]:
    root, target = tmp_path / "root", tmp_path / "job"
    for folder in (root / "in", target):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "in/data of it.bin").write_bytes(bytes(36))
    (tmp_path / "outside.bin").write_bytes(bytes(36))
    (root / "in/a.gltf").write_text(json.dumps(header))
    name = copy_gltf(root / "in/a.gltf", root, target, plain=plain)
    return json.loads((target / name).read_text())


def test_only_the_rest_pose_of_the_scene_is_left(tmp_path: Path) -> None:
    kept = copied(tmp_path, document())
    assert not kept.keys() & {"animations", "skins", "cameras", "extensions"}
    assert kept["scenes"] == [{"nodes": [0]}] and kept["scene"] == 0
    assert kept["nodes"] == [{"mesh": 0, "children": [2]}, {}, {}]
    first, second = kept["meshes"][0]["primitives"]
    assert "targets" not in first
    colours = [
        kept["materials"][p["material"]]["pbrMetallicRoughness"]["baseColorFactor"][0]
        for p in (first, second)
    ]
    assert colours == [0.25, 1.0]
    assert kept["buffers"][0]["uri"] == "buffers-0.bin"
    assert (tmp_path / "job/buffers-0.bin").read_bytes() == bytes(36)


def test_glossy_materials_keep_their_diffuse_colour(tmp_path: Path) -> None:
    gloss = {"diffuseFactor": [0.1, 0.2, 0.3, 1.0], "diffuseTexture": {"index": 0}, "glossinessFactor": 0.2}
    material = {"extensions": {"KHR_materials_pbrSpecularGlossiness": gloss}}
    kept = copied(tmp_path, document(materials=[material]))["materials"][0]["pbrMetallicRoughness"]
    assert kept["baseColorFactor"] == [0.1, 0.2, 0.3, 1.0] and kept["baseColorTexture"] == {"index": 0}
    assert kept["metallicFactor"] == 0 and kept["roughnessFactor"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"buffers": [{"uri": "../../outside.bin"}]}, r"leaves the mesh's folder"),
        ({"buffers": [{"uri": "%2e%2e/%2e%2e/outside.bin"}]}, r"leaves the mesh's folder"),
        ({"images": [{"uri": "http" + "://example.org/a.png"}]}, "is a URL"),
        ({"images": [{"uri": "/etc/hostname"}]}, "absolute path"),
        ({"images": [{"uri": "none.png"}]}, "not in its folder"),
        ({"nodes": [{"children": [0]}]}, "two parents"),
        ({"scenes": 3}, "a.gltf"),
        ({"meshes": [{}]}, "a.gltf"),
    ],
)
def test_what_leaves_the_folder_or_makes_no_sense_is_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        copied(tmp_path, document(**change))


def exr(channels: dict[str, np.ndarray], compression: int = 0, version: int = 2) -> bytes:
    """An OpenEXR file by the book (file layout, technical introduction of OpenEXR)."""
    height, width = next(iter(channels.values())).shape
    names = sorted(channels)
    listed = b"".join(n.encode() + b"\0" + struct.pack("<iB3xii", 2, 0, 1, 1) for n in names) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = [("channels", "chlist", listed), ("compression", "compression", bytes([compression])),
                  ("dataWindow", "box2i", window), ("lineOrder", "lineOrder", b"\0")]  # fmt: skip
    head = struct.pack("<II", 20000630, version)
    for name, kind, value in attributes:
        head += name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
    head += b"\0"
    rows = [
        struct.pack("<ii", y, 4 * width * len(names))
        + b"".join(channels[n][y].astype("<f4").tobytes() for n in names)
        for y in range(height)
    ]
    first = len(head) + 8 * height
    offsets = [first + sum(map(len, rows[:y])) for y in range(height)]
    return head + struct.pack(f"<{height}Q", *offsets) + b"".join(rows)


def test_pictures_of_floats_are_read_to_the_bit() -> None:
    random = np.random.default_rng(0)
    channels = {n: random.normal(size=(3, 5)).astype(np.float32) for n in ("L.C.R", "L.C.A", "L.Depth.Z")}
    read = read_exr(exr(channels))
    assert read.keys() == channels.keys()
    assert all(np.array_equal(read[n], channels[n]) for n in channels)
    for bad in (exr(channels, compression=3), exr(channels, version=2 | 0x1000), b"\0" * 100):
        with pytest.raises(ValueError, match="OpenEXR"):
            read_exr(bad)
