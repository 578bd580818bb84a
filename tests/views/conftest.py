"""Hand-made posed views of a disc, for tests that need no renderer."""

from __future__ import annotations

import pytest
import torch

from one2345.geometry import orbit_cameras
from one2345.views import PosedViews, Samples


def make_views(count: int = 3, size: int = 16, *, normals: bool = False) -> PosedViews:
    """`count` pictures of a disc with soft edge; the last view is a target, the second is near the first."""
    generator = torch.Generator().manual_seed(0)
    grid = torch.arange(size) + 0.5 - size / 2
    radius = (grid[:, None] ** 2 + grid[None] ** 2).sqrt()
    masks = (size / 3 - radius + 0.5).clamp(0, 1).expand(count, -1, -1).contiguous()
    colour = torch.rand(count, 3, size, size, generator=generator)
    depth = torch.where(masks > 0, 1.1 + 0.1 * torch.rand(count, size, size, generator=generator), 0.0)
    unit = torch.nn.functional.normalize(torch.randn(count, 3, size, size, generator=generator), dim=1)
    return PosedViews(
        images=colour * masks[:, None] + 1 - masks[:, None],
        masks=masks,
        cameras=orbit_cameras([40.0 * i for i in range(count)], [10.0] * count, size=size),
        names=tuple(f"v{i}" for i in range(count)),
        roles=("stage1", "near", *["target"] * count)[:count],
        parents=(None, 0, *[None] * count)[:count],
        depth=depth,
        normals=unit * (masks[:, None] > 0) if normals else None,
    )


def make_samples(n: int = 50, m: int = 20) -> Samples:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(n, 3, generator=generator) - 0.5
    surface = torch.nn.functional.normalize(torch.randn(m, 3, generator=generator), dim=-1)
    return Samples(
        sdf_points=points,
        sdf_values=points.norm(dim=-1) - 0.4,
        surface_points=0.4 * surface,
        surface_normals=surface,
        surface_colours=torch.rand(m, 3, generator=generator),
        occupancy={8: torch.rand(8, 8, 8, generator=generator) > 0.5},
    )


@pytest.fixture
def views() -> PosedViews:
    return make_views()


@pytest.fixture
def views_with_normals() -> PosedViews:
    return make_views(normals=True)


@pytest.fixture
def samples() -> Samples:
    return make_samples()
