"""From surface to textured mesh, with budgets that hold and failures that are said."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.meshing.texture.shapes import box, sphere, stripes

from one2345.errors import InputError
from one2345.geometry import Mesh, orbit_cameras
from one2345.meshing.texture import Pictures, Texturer, texture_size
from one2345.objects import MeshObject

ROOT = Path(__file__).resolve().parents[3]
QUICK = Texturer(faces=600, size=128)


def test_the_texture_lies_on_a_decimated_mesh():
    made = QUICK(sphere(0.4, 5), stripes)
    assert made.mesh.texture.shape == (128, 128, 3) and made.mesh.colours is None and not made.fell_back
    assert 500 < len(made.mesh.faces) <= 600
    assert made.facts["kind"] == "texture" and made.facts["faces before"] == 20480
    seen = MeshObject(made.mesh, id="x", normalise=False, repair=False).sample_surface(2000, seed=0)
    assert (seen.colours - stripes(seen.points, seen.normals)).abs().mean() < 0.05


def test_a_time_limit_that_is_hit_falls_back_to_vertex_colours_and_says_so():
    surface = sphere(0.4, 5)
    made = replace(QUICK, faces=None, seconds=0.05)(surface, stripes)
    assert made.fell_back and made.mesh.texture is None
    assert np.array_equal(made.mesh.faces, surface.faces)
    expected = stripes(torch.from_numpy(surface.vertices).float(), torch.zeros(0))
    assert made.mesh.colours == pytest.approx(expected.numpy(), abs=1e-5)
    assert (
        made.facts["kind"] == "vertex colours" and made.facts["reason"] == "unwrapping takes more than 0.05 s"
    )
    (line,) = made.warnings
    assert "no texture: unwrapping takes more than 0.05 s; the mesh has vertex colours instead" in line
    assert (
        replace(QUICK, charts=1)(surface, stripes)
        .warnings[0]
        .startswith("no texture: the surface falls into")
    )


def test_a_soup_with_fins_is_textured_all_the_same():
    mesh = box(cells=5)
    random = np.random.default_rng(0)
    fins = random.integers(0, len(mesh.vertices), (40, 3))
    soup = Mesh(mesh.vertices, np.concatenate([mesh.faces, fins, mesh.faces[:7], [[0, 0, 1]]]))
    made = QUICK(soup, stripes)
    assert not made.fell_back and made.facts["repairs"]["degenerate"] >= 1
    assert made.facts["repairs"]["duplicate"] >= 7 and made.facts["repairs"]["non_manifold"] >= 3


def test_nothing_to_put_a_texture_on():
    for empty in (
        Mesh(np.zeros((0, 3)), np.zeros((0, 3), int)),
        Mesh(np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0.0]]), np.array([[0, 1, 2]])),
    ):
        with pytest.raises(InputError, match="no faces that a texture could lie on"):
            QUICK(empty, stripes)


MILLION = """
import json, resource, sys, time
import numpy as np, torch
from tests.meshing.texture.shapes import sphere, stripes
from one2345.geometry import Mesh
from one2345.meshing import remove_floaters
from one2345.meshing.texture import Texturer

ball, speck = sphere(0.4, 8), sphere(0.01, 2)
bumps = 1 + 0.05 * np.sin(20 * ball.vertices).prod(1, keepdims=True)
surface = Mesh(
    np.concatenate([ball.vertices * bumps, speck.vertices + 0.45]),
    np.concatenate([ball.faces, speck.faces + len(ball.vertices)]),
)
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.process_time()
cleaned, floaters = remove_floaters(surface)
made = Texturer(seconds=float(sys.argv[1]))(cleaned, stripes)
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
volumes = [Mesh(m.vertices, m.faces).volume() for m in (cleaned, made.mesh)]
print(json.dumps({
    "before": len(surface.faces), "removed": floaters.removed, "after": len(made.mesh.faces),
    "kind": made.facts["kind"], "texels": made.facts.get("texels"), "cpu": time.process_time() - begin,
    "mb": (peak - held) / 1024, "volumes": volumes,
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux gives it, in kilobytes")
def test_a_million_faces_become_a_textured_mesh_in_bounded_time_and_memory():
    """Cleaned, decimated, unwrapped and baked with the settings of the default, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MILLION, "120"], cwd=ROOT, capture_output=True, text=True, timeout=400,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["before"] > 1_000_000 and found["removed"] == 1
    assert found["kind"] == "texture" and found["after"] <= 20_000 and found["texels"] > 100_000
    assert found["volumes"][1] == pytest.approx(found["volumes"][0], rel=2e-3)
    assert found["cpu"] < 60 and found["mb"] < 1200


def test_the_size_follows_the_surface_and_the_finest_picture():
    def picture(size: int) -> Pictures:
        cameras = orbit_cameras([0.0], 0.0, size=size)
        return Pictures(torch.ones(1, 3, size, size), torch.ones(1, size, size), cameras)

    mesh = sphere(0.4, 3)  # 2 square units: 1.6 units along the edge of a texture that is covered to 0.75
    assert texture_size(mesh, [picture(256)]) == 512
    assert texture_size(mesh, [picture(256), picture(512)]) == 1024
    assert texture_size(sphere(0.1, 3), [picture(256)]) == 256
    assert texture_size(mesh, []) == 1024


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"faces": 2}, "texture.faces=2: at least 4"),
        ({"size": 4}, "texture.size=4: texels, from 16"),
        ({"field_size": 4}, "texture.field_size=4: at least 16"),
        ({"smooth": -1}, "texture.smooth=-1"),
        ({"seconds": 0}, "texture.seconds=0: more than 0"),
        ({"padding": -1}, "texture.padding=-1"),
        ({"own_pixels": "some"}, "texture.own_pixels=some: known are given, all, none"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(InputError, match=words):
        Texturer(**settings)
