from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.meshes import affine, box, chair, sphere

from one2345.array_cache import ArrayCache
from one2345.errors import InputError
from one2345.evaluation import Case, EvaluationProtocol, MeshTruth, OccupancyGrid, bounding_sphere
from one2345.evaluation.truth import area_of_samples
from one2345.geometry import Mesh

PROTOCOL = EvaluationProtocol(name="t", points=5000, occupancy=OccupancyGrid(resolutions=(32,)))


def test_truth_is_normalised_whatever_its_unit():
    small, large = (
        MeshTruth(chair().transformed(affine(scale=s, shift=(s, 0, 9))), id="c") for s in (1e-3, 1e3)
    )
    a, b = small.cloud(PROTOCOL), large.cloud(PROTOCOL)
    assert a.edge == pytest.approx(1.0)
    assert np.abs(a.centre).max() < 1e-9
    assert np.allclose(a.points, b.points, atol=1e-9)
    assert np.array_equal(small.occupancy(PROTOCOL)[32], large.occupancy(PROTOCOL)[32])
    doubled = small.cloud(replace(PROTOCOL, edge=2.0, occupancy=None))
    assert np.allclose(doubled.points, 2 * a.points)


def test_to_world_is_the_transform_of_the_file():
    mesh = chair().transformed(affine(scale=40, shift=(1, 2, 3)))
    truth = MeshTruth(mesh, id="c")
    assert np.allclose(mesh.transformed(truth.to_world).vertices, truth.item.mesh.vertices)


@pytest.mark.parametrize(
    ("mesh", "thickness"),
    [
        (sphere(3.0), 2 * (4 / 3 * 3**3) / (4 * 3**2) / 6),  # 2 r / 3 over 2 r
        (box([1.0, 1.0, 0.01]), 2 * 8 * 0.01 / (8 + 8 * 2 * 0.01) / 2),
    ],
)
def test_thickness(mesh, thickness):
    assert MeshTruth(mesh, id="x").thickness() == pytest.approx(thickness, rel=0.01)


def test_thickness_of_an_open_mesh_comes_from_a_grid():
    ball = sphere(1.0)
    opened = Mesh(ball.vertices, ball.faces[ball.triangles.mean(1)[:, 2] < 0.97])
    truth = MeshTruth(opened, id="x")
    assert truth.facts()["watertight"] is False
    assert truth.facts()["occupancy"] == "winding number"
    assert truth.thickness() == pytest.approx(1 / 3, rel=0.06)


def test_area_of_samples():
    for mesh in (sphere(0.4), box([0.4, 0.3, 0.05])):
        truth = MeshTruth(mesh, id="x")
        points = truth.cloud(replace(PROTOCOL, points=40_000, edge=0.8)).points
        assert area_of_samples(points) == pytest.approx(truth.item.mesh.areas().sum(), rel=0.08)


def test_what_was_computed_is_kept_by_content(tmp_path, monkeypatch):
    cache = ArrayCache(tmp_path / "c")

    def arrays(mesh, protocol=PROTOCOL, id="x"):
        truth = MeshTruth(mesh, id=id, cache=cache)
        return truth.cloud(protocol).points, truth.occupancy(protocol)[protocol.resolutions[0]]

    first = arrays(chair())
    files = sorted(p.name for p in (tmp_path / "c").iterdir())
    assert len(files) == 2
    with monkeypatch.context() as patch:
        for name in ("sample_surface", "occupy"):
            patch.setattr(f"one2345.evaluation.mesh_truth.{name}", _never)
        again = arrays(chair())
        # The scale of the file and of the protocol are no part of the content.
        arrays(
            chair(), replace(PROTOCOL, edge=2.0, occupancy=OccupancyGrid(resolutions=(32,), half_edge=1.2))
        )
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    bare = MeshTruth(chair(), id="x")
    assert np.array_equal(first[0], bare.cloud(PROTOCOL).points)
    for other in (
        lambda: arrays(chair(), replace(PROTOCOL, seed=1)),
        lambda: arrays(chair().transformed(np.diag([1.0, 1.0, 1.1, 1.0]))),
        lambda: arrays(chair(), id="y"),
    ):
        before = len(list((tmp_path / "c").iterdir()))
        assert not np.array_equal(other()[0], first[0])
        assert len(list((tmp_path / "c").iterdir())) > before


def _never(*args, **settings):
    raise AssertionError("computed again")


def test_a_damaged_file_of_the_cache_is_made_again(tmp_path, caplog):
    cache = ArrayCache(tmp_path)
    made = cache.get("0a", lambda: {"x": np.arange(5)})
    assert made["x"].tolist() == [0, 1, 2, 3, 4]
    (tmp_path / "0a.npz").write_bytes((tmp_path / "0a.npz").read_bytes()[:40])
    assert cache.get("0a", lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
    assert "damaged, made again" in caplog.text
    assert cache.get("0a", _never)["x"].tolist() == [0, 1, 2]


def test_a_cache_runs_no_code(tmp_path):
    bad = np.array([{"code": print}], dtype=object)
    np.savez(tmp_path / "0b.npz", x=bad)
    assert ArrayCache(tmp_path).get("0b", lambda: {"x": np.arange(2)})["x"].tolist() == [0, 1]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert ArrayCache(tmp_path / "file").get("0c", lambda: {"x": np.arange(2)})["x"].tolist() == [0, 1]
    assert "cannot keep" in caplog.text


def test_bounding_sphere():
    case = Case("x", lambda: MeshTruth(box([1.0, 0.5, 0.25]), id="x"))
    radius = np.linalg.norm(bounding_sphere(case).mesh.vertices, axis=1)
    expected = np.sqrt(1 + 0.25 + 0.0625) * 0.4
    assert radius == pytest.approx(expected, rel=0.01)


def test_a_truth_without_faces_is_an_error():
    with pytest.raises(InputError, match="x: the mesh has no"):
        MeshTruth(Mesh(np.zeros((3, 3)), np.zeros((0, 3), np.int64)), id="x")
    with pytest.raises((InputError, ValueError), match="no extent"):
        MeshTruth(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])), id="x")
