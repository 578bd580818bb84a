"""The side of Blender that needs none: what it is told, what is made of its answer, and how it is kept in bounds."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from tests.data.renderers.fake_blender import fake_blender

from one2345.data import LoadedObject, Recipe
from one2345.data.observe import observe
from one2345.data.recipe import blender_recipe, recipe_hash
from one2345.data.renderers import BlenderRenderer, RaycastRenderer
from one2345.data.renderers import blender as module
from one2345.data.sources import FolderSource
from one2345.errors import InputError
from one2345.geometry import Cameras, Mesh, orbit_cameras
from one2345.objects import MeshObject, Render, load_mesh

CAMERAS = orbit_cameras([0.0, 90.0], [20.0, 0.0], size=(6, 8))


def box(folder: Path, **source) -> tuple[LoadedObject, trimesh.Trimesh]:
    """A box of edges 2, 1, 4, off the origin, through a file: as our loader has it, and as the file does."""
    written = trimesh.creation.box((2.0, 1.0, 4.0))
    written.apply_translation((5.0, -3.0, 1.0))
    folder.mkdir(parents=True, exist_ok=True)
    written.export(folder / "a.glb")
    return FolderSource(root=folder, **source).load("a"), written


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedObject:
    return box(tmp_path / "meshes")[0]


def renderer(tmp_path: Path, body: str, **values) -> BlenderRenderer:
    return BlenderRenderer(python=fake_blender(tmp_path / "fake", body), **values)


@pytest.mark.parametrize("up", ["y", "z"])
def test_the_job_puts_the_file_where_the_object_is(tmp_path: Path, up: str) -> None:
    loaded, written = box(tmp_path / "meshes", up=up)
    job = renderer(tmp_path, "", samples=7, light_colour=[1, 0.5, 0.25]).job(loaded, CAMERAS, tmp_path)
    x, y, z = written.vertices.T
    imported = np.stack([x, -z, y, np.ones_like(x)], -1)  # what a glTF importer of a z-up program makes of it
    placed = (imported @ np.array(job["to_world"]).T)[:, :3]
    assert isinstance(loaded.object, MeshObject)
    expected = [0.4, 0.8, 0.2] if up == "y" else [0.4, 0.2, 0.8]
    assert np.ptp(placed, axis=0) == pytest.approx(expected)
    assert placed.min(0) + placed.max(0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert np.array(job["bounds"]) == pytest.approx(loaded.object.mesh.bounds)
    assert job["size"] == [6, 8] and job["samples"] == 7 and job["light_colour"] == [1.0, 0.5, 0.25]
    assert np.allclose([c["c2w"] for c in job["cameras"]], CAMERAS.c2w)
    assert np.allclose([c["K"] for c in job["cameras"]], CAMERAS.K)
    assert json.loads(json.dumps(job)) == job
    assert (tmp_path / job["mesh"]).is_file()
    assert str(tmp_path) not in json.dumps(job)


def test_a_mesh_of_another_type_is_handed_over_as_it_was_loaded(tmp_path: Path) -> None:
    mesh = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 0, 2]]), np.array([[0, 1, 2]]))
    loaded = LoadedObject(object=MeshObject(mesh, id="a", repair=False))
    job = renderer(tmp_path, "").job(loaded, CAMERAS, tmp_path)
    assert job["to_world"] == np.eye(4).tolist()
    written = trimesh.load(tmp_path / job["mesh"], force="mesh")
    assert sorted(np.ptp(written.vertices, axis=0)) == pytest.approx([0.0, 0.4, 0.8], abs=1e-6)
    # Without any colour, the grey of the ray caster.
    assert load_mesh(tmp_path / job["mesh"]).colours == pytest.approx(0.7, abs=1e-4)
    with pytest.raises(InputError, match="no mesh"):
        renderer(tmp_path, "").job(LoadedObject(object=Flat()), CAMERAS, tmp_path)
    skewed = CAMERAS.K.clone()
    skewed[1, 0, 1] = 0.1
    with pytest.raises(InputError, match="skew"):
        renderer(tmp_path, "").job(loaded, replace(CAMERAS, K=skewed), tmp_path)


ANSWER = """
import array
pixel = [0.1, 0.2, 0.05, 0.5, 1.25, 0.6, 0.0, 0.8]
array.array("f", pixel * (count // 8)).tofile(result.open("wb"))
"""


def test_the_answer_becomes_colour_over_white_and_normals_that_face_the_camera(
    tmp_path: Path, loaded: LoadedObject
) -> None:
    seen = renderer(tmp_path, ANSWER).render(loaded, CAMERAS)
    assert seen.rgb.shape == (2, 3, 6, 8) and seen.depth.shape == (2, 6, 8)
    # Unpremultiplied 0.2, 0.4, 0.1 in linear light; sRGB by IEC 61966-2-1; half of it over white.
    srgb = [1.055 * c ** (1 / 2.4) - 0.055 for c in (0.2, 0.4, 0.1)]
    assert seen.rgb[0, :, 3, 4].tolist() == pytest.approx([0.5 * c + 0.5 for c in srgb], abs=1e-6)
    assert seen.mask.unique().tolist() == [0.5] and seen.depth.unique().tolist() == [1.25]
    # The second camera looks along -x: towards it the normal has a positive x; the first looks along y and down.
    assert seen.normal[1, :, 3, 4].tolist() == pytest.approx([0.6, 0.0, 0.8])
    opposite = renderer(tmp_path, ANSWER.replace("0.6, 0.0, 0.8", "-0.6, 0.0, -0.8")).render(loaded, CAMERAS)
    assert opposite.normal[1, :, 3, 4].tolist() == pytest.approx([0.6, 0.0, 0.8])


BAD = {
    "raise SystemExit('Blender finds no cuda device')": "a: Blender ended with status 1: .* no cuda device",
    "os.kill(os.getpid(), signal.SIGSEGV)": "a: Blender was killed by SIGSEGV",
    "print('first', flush=True); os.abort()": "a: Blender was killed by SIGABRT: first",
    "result.write_bytes(bytes(4 * count - 4))": "wrote 3068 bytes of pictures, expected 3072",
    "pass": "wrote 0 bytes",
    "result.write_bytes(b'\\xff' * 4 * count)": "NaN",
    "hold = bytearray(10 << 30)": "ended with status 1: MemoryError",
    "result.open('wb').write(bytes(200 << 20))": "File too large|SIGXFSZ",
}


@pytest.mark.parametrize("body", BAD)
def test_a_bad_end_is_an_error_that_says_why(tmp_path: Path, loaded: LoadedObject, body: str) -> None:
    with pytest.raises(InputError, match=BAD[body]):
        renderer(tmp_path, body, memory_mb=1000).render(loaded, CAMERAS)


def test_too_slow_is_ended_with_its_children(tmp_path: Path, loaded: LoadedObject) -> None:
    note = tmp_path / "child"
    body = f"""
child = subprocess.Popen(["sleep", "600"])
Path({str(note)!r}).write_text(str(child.pid))
time.sleep(600)
"""
    start = time.monotonic()
    with pytest.raises(InputError, match=r"a: Blender took more than timeout=5 seconds"):
        renderer(tmp_path, body, timeout=5).render(loaded, CAMERAS)
    assert time.monotonic() - start < 100
    assert gone(int(note.read_text()))


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    for _ in range(400):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


def test_a_child_left_behind_is_ended_too(tmp_path: Path, loaded: LoadedObject) -> None:
    note = tmp_path / "child"
    body = f"{ANSWER}\nPath({str(note)!r}).write_text(str(subprocess.Popen(['sleep', '600']).pid))"
    renderer(tmp_path, body).render(loaded, CAMERAS)
    assert gone(int(note.read_text()))


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")
def test_too_much_memory_in_all_is_ended(tmp_path: Path, loaded: LoadedObject) -> None:
    body = """
eat = "import time; hold = b'x' * (120 << 20); time.sleep(300)"
children = [subprocess.Popen([sys.executable, "-c", eat]) for _ in range(2)]
time.sleep(300)
"""
    with pytest.raises(InputError, match="took more than memory_mb=200 MB"):
        renderer(tmp_path, body, memory_mb=200, timeout=100).render(loaded, CAMERAS)


def test_an_interpreter_that_will_not_do_is_named_at_once(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=r"render\.python is not given.*make blender-env"):
        blender_recipe(python=None)
    with pytest.raises(
        InputError, match=r"render\.python=nowhere/python: is no interpreter.*make blender-env"
    ):
        blender_recipe(python="nowhere/python")
    here = BlenderRenderer(python=sys.executable)
    with pytest.raises(InputError, match=r"has no working bpy \(.*bpy.*make blender-env"):
        here.describe()
    assert time.monotonic() - start < 100
    with pytest.raises(InputError, match="engine='eeve'"):
        BlenderRenderer(python=sys.executable, engine="eeve")
    with pytest.raises(InputError, match="samples=0"):
        BlenderRenderer(python=sys.executable, samples=0)


def test_the_hash_is_older_than_the_choice_and_knows_no_paths(tmp_path: Path) -> None:
    # Taken before there were renderers: data prepared then stay valid.
    assert recipe_hash(Recipe().describe()) == "ad8263e39e"
    assert recipe_hash(Recipe(size=256, shading=0.5, plan="uniform16").describe()) == "f9ec262fa2"
    paths = [fake_blender(tmp_path / name, "") for name in ("one", "two")]
    one, two = (blender_recipe(python=str(path), size=64) for path in paths)
    assert (
        recipe_hash(one.describe()) == recipe_hash(two.describe()) != recipe_hash(Recipe(size=64).describe())
    )
    assert str(tmp_path) not in json.dumps(one.describe())
    assert one.describe()["renderer"]["blender"] == "5.0.1"
    other = [
        blender_recipe(python=str(paths[0]), size=64, light_strength=2.0),
        blender_recipe(python=str(paths[0]), size=64, samples=8),
        blender_recipe(python=str(fake_blender(tmp_path / "three", "", version="5.1.0")), size=64),
    ]
    assert len({recipe_hash(r.describe()) for r in (one, *other)}) == 4
    patient = blender_recipe(python=str(paths[0]), size=64, timeout=5, memory_mb=99, threads=3, device="cuda")
    assert recipe_hash(patient.describe()) == recipe_hash(one.describe())
    with pytest.raises(InputError, match="shading"):
        blender_recipe(python=str(paths[0]), shading=0.5)


class Flat:
    """An object that is no mesh."""

    id = "flat"


class Negative:
    """Pictures turned inside out."""

    def render(self, loaded: LoadedObject, cameras: Cameras) -> Render:
        seen = RaycastRenderer().render(loaded, cameras)
        return replace(seen, rgb=1 - seen.rgb)

    def describe(self) -> dict[str, object]:
        return {"kind": "negative"}


def test_pictures_by_the_renderer_labels_by_the_object(loaded: LoadedObject) -> None:
    recipe = Recipe(size=16, targets=0)
    plain = observe(loaded, recipe=recipe, split="val")
    other = observe(loaded, recipe=replace(recipe, renderer=Negative()), split="val")
    assert torch.equal(other.views.images, 1 - plain.views.images)
    assert torch.equal(other.samples.sdf_values, plain.samples.sdf_values)
    assert torch.equal(other.samples.surface_colours, plain.samples.surface_colours)


def test_module_constants_fit_the_scene() -> None:
    from one2345.data.renderers import blender_scene

    assert blender_scene.CHANNELS == module.CHANNELS


def test_the_command_line_names_the_interpreter(tmp_path: Path) -> None:
    from one2345.build import build
    from one2345.cli.compose import compose, to_plain
    from one2345.cli.quoting import quote_overrides

    python = fake_blender(tmp_path / "a folder, (1)=[x]", "")
    told = quote_overrides(["source.root=x", "render=blender", f"render.python={python}"])
    recipe = build(to_plain(compose("prepare", [*told, "render.samples=3"]).config["render"]), allow_any=True)
    assert recipe.renderer == BlenderRenderer(python=python, samples=3)
    assert recipe.size == Recipe().size and recipe.describe()["renderer"]["samples"] == 3
    bare = to_plain(compose("prepare", ["source.root=x", "render=blender"]).config["render"])
    with pytest.raises(InputError, match="make blender-env"):
        build(bare, allow_any=True)
