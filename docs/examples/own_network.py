"""A network of one's own: what training, evaluation and the pipeline ask of it, and nothing else.

It has no volume. At every point it looks the pictures up, and a small MLP corrects the visual hull's distance by what
their mean and variance say. `python train.py model=points` trains it like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from one2345.geometry import Box, Cameras, hull_sdf, mask_distance, project, sample_views
from one2345.models import ReconstructionNetwork
from one2345.rendering import Variance


@dataclass(frozen=True)
class PointField:
    """What `PointNetwork` makes of b objects. maps: (b, v, 4, h, w), colours and mask; outlines: (b, v, h, w)."""

    correction: Callable[[Tensor], Tensor]
    maps: Tensor
    outlines: Tensor
    cameras: Cameras
    box: Box

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (b, p), world units, at world points (b, p, 3)."""
        hulls = [hull_sdf(p, o, c) for p, o, c in zip(points, self.outlines, self.cameras, strict=True)]
        hull = torch.stack(hulls).clamp(-1, 1)
        looked_up = self._looked_up(points)
        told = torch.cat([looked_up.mean(1), looked_up.var(1), hull[..., None], points], -1)
        return hull + self.correction(told)[..., 0]

    def sdf_and_gradient(self, points: Tensor, step: float = 2e-3) -> tuple[Tensor, Tensor]:
        """The distance and its gradient (b, p, 3), by central differences: any way that trains will do."""
        offsets = step * torch.eye(3, device=points.device)
        slopes = [(self.sdf(points + o) - self.sdf(points - o)) / (2 * step) for o in offsets]
        return self.sdf(points), torch.stack(slopes, -1)

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean colour (b, p, 3) of the views whose mask holds the point, and how many those are (b, p)."""
        looked_up = self._looked_up(points)
        rgb, mask = looked_up[..., :3], looked_up[..., 3:]
        return (rgb * mask).sum(1) / mask.sum(1).clamp_min(1e-3), (mask[..., 0] > 0.5).sum(1)

    def surface_colour(self, points: Tensor, normals: Tensor) -> Tensor:
        """Colours (b, p, 3) of points of the mesh."""
        return self.colour(points, normals)[0].clamp(0, 1)

    def only(self, index: int) -> PointField:
        """The field of one object, as a batch of one."""
        one = slice(index, index + 1)
        return PointField(self.correction, self.maps[one], self.outlines[one], self.cameras[one], self.box)

    def _looked_up(self, points: Tensor) -> Tensor:
        """(b, v, p, 4): what every view shows where it sees the points."""
        found = []
        for index in range(len(points)):
            cameras = self.cameras[index]
            pixels, _ = project(points[index].expand(len(cameras), -1, -1), cameras)
            found.append(sample_views(self.maps[index], pixels).transpose(1, 2))
        return torch.stack(found)


class PointNetwork(ReconstructionNetwork):
    """hidden: width of the MLP. Its last layer starts at zero, so that the untrained field is the hull."""

    def __init__(self, *, hidden: int = 32, half_edge: float = 0.5) -> None:
        super().__init__()
        self.box = Box(half_edge=half_edge)
        self.correction = nn.Sequential(
            nn.Linear(12, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1)
        )
        nn.init.zeros_(self.correction[-1].weight)
        nn.init.zeros_(self.correction[-1].bias)
        self.variance = Variance(init=0.4)  # the sharpness with which training renders its surfaces

    def forward(
        self,
        images: Tensor,
        masks: Tensor,
        cameras: Cameras,
        *,
        reference: Cameras | None = None,
        hull_tolerance: float | None = None,
    ) -> PointField:
        """images (b, v, 3, h, w), masks (b, v, h, w), cameras (b, v) -> the field of b objects."""
        outlines = torch.stack([mask_distance(m) for m in masks])
        return PointField(
            self.correction, torch.cat([images, masks[:, :, None]], 2), outlines, cameras, self.box
        )
