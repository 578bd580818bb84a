"""Posed images to a field: features, cost volume, 3D network, SDF and colour heads in one module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..geometry import Box, Cameras, HullEvidence, hull_evidence, mask_distance, silhouette_gaps
from ..rendering import Variance
from .base import ReconstructionNetwork
from .blend_net import BlendNet, unit
from .cost_volume import Lifting, lift_rows
from .feature_maps import colour_maps
from .feature_net import FeatureNet
from .hull_prior import HullPrior
from .map_sampling import Sampling
from .row_conv import Voxels
from .sdf_net import SdfNet
from .view_blending import Sight, blend
from .volume_lookup import FeatureVolume
from .volume_net import VolumeNet

FIRST_HULL = 3.0
"""The logit of the strictest of several hulls before training: 0.87 of the vote among four."""


@dataclass(frozen=True)
class ReconstructedField:
    """Signed distance and colour of a batch of b objects anywhere in space; what rendering and meshing call.

    volume: with the visual hulls as its prior.
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
        """Signed distance (b, p) that the network started from: the visual hull's, by the views' vote."""
        return self.volume.features(points)[..., -1]

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Blended source colours (b, p, 3) at points (b, p, 3), and how many views see each point (b, p).

        directions (b, p, 3): unit vectors from the points to the viewer, or surface normals for a colour
        that depends on no viewer. No gradient flows to the points.
        """
        views = self.cameras.shape[1] if self.colour_views is None else self.colour_views
        found = [Sight.of(points[i], directions[i], self.cameras[i], views) for i in range(len(points))]
        shape = self.volume.features(points.detach())
        rgb = blend(self.blend_net, shape, self.colour_maps, [sight for sight, _ in found], Sampling())
        return rgb, torch.stack([seen for _, seen in found])

    def surface_colour(self, points: Tensor, normals: Tensor) -> Tensor:
        """Colours (b, p, 3) of points of the mesh (b, p, 3) with unit normals (b, p, 3)."""
        return self.colour(points, normals)[0]

    def only(self, index: int) -> ReconstructedField:
        """The field of one object of the batch, as a batch of one."""
        prior = cast(HullPrior, self.volume.prior).only(index)
        return ReconstructedField(
            sdf_net=self.sdf_net,
            blend_net=self.blend_net,
            volume=FeatureVolume(values=self.volume.values[index : index + 1], box=self.box, prior=prior),
            colour_maps=self.colour_maps[index : index + 1],
            cameras=self.cameras[index : index + 1],
            colour_views=self.colour_views,
        )


class Reconstructor(ReconstructionNetwork):
    """The reconstruction network `sdf_base`, after One-2-3-45 (arXiv 2306.16928, section 3.3).

    Images with their masks go through one 2D network; its middle level is lifted into a tight box as mean
    and variance over the views, beside the soft visual hull's signed distance, the mean mask and the
    share of views that see a voxel; a 3D U-Net turns that into shape features. The SDF starts at the
    hull, which is looked up in the silhouettes at every point and so knows no voxels, and learns a residual; colours
    are blended from the source views.

    Views that disagree carve away what is there, and how many do is known of no picture. So there may be several hulls,
    each with another share of the views overruled: the 3D network is given all of them and, at each voxel, says by
    which shares they are mixed.

    feature_net: with 4 input channels it is given the masks, with 3 the pictures alone.
    split_views: at each voxel the views that lie before it and those behind it, as the strictest hull's gradient tells,
    have a mean and a variance each (`lift_rows`), so that opposite sides of an object are not compared.
    coherence: a voxel also knows how far each hull is from filling the silhouettes that hold it, and all of them
    (`geometry.silhouette_gaps`): next to nothing where the views agree, so that a vote over them can be told from need.
    compressed: a layer of so many units takes all that is known of a voxel before the 3D network does; None: no layer.
    variance: the learned sharpness with which the surface is rendered.
    hull_tolerance: fraction of the views that may disagree with a point of the hull; several, ascending, for as many
    hulls, of which untrained weights nearly take the first.
    hull_range: world distance from the most tolerant hull up to which voxels are lifted, the others stay empty; the
    fields of the hulls are clipped there as inputs of the 3D network.
    feature_pixels: longer edge of the images that features are made from; larger ones are brought to it, so that a
    feature covers as much of the object as in training. Silhouettes and colours keep the size given. None: as given.
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
        split_views: bool = False,
        coherence: bool = False,
        compressed: int | None = None,
        variance: Variance | None = None,
        hull_tolerance: float | Sequence[float] = 0.0,
        hull_range: float = 0.1,
        feature_pixels: int | None = None,
        colour_views: int | None = None,
    ) -> None:
        super().__init__()
        self.box = Box(half_edge=half_edge, resolution=resolution)
        self.feature_net = feature_net
        self.volume_net = volume_net
        self.sdf_net = sdf_net
        self.blend_net = blend_net
        self.variance = variance or Variance()
        self.hull_tolerances = _tolerances(hull_tolerance)
        self.split_views = split_views
        self.coherence = coherence
        self.compress = None
        of_hulls = (3 if coherence else 1) * len(self.hull_tolerances)
        self._known = (4 if split_views else 2) * feature_net.out_channels[1] + 2 + of_hulls
        if volume_net.in_channels != (taken := compressed or self._known):
            raise ValueError(
                f"volume_net.in_channels={volume_net.in_channels}: it is given {taken} per voxel"
            )
        latent, features = volume_net.out_channels + 1, feature_net.out_channels[0]
        if (blend_net.geometry_channels, blend_net.feature_channels) != (latent, features):
            raise ValueError(
                f"blend_net: geometry_channels={blend_net.geometry_channels} and feature_channels="
                f"{blend_net.feature_channels}: it is given {latent} per point and {features} per view"
            )
        if compressed is not None:
            self.compress = nn.Sequential(nn.Linear(self._known, compressed), nn.SiLU())
        self.vote = None
        if (hulls := len(self.hull_tolerances)) > 1:
            self.vote = nn.Linear(volume_net.out_channels, hulls)
            nn.init.zeros_(self.vote.weight)
            nn.init.zeros_(self.vote.bias)
            nn.init.constant_(self.vote.bias[:1], FIRST_HULL)
        self.hull_range = hull_range
        self.feature_pixels = feature_pixels
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

        hull_tolerance: of the only hull, in place of the network's own.
        reference: not used, the box is the world's.
        """
        tolerances = self.hull_tolerances
        if hull_tolerance is not None:
            tolerances = (hull_tolerance,) * len(tolerances)
        fine, middle = self._features(images, masks)
        maps = colour_maps(images.flatten(0, 1), fine).unflatten(0, images.shape[:2])

        with torch.autocast(images.device.type, enabled=False):
            points = self.box.nodes().to(images).reshape(-1, 3)
            silhouettes = mask_distance(masks.flatten(0, 1)).unflatten(0, masks.shape[:2])
            hulls = HullPrior(silhouettes, cameras, tolerances, limit=2 * self.box.half_edge)
            found = [
                self._voxels(middle[index].to(images.dtype), masks[index], points, hulls.only(index))
                for index in range(len(images))
            ]
            cost = self._cost_volume([rows for rows, _ in found], [at for _, at in found])
        latent = self.volume_net(cost).permute(0, 2, 3, 4, 1)
        if self.vote is None:
            shares = images.new_ones(*latent.shape[:-1], 1)
        else:
            shares = self.vote(latent).to(images).softmax(-1)
        return ReconstructedField(
            sdf_net=self.sdf_net,
            blend_net=self.blend_net,
            volume=FeatureVolume(
                values=torch.cat([latent.to(shares), shares], -1), box=self.box, prior=hulls
            ),
            colour_maps=maps,
            cameras=cameras,
            colour_views=self.colour_views,
        )

    def _features(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Features of images (b, v, 3, h, w) and masks (b, v, h, w): fine (b v, f, h, w), middle (b, v, c, ...)."""
        inputs = torch.cat([images, masks[:, :, None]], 2)[:, :, : self.feature_net.in_channels].flatten(0, 1)
        size = inputs.shape[-2:]
        smaller = 1.0 if self.feature_pixels is None else min(1.0, self.feature_pixels / max(size))
        if smaller < 1:
            inputs = F.interpolate(inputs, [max(4, round(smaller * edge)) for edge in size], mode="area")
        fine, middle, _ = self.feature_net(inputs.contiguous(memory_format=torch.channels_last))
        if smaller < 1:
            fine = F.interpolate(fine, size, mode="bilinear", align_corners=False)
        return fine, middle.unflatten(0, images.shape[:2])

    def _voxels(
        self, features: Tensor, masks: Tensor, points: Tensor, prior: HullPrior
    ) -> tuple[Tensor, Tensor | None]:
        """One object's cost volume at nodes (p, 3).

        The volume is given by the voxels near the hull, their values (a, c) and flat indices (a); others are `_rest`.
        A compiled graph has fixed shapes, so that there all voxels are given, without indices.
        """
        cameras = prior.cameras[0]
        with torch.no_grad():
            found = hull_evidence(
                points, prior.silhouettes[0], masks, cameras, tolerances=prior.tolerances,
                limit=self.hull_range,
            )  # fmt: skip
            near = found.distances[:, -1] < self.hull_range
            at = None if torch.compiler.is_compiling() else near.nonzero()[:, 0]
            if at is not None:
                points, found = points[at], HullEvidence(*(part[at] for part in found))
            evidence = [torch.stack([found.mask, found.viewers / len(cameras)], 1)]
            if self.coherence:
                gaps = silhouette_gaps(points, found.distances, masks, cameras, self.box, far=self.hull_range)
                evidence += [gaps.local, gaps.overall.expand_as(gaps.local)]
            evidence.append((found.distances / self.hull_range).clamp(-1, 1))
            normals = unit(found.gradients.T).T if self.split_views else None
        rows, _ = lift_rows(features, points, cameras, Lifting(), normals=normals)
        lifted = [rows] if self.split_views else reversed(rows.chunk(2, 1))
        rows = torch.cat([*lifted, *evidence], 1)
        if self.compress is not None:
            rows = self.compress(rows)
        if at is None:
            rows = torch.where(near[:, None], rows, self._rest(rows))
        return rows, at

    def _cost_volume(self, rows: Sequence[Tensor], at: Sequence[Tensor | None]) -> Tensor | Voxels:
        """What `_voxels` has found of b objects, as the 3D network takes it."""
        n = self.box.resolution
        given = [one for one in at if one is not None]
        if not given:
            return torch.stack(list(rows)).unflatten(1, (n, n, n)).permute(0, 4, 1, 2, 3)
        voxels = Voxels(rows=rows, at=given, rest=self._rest(rows[0]), edge=n)
        return voxels if rows[0].device.type == "cpu" else voxels.dense()

    def _rest(self, like: Tensor) -> Tensor:
        """Values (c) of the voxels that lie beyond `hull_range` of all hulls: nothing but the hulls' clipped fields."""
        hulls = len(self.hull_tolerances)
        far = torch.cat([like.new_zeros(self._known - hulls), like.new_ones(hulls)])
        return far if self.compress is None else self.compress(far)


def _tolerances(given: float | Sequence[float]) -> tuple[float, ...]:
    found = tuple(given) if isinstance(given, Sequence) else (given,)
    if not found or list(found) != sorted(found) or not all(0 <= tolerance < 1 for tolerance in found):
        raise ValueError(f"hull_tolerance={given}: shares of the views, from 0 to below 1, ascending")
    return found
