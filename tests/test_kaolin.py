"""kaolin as a back end against the default path: a fake with its signatures always, the real one where installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from tests import fake_kaolin
from tests.meshing.fields import box as box_field
from tests.meshing.fields import sphere, torus

from one2345 import kaolin
from one2345.errors import InputError
from one2345.evaluation.metrics import chamfer, cloud_distances, fscore, volume_iou
from one2345.geometry import Box, Cameras, evaluation_box, orbit_cameras, project
from one2345.kaolin import library
from one2345.meshing import extract
from one2345.objects.mesh_object import occupancy


@pytest.fixture(autouse=True)
def _forget():
    """What was found out about one kaolin says nothing about the next."""
    for function in (library.status, library._has_kernels):
        function.cache_clear()
    yield
    for function in (library.status, library._has_kernels):
        function.cache_clear()


@pytest.fixture(params=["fake", "real"])
def back_end(request, monkeypatch):
    """Device for the point metrics; the rest runs on the CPU with either."""
    if request.param == "fake":
        fake_kaolin.install(monkeypatch)
        return "cpu"
    found = kaolin.status()
    if not found.usable:
        pytest.skip(str(found.problem).partition(":")[0])
    return "cuda"


@pytest.fixture
def point_device(back_end):
    if back_end == "cuda" and not kaolin.available("cuda"):
        pytest.skip(
            "kaolin's point metrics run on CUDA only, and there is no device or kaolin was built without"
        )
    return back_end


@pytest.fixture
def clouds():
    """A noisy ellipsoid against a sphere, sizes unequal, away from the origin."""
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(1501, 3)), generator.normal(size=(1203, 3))
    a, b = (0.4 * x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return a * [1.1, 0.9, 1.0] + generator.normal(size=a.shape) * 0.01 + 5, b + 5


def test_chamfer_and_fscore_are_those_of_the_default_path(point_device, clouds):
    thresholds = (0.01, 0.02, 0.05)
    ours = cloud_distances(*clouds, unit=0.8)
    theirs = kaolin.chamfer_and_fscore(*clouds, thresholds, unit=0.8, device=point_device)
    assert (theirs.chamfer, theirs.chamfer_squared) == pytest.approx(chamfer(ours), abs=1e-7)
    assert theirs.fscores == pytest.approx(fscore(ours, thresholds), abs=1e-3)
    assert 0.01 < theirs.chamfer < 0.1 and 0.1 < theirs.fscores[1] < 0.9


def test_distances_are_exact_and_of_the_right_pairs(point_device, clouds):
    ours = cloud_distances(*clouds)
    distance, index = kaolin.nearest(clouds[1], clouds[0], device=point_device)
    assert distance == pytest.approx(ours.accuracy, abs=1e-7)
    assert distance == pytest.approx(np.linalg.norm(clouds[0] - clouds[1][index], axis=1), abs=0)


def test_our_convention_against_the_librarys_own_functions(point_device, clouds):
    """Its Chamfer is the sum of mean squared distances, twice ours; its F-score ours."""
    library_own = kaolin.require().metrics.pointcloud
    p, t = (torch.from_numpy((c - 5).astype(np.float32))[None].to(point_device) for c in clouds)
    ours = kaolin.chamfer_and_fscore(*clouds, (0.02,), device=point_device)
    assert float(library_own.chamfer_distance(p, t)) == pytest.approx(2 * ours.chamfer_squared, rel=1e-5)
    assert float(library_own.f_score(t, p, radius=0.02)) == pytest.approx(ours.fscores[0], abs=1e-3)


def test_a_pair_by_hand(point_device):
    predicted, true = [[0.0, 0, 0], [3, 0, 0]], [[0.0, 4, 0]]
    scores = kaolin.chamfer_and_fscore(predicted, true, (4.0, 5.0), device=point_device)
    assert scores.chamfer == pytest.approx(((4 + 5) / 2 + 4) / 2)
    assert scores.chamfer_squared == pytest.approx(((16 + 25) / 2 + 16) / 2)
    assert scores.fscores == pytest.approx([2 * 0.5 / 1.5, 1.0])  # 4 itself counts
    nothing = kaolin.chamfer_and_fscore(predicted, true, (0.1,), device=point_device)
    assert nothing.fscores == (0.0,)


def test_points_that_are_no_points(point_device):
    with pytest.raises(ValueError, match=r"cloud have shape \(0, 3\)"):
        kaolin.nearest(np.zeros((0, 3)), np.zeros((1, 3)), device=point_device)
    with pytest.raises(ValueError, match="queries hold NaN"):
        kaolin.nearest(np.zeros((1, 3)), np.full((1, 3), np.nan), device=point_device)


def test_point_metrics_on_the_cpu_are_one_clear_error(monkeypatch, clouds):
    fake_kaolin.install(monkeypatch, cuda_only=True)
    with pytest.raises(InputError, match="CUDA only, not on cpu"):
        kaolin.nearest(*clouds, device="cpu")
    assert not kaolin.available("cpu")


def test_available_needs_a_device_a_library_and_its_kernels(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(library, "_has_kernels", lambda: True)
    fake_kaolin.install(monkeypatch)
    assert kaolin.available("cuda:0") and kaolin.available(torch.device("cuda"))
    assert not kaolin.available("cpu")
    monkeypatch.setattr(library, "_has_kernels", lambda: False)
    assert not kaolin.available("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not kaolin.available("cuda")


def test_a_build_without_kernels_is_seen(monkeypatch):
    """Its CUDA functions raise; zeros stand in for the device's."""
    fake_kaolin.install(monkeypatch, cuda_only=True)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, device=None: zeros(*size))
    assert not kaolin.library._has_kernels()


def test_voxel_iou(back_end):
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 16, 17, 18)) < 0.4
    assert kaolin.voxel_iou(a, b) == pytest.approx(volume_iou(a, b), abs=1e-6)
    assert 0.1 < kaolin.voxel_iou(a, b) < 0.5
    assert kaolin.voxel_iou(a, a) == 1
    assert kaolin.voxel_iou(a & False, a & False) == volume_iou(a & False, a & False) == 1
    with pytest.raises(ValueError, match="grids have shapes"):
        kaolin.voxel_iou(a, b[:8])


@pytest.mark.parametrize("field", [sphere, torus, box_field], ids=lambda f: f.__name__)
def test_check_sign_is_the_winding_number_away_from_the_surface(back_end, field):
    mesh = extract(field, Box(), resolution=32)
    offset = np.array([1.3e-3, -0.7e-3, 0.4e-3])  # no ray of a parity test along an edge of the mesh
    nodes = evaluation_box(18).nodes().reshape(-1, 3).double().numpy() + offset
    clear = np.abs(field(torch.from_numpy(nodes).float()).numpy()) > 5e-3
    inside = kaolin.check_sign(mesh, nodes)
    assert inside.dtype == bool and inside.shape == (len(nodes),)
    wrong = (inside != occupancy(mesh, nodes))[clear]
    assert wrong.mean() < 1e-3
    assert 5 < inside.sum() < len(nodes) / 2


@pytest.fixture
def cameras():
    """Three views, image not square, principal point off its centre, focal lengths unequal."""
    plain = orbit_cameras([10.0, 130.0, 250.0], [20.0, -30.0, 65.0], size=(48, 80))
    shift = torch.tensor([[1.0, 0, 3.25], [0, 1.0, -5.5], [0, 0, 1.0]])
    K = shift @ plain.K
    K[:, 1, 1] *= torch.tensor([1.0, 1.1, 1.2])
    return Cameras(K=K, c2w=plain.c2w, size=plain.size)


def test_cameras_go_there_and_back(back_end, cameras):
    back = kaolin.from_kaolin_camera(kaolin.to_kaolin_camera(cameras))
    assert back.size == (48, 80)
    assert torch.allclose(back.K, cameras.K, atol=1e-5)
    assert torch.allclose(back.c2w, cameras.c2w, atol=1e-5)
    one = kaolin.from_kaolin_camera(kaolin.to_kaolin_camera(cameras[1]))
    assert one.shape == (1,) and torch.allclose(one.c2w[0], cameras.c2w[1], atol=1e-5)


def test_a_point_falls_on_the_same_pixel(back_end, cameras):
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    pixels, depth = project(points, cameras)
    camera = kaolin.to_kaolin_camera(cameras)
    device = camera.transform(points)
    theirs = torch.stack([(device[..., 0] + 1) * 80 / 2, (1 - device[..., 1]) * 48 / 2], -1)
    assert torch.allclose(theirs, pixels, atol=1e-3)
    assert (pixels.std((0, 1)) > 5).all()
    assert torch.allclose(-camera.extrinsics.transform(points)[..., 2], depth, atol=1e-5)


def test_cameras_that_cannot_be_converted(monkeypatch, cameras):
    fake_kaolin.install(monkeypatch)
    K = cameras.K.clone()
    K[0, 0, 1] = 2.0
    with pytest.raises(InputError, match="skew"):
        kaolin.to_kaolin_camera(Cameras(K=K, c2w=cameras.c2w, size=cameras.size))
    with pytest.raises(InputError, match="lens is ortho"):
        kaolin.from_kaolin_camera(fake_kaolin.orthographic())


def test_flexicubes_numbers_the_grid_as_the_library_does(back_end):
    """The cubes that the adapter makes are those of construct_voxel_grid."""
    seen = {}
    own = kaolin.isosurface._extractor()

    class Spy(own):
        def __call__(self, vertices, values, cubes, resolution):
            seen.update(vertices=vertices, cubes=cubes, resolution=resolution)
            return super().__call__(vertices, values, cubes, resolution)

    kaolin.require().ops.conversions.FlexiCubes, kept = Spy, own
    try:
        kaolin.flexicubes(torch.linspace(-1, 1, 5)[:, None, None].expand(5, 4, 3).contiguous())
    finally:
        kaolin.require().ops.conversions.FlexiCubes = kept
    vertices, cubes = own(device="cpu").construct_voxel_grid([4, 3, 2])
    assert seen["resolution"] == [4, 3, 2]
    assert torch.equal(seen["cubes"], cubes)
    assert torch.allclose(seen["vertices"] / torch.tensor([4.0, 3.0, 2.0]) - 0.5, vertices, atol=2e-5)


def test_flexicubes_of_older_releases(monkeypatch):
    fake_kaolin.install(monkeypatch, flexicubes="non_commercial")
    vertices, _ = kaolin.flexicubes(torch.linspace(-1, 2, 5)[:, None, None].expand(5, 4, 3).contiguous())
    assert vertices[:, 0].tolist() == pytest.approx([4 / 3] * 6, abs=1e-5)
    library.status.cache_clear()
    fake_kaolin.install(monkeypatch, flexicubes=None)
    monkeypatch.delitem(sys.modules, "kaolin.non_commercial")
    with pytest.raises(InputError, match=r"no FlexiCubes, which came with 0\.15"):
        kaolin.flexicubes(torch.zeros(2, 2, 2))


# What is found in place of the library.


def test_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaolin", None)
    found = kaolin.status()
    assert not found.usable and found.problem.startswith("kaolin is not installed (it is optional): ")
    with pytest.raises(InputError, match="not installed") as caught:
        kaolin.voxel_iou([[[1]]], [[[1]]])
    assert str(caught.value) == found.problem and "\n" not in found.problem


PLACEHOLDER = 'raise ImportError("This is the kaolin placeholder wheel.")'


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (PLACEHOLDER, "PyPI's empty placeholder, not the library: pip uninstall -y kaolin; then "),
        ("", "has no kaolin.metrics: it is too old, an empty placeholder, or a folder of that name"),
        ("import torch_vision_of_sorts", "needs torch_vision_of_sorts, which is not installed: pip install "),
        (
            "raise ImportError('_C.so: undefined\\nsymbol: x')",
            "cannot be imported (_C.so: undefined symbol: x)",
        ),
    ],
    ids=["placeholder", "hollow", "dependency", "another torch"],
)
def test_something_else_by_that_name(monkeypatch, tmp_path, source, words):
    package = tmp_path / "kaolin"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    for name in [n for n in sys.modules if n == "kaolin" or n.startswith("kaolin.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(library, "_version", lambda: None)
    try:
        found = kaolin.status()
    finally:
        sys.modules.pop("kaolin", None)
    assert not found.usable
    assert words in found.problem and "\n" not in found.problem
    with pytest.raises(InputError, match="kaolin"):
        kaolin.require()


def test_the_placeholder_is_known_by_its_version_too(monkeypatch):
    monkeypatch.setattr(library, "_version", lambda: "0.1")
    assert "kaolin 0.1 that is installed is PyPI's empty placeholder" in library._problem(
        ImportError("sorry")
    )


INDEX = "https://nvidia-kaolin.s3.us-east-2.amazonaws.com"


@pytest.mark.parametrize(
    ("torch_version", "cuda", "starts", "has"),
    [
        ("2.8.0+cu128", "12.8", f"pip install kaolin==0.18.0 -f {INDEX}/torch-2.8.0_cu128.html", ""),
        ("2.7.1", None, f"pip install kaolin==0.18.0 -f {INDEX}/torch-2.7.1_cpu.html", ""),
        ("2.10.0+cu128", "12.8", "NVIDIA has no wheel of kaolin 0.18.0 for torch 2.10.0", "git+https"),
        ("2.12.1", None, "NVIDIA has no wheel of kaolin 0.18.0 for torch 2.12.1", "--no-build-isolation"),
        (
            "2.13.0+cu130",
            "13.0",
            "NVIDIA has no wheel",
            "torch 2.5.1 to 2.12.1; use an environment with torch 2.8.0",
        ),
        ("2.13.0+cu130", "13.0", "NVIDIA has no wheel", f"-f {INDEX}/torch-2.8.0_cu128.html"),
        ("2.13.0+cpu", None, "NVIDIA has no wheel", f"-f {INDEX}/torch-2.8.0_cpu.html"),
        (
            "2.14.0a0+git1",
            None,
            "NVIDIA has no wheel of kaolin 0.18.0 for torch 2.14.0a0",
            "use an environment",
        ),
    ],
)
def test_install_advice_fits_the_torch_at_hand(torch_version, cuda, starts, has):
    advice = kaolin.install_advice(torch_version, cuda)
    assert advice.startswith(starts) and has in advice
    assert f"{INDEX}/index.html" in advice


def test_install_advice_is_for_this_torch(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.6.0+cu124")
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    assert "torch-2.6.0_cu124.html" in kaolin.install_advice()
