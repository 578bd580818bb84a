"""Posed images to a field: features, cost volume, 3D network, SDF and colour heads in one module."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry import Box, Cameras, hull_evidence, mask_distance
from ..rendering import Variance
from .base import ReconstructionNetwork
from .blend_net import BlendNet
from .cost_volume import Lifting, lift_rows, sampling_grid
from .feature_maps import colour_maps
from .feature_net import FeatureNet
from .map_sampling import Sampling
from .sdf_net import SdfNet
from .view_blending import Sight, blend
from .volume_lookup import FeatureVolume
from .volume_net import VolumeNet


@dataclass(frozen=True)
class ReconstructedField:
    """Signed distance and colour of a batch of b objects anywhere in space; what rendering and meshing call.

    colour_maps: (b, v, 3 + f, h, w), RGB of the source views and the features that travel with it, one row of
    memory per pixel. colour_views: a point's colour is blended from at most so many views, None for all.
    """

    sdf_net: SdfNet
    blend_net: BlendNet
    volume: FeatureVolume
    colour_maps: Tensor
    cameras: Cameras
    colour_views: int | None = None

    @property
    def box(self) -> Box:
        return self.volume.box

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (b, p), world units, at world points (b, p, 3)."""
        return self.sdf_net(points, self.volume)

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distance (b, p) and its world gradient (b, p, 3)."""
        return self.sdf_net.sdf_and_gradient(points, self.volume)

    def prior(self, points: Tensor) -> Tensor:
        """Signed distance (b, p) that the network started from: the soft visual hull's."""
        return self.volume.lookup(points)[..., -1]

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Blended source colours (b, p, 3) at points (b, p, 3), and how many views see each point (b, p).

        directions (b, p, 3): unit vectors from the points to the viewer, or surface normals for a colour
        that depends on no viewer. No gradient flows to the points.
        """
        sights = self.sights(points, directions)
        seen = torch.stack([sight.visible.sum(0) for sight in sights])
        if self.colour_views is not None:
            sights = [sight.nearest(self.colour_views) for sight in sights]
        rgb = blend(self.blend_net, self.volume.lookup(points.detach()), self.colour_maps, sights, Sampling())
        return rgb, seen

    @torch.no_grad()
    def sights(self, points: Tensor, directions: Tensor) -> list[Sight]:
        """Where the sources of each object see its points (b, p, 3), with directions (b, p, 3)."""
        result = []
        for index, cameras in enumerate(self.cameras[i] for i in range(len(points))):
            grid, visible = sampling_grid(points[index], cameras)
            result.append(
                Sight(
                    points=points[index], directions=directions[index], centres=cameras.centres,
                    positions=grid, visible=visible,
                )
            )  # fmt: skip
        return result

    def surface_colour(self, points: Tensor, normals: Tensor) -> Tensor:
        """Colours (b, p, 3) of points of the mesh (b, p, 3) with unit normals (b, p, 3)."""
        return self.colour(points, normals)[0]

    def only(self, index: int) -> ReconstructedField:
        """The field of one object of the batch, as a batch of one."""
        return ReconstructedField(
            sdf_net=self.sdf_net,
            blend_net=self.blend_net,
            volume=FeatureVolume(values=self.volume.values[index : index + 1], box=self.box),
            colour_maps=self.colour_maps[index : index + 1],
            cameras=self.cameras[index : index + 1],
            colour_views=self.colour_views,
        )


class Reconstructor(ReconstructionNetwork):
    """The reconstruction network `sdf_base`, after One-2-3-45 (arXiv 2306.16928, section 3.3).

    Images with their masks go through one 2D network; its middle level is lifted into a tight box as mean
    and variance over the views, beside the soft visual hull's signed distance, the mean mask and the
    share of views that see a voxel; a 3D U-Net turns that into shape features. The SDF starts at the
    hull and learns a residual; colours are blended from the source views.

    variance: the learned sharpness with which the surface is rendered.
    hull_tolerance: fraction of the views that may disagree with a point of the hull.
    hull_range: world distance from the hull up to which voxels are lifted, the others stay empty; the hull's
    field is clipped there as an input of the 3D network.
    colour_views: views that a point's colour is blended from, those that see it from closest to where it is viewed;
    None takes all that see it.
    """

    def __init__(
        self,
        *,
        resolution: int,
        half_edge: float = 0.5,
        feature_net: FeatureNet,
        volume_net: VolumeNet,
        sdf_net: SdfNet,
        blend_net: BlendNet,
        variance: Variance | None = None,
        hull_tolerance: float = 0.0,
        hull_range: float = 0.1,
        colour_views: int | None = None,
    ) -> None:
        super().__init__()
        self.box = Box(half_edge=half_edge, resolution=resolution)
        self.feature_net = feature_net
        self.volume_net = volume_net
        self.sdf_net = sdf_net
        self.blend_net = blend_net
        self.variance = variance or Variance()
        self.hull_tolerance = hull_tolerance
        self.hull_range = hull_range
        if colour_views is not None and colour_views < 1:
            raise ValueError(f"colour_views={colour_views}: a colour needs a view; null takes all")
        self.colour_views = colour_views

    def forward(
        self,
        images: Tensor,
        masks: Tensor,
        cameras: Cameras,
        *,
        reference: Cameras | None = None,
        hull_tolerance: float | None = None,
    ) -> ReconstructedField:
        """images (b, v, 3, h, w) on white in [0, 1], masks (b, v, h, w), cameras (b, v) -> the field of b objects.

        hull_tolerance: in place of the network's own, for views that agree less than those it was trained on.
        reference: not used, the box is the world's.
        """
        tolerance = self.hull_tolerance if hull_tolerance is None else hull_tolerance
        batch, views = images.shape[:2]
        inputs = torch.cat([images, masks[:, :, None]], 2).flatten(0, 1)
        fine, middle, _ = self.feature_net(inputs.contiguous(memory_format=torch.channels_last))
        middle = middle.unflatten(0, (batch, views))
        maps = colour_maps(images.flatten(0, 1), fine).unflatten(0, (batch, views))

        volumes, hulls = [], []
        with torch.autocast(images.device.type, enabled=False):
            nodes = self.box.nodes().to(images)
            for index in range(batch):
                features = middle[index].to(images.dtype)
                volume, hull = self._cost_volume(features, masks[index], nodes, cameras[index], tolerance)
                volumes.append(volume)
                hulls.append(hull)
        latent = self.volume_net(torch.stack(volumes).permute(0, 4, 1, 2, 3))
        values = torch.cat(
            [latent.permute(0, 2, 3, 4, 1).to(images.dtype), torch.stack(hulls)[..., None]], -1
        )
        return ReconstructedField(
            sdf_net=self.sdf_net,
            blend_net=self.blend_net,
            volume=FeatureVolume(values=values, box=self.box),
            colour_maps=maps,
            cameras=cameras,
            colour_views=self.colour_views,
        )

    def _cost_volume(
        self, features: Tensor, masks: Tensor, nodes: Tensor, cameras: Cameras, tolerance: float
    ) -> tuple[Tensor, Tensor]:
        """One object's cost volume (n, n, n, c) and the hull's signed distance at its nodes (n, n, n)."""
        points = nodes.reshape(-1, 3)
        with torch.no_grad():
            hull, mask, count = hull_evidence(
                points, mask_distance(masks), masks, cameras, tolerance=tolerance
            )
            hull = hull.clamp(-2 * self.box.half_edge, 2 * self.box.half_edge)
            clipped = (hull / self.hull_range).clamp(-1, 1)
            evidence = torch.stack([mask, count / len(cameras), clipped], 1)
            near = hull < self.hull_range
            # A compiled graph has fixed shapes, so that there all voxels are lifted and most dropped.
            active = None if torch.compiler.is_compiling() else near.nonzero()[:, 0]
        rows, _ = lift_rows(features, points if active is None else points[active], cameras, Lifting())
        variance, mean = rows.chunk(2, 1)
        lifted = torch.cat([mean, variance, evidence if active is None else evidence[active]], 1)
        empty = torch.cat([torch.zeros_like(evidence[:, :-1]), clipped[:, None]], 1)
        volume = F.pad(empty, (lifted.shape[1] - empty.shape[1], 0))
        if active is None:
            volume = torch.where(near[:, None], lifted, volume)
        else:
            volume = volume.index_copy_(0, active, lifted)
        return volume.unflatten(0, nodes.shape[:3]), hull.reshape(nodes.shape[:3])
