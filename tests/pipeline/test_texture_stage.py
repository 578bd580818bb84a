"""The texture as a stage: kept and resumed like the others, said in the report, and never in the surface."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from one2345.geometry import orbit_cameras
from one2345.meshing.texture import Texturer
from one2345.objects import MeshObject, load_mesh
from one2345.pipeline import ImageTo3D, save

TEXTURE = Texturer(faces=1500, size=128)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def found(make_pipe, cache):
    return make_pipe(texture=TEXTURE)(cache=cache)


def test_the_textured_mesh_stands_beside_the_untouched_surface(make_pipe, found, cache):
    assert found.mesh.texture.shape == (128, 128, 3) and len(found.mesh.faces) <= 1500
    plain = make_pipe()()
    assert np.array_equal(found.surface.vertices, plain.mesh.vertices)
    assert plain.surface is plain.mesh and plain.texture is None and plain.mesh.texture is None
    assert len(found.surface.faces) > len(found.mesh.faces) or len(found.surface.faces) < 1500


def test_from_python_a_textured_glb_comes_out(found, tmp_path, painted):
    back = load_mesh(found.mesh.export(tmp_path / "out.glb"))
    assert np.array_equal(back.texture, found.mesh.texture)
    assert np.abs(back.triangles - found.mesh.triangles).max() < 1e-6
    assert np.abs(back.uv - found.mesh.uv).max() < 1e-6
    seen = MeshObject(back, id="back", normalise=False, repair=False).sample_surface(5000, seed=0)
    # The colours of the painted object run with the axes.
    truth = (seen.points - torch.tensor(painted.vertices.min(0))) / torch.tensor(
        np.ptp(painted.vertices, axis=0)
    )
    assert (seen.colours - truth).abs().mean() < 0.15
    for axis in range(3):
        assert np.corrcoef(seen.colours[:, axis], seen.points[:, axis])[0, 1] > 0.8


def test_what_is_kept_is_not_made_again(make_pipe, cache, found, monkeypatch):
    pipe = make_pipe(texture=TEXTURE)

    def forbidden(*args, **kwargs):
        raise AssertionError("nothing needs the network")

    monkeypatch.setattr(pipe.field.model, "forward", forbidden)
    again = pipe(cache=cache)
    assert [r.name for r in again.stages] == ["input", "views", "network"]
    assert np.array_equal(again.mesh.texture, found.mesh.texture) and again.texture == found.texture
    pipe.field = replace(pipe.field, texturer=replace(TEXTURE, own_pixels="none"))
    with pytest.raises(AssertionError, match="nothing needs"):
        pipe(cache=cache)


def test_another_texture_goes_on_from_the_same_surface(make_pipe, cache, found):
    other = make_pipe(texture=replace(TEXTURE, size=64))(cache=cache)
    assert [r.name for r in other.stages] == ["input", "views", "network", "texture"]
    assert other.mesh.texture.shape[0] == 64
    assert np.array_equal(other.surface.vertices, found.surface.vertices)


def test_a_fallback_is_said_and_tried_again(make_pipe, tmp_path):
    hasty = make_pipe(texture=replace(TEXTURE, seconds=1e-3))
    out = save(hasty(cache=tmp_path / "cache"), tmp_path / "out", animations=[], frames=2)
    report = json.loads(out["report"].read_text())
    assert report["texture"]["kind"] == "vertex colours"
    assert any("no texture: unwrapping takes more than 0.001 s" in line for line in report["warnings"])
    assert load_mesh(out["mesh.glb"]).texture is None and load_mesh(out["mesh.glb"]).colours is not None
    patient = make_pipe(texture=TEXTURE)(cache=tmp_path / "cache")
    assert patient.mesh.texture is not None and not patient.warnings


def test_the_report_counts_pieces_of_the_surface_not_charts(found, tmp_path):
    report = json.loads(save(found, tmp_path, animations=[], frames=2)["report"].read_text())
    assert report["mesh"]["pieces"] == 1 and report["mesh"]["faces"] == len(found.mesh.faces)
    assert report["texture"]["charts"] > 1 and report["texture"]["size"] == 128
    assert report["texture"]["own pixels"] > 0.02 and len(report["texture"]["overlap"]) == 1


def test_the_input_pictures_own_pixels_win_in_front(make_pipe, found, painted):
    """Against the network's colours of pictures a quarter its size, the picture's own are nearer to the truth."""
    truth = MeshObject(painted, id="truth", normalise=False, repair=False).render(
        orbit_cameras([0.0], 30.0, size=64)
    )
    without = make_pipe(texture=replace(TEXTURE, own_pixels="none"))()
    everywhere = make_pipe(texture=replace(TEXTURE, own_pixels="all"))()
    error = {}
    for name, mesh in {"given": found.mesh, "none": without.mesh}.items():
        drawn = MeshObject(mesh, id=name, normalise=False, repair=False).render(
            orbit_cameras([0.0], 30.0, size=64)
        )
        both = (drawn.mask[0] > 0.5) & (truth.mask[0] > 0.5)
        error[name] = (drawn.rgb[0] - truth.rgb[0]).abs().mean(0)[both].mean().item()
    assert error["given"] < error["none"]
    assert everywhere.texture["own pixels"] > 2 * found.texture["own pixels"]


def test_posed_pictures_are_all_given(found, weights, make_pipe):
    posed = ImageTo3D(
        weights=weights, synthesizer=None, extractor=make_pipe().field.extractor, texture=TEXTURE
    ).from_views(found.views)
    assert len(posed.texture["overlap"]) == len(found.views)
    assert posed.texture["own pixels"] > found.texture["own pixels"]
