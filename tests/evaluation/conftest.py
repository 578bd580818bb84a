from dataclasses import replace

import numpy as np
import pytest
import torch

from one2345.geometry import Box, Mesh, evaluation_box, orbit_cameras
from one2345.meshing import extract
from one2345.objects import MeshObject
from one2345.views import PosedViews, Samples, object_folder, read_object, write_object


def peanut(p):
    """Two overlapping balls of different size along a slanted axis: no symmetry to hide behind."""
    a = (p - torch.tensor([-0.15, 0.03, -0.05])).norm(dim=-1) - 0.23
    b = (p - torch.tensor([0.2, -0.05, 0.1])).norm(dim=-1) - 0.18
    return torch.minimum(a, b)


def coloured(mesh: Mesh) -> Mesh:
    return replace(mesh, colours=np.clip(mesh.vertices * 0.9 + 0.5, 0, 1).astype(np.float32))


@pytest.fixture(scope="session")
def true_mesh():
    return coloured(extract(peanut, Box(), resolution=64))


@pytest.fixture(scope="session")
def records(true_mesh, tmp_path_factory):
    """Two prepared objects: the peanut, and the peanut turned over."""
    root = tmp_path_factory.mktemp("prepared")
    turn = np.diag([1.0, -1.0, -1.0, 1.0])
    for name, mesh in (("a,b=1 [ü]", true_mesh), ("turned", coloured(true_mesh.transformed(turn)))):
        item = MeshObject(mesh, id=name, normalise=False)
        cameras = orbit_cameras(
            [0, 90, 180, 270, 30, 120, 250, 40], [20, 20, 20, 20, -20, 50, 60, 15], size=64
        )
        seen = item.render(cameras)
        views = PosedViews(
            images=seen.rgb, masks=seen.mask, cameras=cameras, depth=seen.depth,
            names=tuple(f"v{i}" for i in range(8)), roles=("stage1",) * 6 + ("target",) * 2,
            parents=(None,) * 8,
        )  # fmt: skip
        surface = item.sample_surface(8000, seed=1)
        nodes = evaluation_box(32).nodes()
        samples = Samples(
            sdf_points=surface.points[:8], sdf_values=torch.zeros(8), surface_points=surface.points,
            surface_normals=surface.normals, surface_colours=surface.colours,
            occupancy={32: item.sdf(nodes) <= 0},
        )  # fmt: skip
        write_object(root, name, views=views, samples=samples)
    return [read_object(object_folder(root, name)) for name in ("a,b=1 [ü]", "turned")]
