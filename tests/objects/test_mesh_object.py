"""Mesh objects against closed forms: distance, occupancy, pictures, samples, cavities, verdict on labels."""

import copy
import importlib.util
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from one2345.errors import InputError
from one2345.geometry import Mesh, camera_rays, evaluation_box, orbit_cameras
from one2345.objects import MeshObject, MeshWarning, Object3D, occupancy, report
from one2345.objects.cpu_backend import CpuBackend
from one2345.objects.topology import oriented

HALF = np.array([0.4, 0.25, 0.15])  # a box in world units, longest edge 0.8


def as_mesh(solid: trimesh.Trimesh, **extra) -> Mesh:
    return Mesh(np.asarray(solid.vertices, float), np.asarray(solid.faces, np.int64), **extra)


def box(half=HALF, centre=(0, 0, 0)) -> trimesh.Trimesh:
    solid = trimesh.creation.box(extents=2 * np.asarray(half))
    solid.apply_translation(centre)
    return solid


def sphere(radius=0.4, subdivisions=4) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)


def together(*solids: trimesh.Trimesh) -> Mesh:
    offsets = np.cumsum([0] + [len(s.vertices) for s in solids[:-1]])
    return Mesh(
        np.concatenate([s.vertices for s in solids]),
        np.concatenate([s.faces + o for s, o in zip(solids, offsets, strict=True)]),
    )


def quiet(mesh: Mesh, **options) -> MeshObject:
    """The object, with any warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return MeshObject(mesh, id="test", **options)


def box_sdf(points: np.ndarray, half=HALF) -> np.ndarray:
    q = np.abs(points) - half
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)


def cube_points(n: int, seed=0, edge=1.2) -> torch.Tensor:
    return (torch.rand(n, 3, generator=torch.Generator().manual_seed(seed)) - 0.5) * edge


# --- distance and occupancy -----------------------------------------------------------------------


def test_is_an_object():
    assert isinstance(quiet(as_mesh(box())), Object3D)


def test_sdf_of_a_box():
    points = cube_points(4000).reshape(40, 100, 3)
    found = quiet(as_mesh(box())).sdf(points)
    assert found.shape == (40, 100)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, box_sdf(points.numpy()), atol=1e-6)


def test_sdf_of_a_sphere():
    points = cube_points(4000)
    # A polyhedron inscribed in the sphere: the gap is the sagitta of its longest edge.
    solid = sphere()
    gap = 0.4 - math.sqrt(0.4**2 - (solid.edges_unique_length.max() / math.sqrt(3)) ** 2)
    difference = quiet(as_mesh(solid), normalise=False).sdf(points).numpy() - (
        points.norm(dim=-1).numpy() - 0.4
    )
    assert difference.min() > -1e-6
    assert difference.max() < gap + 1e-6


def test_occupancy_grid_of_a_box():
    mesh = as_mesh(box())
    nodes = evaluation_box(64).nodes().reshape(-1, 3).numpy()
    np.testing.assert_array_equal(occupancy(mesh, nodes), box_sdf(nodes) < 0)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.floats(0.05, 3)] * 3),
    st.tuples(*[st.floats(-50, 50)] * 3),
    st.integers(0, 2**31 - 1),
)
def test_normalisation(extents, centre, seed):
    solid = box(np.array(extents) / 2, centre)
    made = quiet(as_mesh(solid))
    lower, upper = made.mesh.bounds
    np.testing.assert_allclose(lower + upper, 0, atol=1e-12)
    assert (upper - lower).max() == pytest.approx(0.8, abs=1e-12)
    half = np.array(extents) / max(extents) * 0.4
    points = cube_points(200, seed)
    np.testing.assert_allclose(made.sdf(points), box_sdf(points.numpy(), half), atol=1e-6)


def test_unused_vertices_do_not_count():
    solid = as_mesh(box())
    mesh = Mesh(np.concatenate([solid.vertices, [[9.0, 9, 9]]]), solid.faces)
    np.testing.assert_allclose(quiet(mesh).mesh.bounds, [-HALF, HALF], atol=1e-12)


# --- orientation, cavities, verdict ---------------------------------------------------------------


def test_clean_mesh_is_exact():
    found = report(as_mesh(sphere(subdivisions=2)))
    assert found.closed
    assert found.consistent
    assert (found.components, found.dropped_enclosed, found.turned_faces) == (1, 0, 0)
    assert (found.open_edge_fraction, found.doubtful, found.faces) == (0.0, 0.0, 320)
    assert found.label_quality == "exact"
    assert found.reasons == ()


@pytest.mark.parametrize("inner_faces_inwards", [True, False])
def test_sealed_cavity_is_inside(inner_faces_inwards):
    hollow = sphere(0.2, 2)
    if inner_faces_inwards:
        hollow.invert()
    made = quiet(together(sphere(0.4, 3), hollow, box([0.02] * 3)))
    assert made.report.dropped_enclosed == 2
    assert made.report.components == 1
    assert made.sdf(torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.3, 0, 0], [0.5, 0, 0]])).sign().tolist() == [
        -1,
        -1,
        -1,
        1,
    ]
    # The depth of the centre is the distance to the outer surface, not to the cavity's.
    assert made.sdf(torch.zeros(3)).item() == pytest.approx(-0.4, abs=0.01)
    assert (made.sample_surface(2000, seed=0).points.norm(dim=-1) > 0.38).all()


def test_cavity_with_a_way_out_is_outside():
    # A cup: light enters from above.
    outer, inner = box([0.4, 0.4, 0.4]), box([0.3, 0.3, 0.4], [0, 0, 0.1])
    cup = (
        trimesh.boolean.difference([outer, inner])
        if importlib.util.find_spec("manifold3d")
        else cup_by_hand()
    )
    made = quiet(as_mesh(cup))
    assert made.report.dropped_enclosed == 0
    assert made.sdf(torch.tensor([[0.0, 0.0, 0.1], [0.0, 0.0, -0.35]])).sign().tolist() == [1, -1]


def cup_by_hand() -> trimesh.Trimesh:
    """A closed cup with walls 0.1 thick, revolved about z."""
    profile = np.array([[0, -0.4], [0.4, -0.4], [0.4, 0.4], [0.3, 0.4], [0.3, -0.3], [0, -0.3]])
    return trimesh.creation.revolve(profile, sections=64)


def test_contents_of_an_open_box_stay():
    cube = box([0.4] * 3)
    opened = trimesh.Trimesh(cube.vertices, cube.faces[cube.face_normals[:, 2] < 0.5], process=False)
    with pytest.warns(MeshWarning, match="open"):
        made = MeshObject(together(opened, box([0.05] * 3)), id="tray")
    assert made.report.dropped_enclosed == 0
    assert not made.report.closed


def test_touching_and_overlapping_parts_are_a_union():
    made = quiet(
        together(box([0.2] * 3, [-0.2, 0, 0]), box([0.2] * 3, [0.2, 0, 0]), box([0.2] * 3, [0.1, 0, 0]))
    )
    points = cube_points(3000)
    want = box_sdf(points.numpy(), np.array([0.4, 0.2, 0.2])) < 0
    np.testing.assert_array_equal(made.sdf(points).numpy() < 0, want)


def test_coincident_copies_both_stay():
    found = report(together(sphere(0.4, 2), sphere(0.4, 2)))
    assert found.dropped_enclosed == 0


def test_inverted_mesh_is_turned():
    solid = box()
    solid.invert()
    made = quiet(as_mesh(solid))
    assert made.report.turned_faces == 12
    assert made.mesh.volume() > 0
    np.testing.assert_allclose(made.sdf(cube_points(200)), box_sdf(cube_points(200).numpy()), atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0.01, 0.99))
def test_faces_that_disagree_are_turned(seed, share):
    solid = as_mesh(sphere(subdivisions=2))
    flip = np.random.default_rng(seed).random(len(solid.faces)) < share
    muddled = Mesh(solid.vertices, np.where(flip[:, None], solid.faces[:, ::-1], solid.faces))
    made = quiet(muddled)
    assert made.report.label_quality == "exact"
    assert made.mesh.volume() == pytest.approx(solid.volume(), rel=1e-9)
    assert made.report.turned_faces == flip.sum()


def test_minority_of_an_open_sheet_is_turned():
    """A flat sheet has no volume that could tell its sides: most faces decide."""
    solid = as_mesh(sphere(subdivisions=3))
    faces = solid.faces[(solid.vertices[solid.faces][..., 2] > 0).all(-1)]
    flat = solid.vertices * [1, 1, 0]
    flip = np.random.default_rng(0).random(len(faces)) < 0.2
    flip[0] = True  # where a walk over the neighbours would start
    made, turned = oriented(Mesh(flat, np.where(flip[:, None], faces[:, ::-1], faces)))
    assert turned == flip.sum()
    assert (made.face_normals()[:, 2] > 0.999).all()


def test_seams_do_not_open_a_mesh():
    solid = box()
    split = Mesh(solid.vertices[solid.faces.reshape(-1)], np.arange(36).reshape(-1, 3))
    assert report(split).label_quality == "exact"


def test_small_hole_is_approximate_and_still_solid():
    solid = as_mesh(sphere())
    opened = Mesh(solid.vertices, solid.faces[3:])
    with pytest.warns(
        MeshWarning, match=r"test: signed distances are approximate: \d+ of \d+ edges are open"
    ):
        made = MeshObject(opened, id="test", normalise=False)
    assert not made.report.closed
    assert 0 < made.report.open_edge_fraction < 0.01
    points = cube_points(2000)
    away = (points.norm(dim=-1) - 0.4).abs() > 0.02
    want = points.norm(dim=-1) < 0.4
    assert torch.equal((made.sdf(points) < 0)[away], want[away])


@pytest.mark.parametrize("invert", [False, True])
def test_open_sheet_is_unreliable(invert):
    solid = as_mesh(sphere())
    upper = solid.faces[(solid.vertices[solid.faces][..., 2] > 0).all(-1)]
    with pytest.warns(MeshWarning, match="unreliable"):
        made = MeshObject(Mesh(solid.vertices, upper[:, ::-1] if invert else upper), id="shell")
    assert made.report.label_quality == "unreliable"
    assert made.report.doubtful > 0.1
    # The dome is turned outwards, and its winding number is one half on the disc that would close it.
    floor = made.mesh.bounds[0, 2]
    assert made.occupancy(np.array([[0, 0, floor - 0.03], [0, 0, floor + 0.03]])).tolist() == [False, True]


def test_sheet_with_two_sides_encloses_nothing():
    quad = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0.2], [0, 1, 0]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3], [2, 1, 0], [3, 2, 0]])
    found = report(Mesh(quad, faces))
    assert found.closed
    assert found.label_quality == "unreliable"
    assert "no volume" in " ".join(found.reasons)


def test_moebius_strip_is_told_apart():
    angle, n = np.linspace(0, 2 * np.pi, 61)[:-1], 60
    ring = []
    for w in (-0.3, 0.3):
        radius = 1 + w * np.cos(angle / 2)
        ring.append(np.stack([radius * np.cos(angle), radius * np.sin(angle), w * np.sin(angle / 2)], -1))
    i, j = np.arange(n), (np.arange(n) + 1) % n
    last = j == 0  # the strip closes with a half turn
    a, b = i, i + n
    c, d = np.where(last, j + n, j), np.where(last, j, j + n)
    faces = np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)])
    found = report(Mesh(np.concatenate(ring), faces))
    assert not found.consistent
    assert found.label_quality == "unreliable"
    assert any("disagree" in reason for reason in found.reasons)


def test_meshes_that_cannot_be_objects():
    with pytest.raises(InputError, match="no faces"):
        MeshObject(Mesh(np.zeros((3, 3)), np.zeros((0, 3))), id="none")
    with pytest.raises(InputError, match="extent"):
        MeshObject(Mesh(np.ones((3, 3)), np.array([[0, 1, 2]])), id="point")
    with pytest.raises(InputError, match="backend"):
        MeshObject(as_mesh(box()), id="box", backend="gpu")


# --- pictures -------------------------------------------------------------------------------------


def ray_box(origins: np.ndarray, directions: np.ndarray, half=HALF) -> tuple[np.ndarray, np.ndarray]:
    """Slab method: distance along the rays (inf for none) and outward normals."""
    with np.errstate(divide="ignore"):
        a, b = (-half - origins) / directions, (half - origins) / directions
    near, far = np.minimum(a, b), np.maximum(a, b)
    t = near.max(-1)
    axis = near.argmax(-1)
    normals = -np.sign(directions) * (np.arange(3) == axis[..., None])
    return np.where(t <= far.min(-1), t, np.inf), normals


def test_box_rendered_exactly():
    cameras = orbit_cameras(torch.arange(12) * 30.0 + 7, torch.linspace(-40, 75, 12), size=64)
    found = quiet(as_mesh(box())).render(cameras)
    rays = camera_rays(cameras)
    origins, directions = rays.origins.double().numpy(), rays.directions.double().numpy()
    t, normals = ray_box(origins, directions)
    hit = np.isfinite(t)
    z = np.where(hit, t, 0) * np.einsum("vhwi,vi->vhw", directions, cameras.forward.double().numpy())
    assert (hit != (found.mask.numpy() > 0)).mean() < 2e-4, "silhouettes agree but for rays along an edge"
    both = hit & (found.mask.numpy() > 0)
    np.testing.assert_allclose(found.depth.numpy()[both], z[both], atol=1e-5)
    agree = (np.moveaxis(found.normal.numpy(), 1, -1) * normals).sum(-1)[both]
    assert (agree > 0.999).mean() > 0.999
    assert (found.rgb.numpy().transpose(0, 2, 3, 1)[~(found.mask.numpy() > 0)] == 1).all()
    assert (found.depth.numpy()[found.mask.numpy() == 0] == 0).all()


def test_picture_of_distinguishable_axes():
    # Red towards +x, green towards +y, blue towards +z, in the world.
    arms = [
        box([0.2, 0.02, 0.02], [0.2, 0, 0]),
        box([0.02, 0.2, 0.02], [0, 0.2, 0]),
        box([0.02, 0.02, 0.2], [0, 0, 0.2]),
    ]
    mesh = together(*arms)
    colours = np.repeat(np.eye(3), 8, axis=0)
    made = quiet(Mesh(mesh.vertices, mesh.faces, colours=colours), normalise=False)

    def centroid(picture: torch.Tensor, channel: int) -> tuple[float, float]:
        others = picture.sum(0) - picture[channel]
        v, u = torch.nonzero((picture[channel] > 0.5) & (others < 0.3), as_tuple=True)
        return u.double().mean().item(), v.double().mean().item()

    front, right = made.render(orbit_cameras([0.0, 90.0], 0.0, size=65)).rgb
    assert centroid(front, 0)[0] > 37, "from the front (azimuth 0, at -y) +x is to the right"
    assert centroid(front, 2)[1] < 27, "+z is up"
    assert centroid(right, 1)[0] > 37, "from azimuth 90 (at +x) +y is to the right"
    assert centroid(right, 2)[1] < 27


def test_texture_is_upright_in_the_picture():
    texels = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)
    texture = np.kron(texels, np.ones((16, 16, 1), np.uint8))
    corners = np.array([[-0.4, 0, -0.4], [0.4, 0, -0.4], [0.4, 0, 0.4], [-0.4, 0, 0.4]])
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    mesh = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), uv=uv, texture=texture)
    with pytest.warns(MeshWarning):
        made = MeshObject(mesh, id="card")
    seen = made.render(orbit_cameras([0.0, 180.0], 0.0, size=64))
    np.testing.assert_allclose(seen.normal[:, 1, 32, 32], [-1, 1], atol=1e-6)  # a sheet has two outsides
    front, back = seen.rgb
    want = {(16, 16): [1, 0, 0], (16, 48): [0, 1, 0], (48, 16): [0, 0, 1], (48, 48): [1, 1, 0]}
    for (row, column), colour in want.items():
        np.testing.assert_allclose(front[:, row, column], colour, atol=1e-6)
        np.testing.assert_allclose(back[:, row, 64 - column], colour, atol=1e-6)


def test_normals_face_the_camera_and_point_outwards():
    made = quiet(as_mesh(sphere()))
    found = made.render(orbit_cameras([0.0, 200.0], [10.0, -60.0], size=48))
    cameras = orbit_cameras([0.0, 200.0], [10.0, -60.0], size=48)
    rays = camera_rays(cameras)
    seen = found.mask > 0
    t = found.depth / (rays.directions * cameras.forward[:, None, None]).sum(-1)
    points = rays.at(t)[seen]
    normals = found.normal.permute(0, 2, 3, 1)[seen]
    assert ((normals * torch.nn.functional.normalize(points, dim=-1)).sum(-1) > 0.99).all()
    assert ((normals * rays.directions[seen]).sum(-1) < 0.05).all()


def test_antialiased_edges_and_shading():
    mesh = as_mesh(sphere(), colours=np.zeros((len(sphere().vertices), 3)))
    cameras = orbit_cameras([0.0], 0.0, size=32)
    plain, fine = quiet(mesh).render(cameras), quiet(mesh, antialias=4).render(cameras)
    assert set(plain.mask.unique().tolist()) == {0.0, 1.0}
    assert 0.02 < ((fine.mask > 0) & (fine.mask < 1)).float().mean() < 0.2
    # Black on white: the colour is one minus the coverage.
    np.testing.assert_allclose(fine.rgb[0, 0], 1 - fine.mask[0], atol=1e-6)
    # The coverage is the exact area of the disc better than the centres' count.
    radius = 280 / 256 * 32 * 0.4 / math.sqrt(1.2**2 - 0.4**2)
    assert abs(fine.mask.sum().item() / (math.pi * radius**2) - 1) < 0.01
    torch.testing.assert_close(fine.depth, plain.depth)
    torch.testing.assert_close(fine.normal, plain.normal)
    white = as_mesh(sphere(), colours=np.ones((len(sphere().vertices), 3)))
    shaded = quiet(white, shading=0.5).render(cameras)
    inside = shaded.mask[0] > 0
    assert shaded.rgb[0, 0][inside].std() > 0.02
    assert (shaded.rgb[0, 0][~inside] == 1).all()


def test_watertight_mesh_leaks_no_ray():
    """Rays through a closed surface never slip between two faces."""
    made = quiet(as_mesh(sphere(subdivisions=5)), normalise=False)
    random = np.random.default_rng(0)
    target = (
        made.mesh.vertices[made.mesh.faces[random.integers(0, len(made.mesh.faces), 20000)]][:, :2].mean(1)
        * 0.999
    )
    origins = random.normal(size=(20000, 3))
    origins *= 1.2 / np.linalg.norm(origins, axis=-1, keepdims=True)
    directions = target - origins
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    assert (made.backend.cast(origins, directions).face >= 0).all()


def test_views_in_chunks_are_the_same(monkeypatch):
    made = quiet(as_mesh(box()))
    cameras = orbit_cameras([0.0, 40.0], 20.0, size=32)
    whole = made.render(cameras)
    monkeypatch.setattr("one2345.objects.mesh_object.RAY_CHUNK", 100)
    parts = made.render(cameras)
    for name in ("rgb", "depth", "mask", "normal"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))


# --- surface --------------------------------------------------------------------------------------


def test_samples_are_uniform_on_the_surface():
    made = quiet(as_mesh(box()))
    samples = made.sample_surface(40000, seed=3)
    np.testing.assert_allclose(box_sdf(samples.points.numpy()), 0, atol=1e-6)
    areas = np.array([HALF[1] * HALF[2], HALF[0] * HALF[2], HALF[0] * HALF[1]]) * 8
    share = samples.normals.abs().mean(0).numpy()
    np.testing.assert_allclose(share, areas / areas.sum(), atol=0.01)
    np.testing.assert_allclose(samples.normals.norm(dim=-1), 1, atol=1e-6)
    assert ((samples.points * samples.normals).sum(-1) > 0).all()
    top = samples.points[samples.normals[:, 2] > 0.5]
    np.testing.assert_allclose(top[:, :2].std(0), 2 * HALF[:2] / math.sqrt(12), rtol=0.02)


def test_samples_repeat_with_their_seed():
    made = quiet(as_mesh(box()))
    first, again, other = (made.sample_surface(100, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.points, other.points)


def test_colours_are_interpolated():
    mesh = as_mesh(box())
    colours = (mesh.vertices / HALF + 1) / 2
    made = quiet(Mesh(mesh.vertices, mesh.faces, colours=colours))
    samples = made.sample_surface(2000, seed=0)
    np.testing.assert_allclose(samples.colours, (samples.points.numpy() / HALF + 1) / 2, atol=1e-5)
    outside = samples.points + 0.01 * samples.normals
    np.testing.assert_allclose(made.colour(outside), samples.colours, atol=1e-5)


def test_texture_and_vertex_colours_multiply():
    mesh = as_mesh(box())
    texture, uv = np.full((2, 2, 3), 128, np.uint8), np.full((8, 2), 0.5)
    made = quiet(Mesh(mesh.vertices, mesh.faces, colours=np.full((8, 3), 0.5), uv=uv, texture=texture))
    np.testing.assert_allclose(made.colour(torch.zeros(1, 3)), [[64 / 255] * 3], atol=1e-6)


# --- back ends ------------------------------------------------------------------------------------


def test_backend_survives_pickling():
    made = quiet(as_mesh(box()))
    made.sdf(torch.zeros(1, 3))
    for twin in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        torch.testing.assert_close(twin.sdf(cube_points(50)), made.sdf(cube_points(50)))


def test_winding_numbers_against_exact_ones():
    igl = pytest.importorskip("igl")
    mesh = as_mesh(sphere(subdivisions=3))
    points = cube_points(500).double().numpy()
    backend = CpuBackend(mesh.vertices, mesh.faces)
    exact = igl.winding_number(mesh.vertices, mesh.faces, points)
    np.testing.assert_allclose(backend.winding(points), exact, atol=5e-3)


def test_warp_backend_asks_for_its_package():
    if importlib.util.find_spec("warp") is not None:
        pytest.skip("Warp is installed")
    with pytest.raises(InputError, match=r"one2345\[cuda\]"):
        MeshObject(as_mesh(box()), id="box", backend="warp")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_warp_agrees_with_embree_and_libigl(device):
    pytest.importorskip("warp", reason="Warp is not installed (extra 'cuda')")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from one2345.objects.warp_backend import WarpBackend

    hollow = together(sphere(0.4, 3), box([0.1, 0.1, 0.3], [0.3, 0, 0]))
    cpu, warp = (
        CpuBackend(hollow.vertices, hollow.faces),
        WarpBackend(hollow.vertices, hollow.faces, device=device),
    )
    points = cube_points(2000).double().numpy()
    np.testing.assert_allclose(warp.closest(points)[0], cpu.closest(points)[0], atol=1e-5)
    clear = cpu.closest(points)[0] > 1e-4
    np.testing.assert_array_equal(warp.inside(points)[clear], cpu.inside(points)[clear])
    rays = camera_rays(orbit_cameras([0.0, 130.0], 20.0, size=48))
    origins, directions = (x.reshape(-1, 3).double().numpy() for x in (rays.origins, rays.directions))
    a, b = cpu.cast(origins, directions), warp.cast(origins, directions)
    assert ((a.face >= 0) == (b.face >= 0)).mean() > 0.999
    both = (a.face >= 0) & (b.face >= 0)
    place = [np.einsum("pk,pki->pi", h.weights, hollow.triangles[h.face])[both] for h in (a, b)]
    assert np.linalg.norm(place[0] - place[1], axis=-1).mean() < 1e-4
