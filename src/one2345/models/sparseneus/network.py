"""The reconstruction network of One-2-3-45 as it was released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from one2345.geometry import Box, Cameras
from one2345.rendering import PlacedField, Variance

from ..base import ReconstructionNetwork
from ..blend_net import BlendNet
from ..feature_maps import enlarge, fuse
from ..feature_net import FeatureNet
from ..layers import conv2d_unit
from ..norms import BatchNorm, Statistics
from ..sdf_net import SdfNet
from ..volume_lookup import FeatureVolume
from .field import CubeField
from .lifting import lift
from .quirks import Quirks
from .view_cube import view_cube
from .volume_net import SiteVolumeNet

FUSED = 56
SHAPE = 16


class SparseNeus(ReconstructionNetwork):
    """SparseNeuS (arXiv 2206.05737), first level of detail, with the sizes of One-2-3-45 (arXiv 2306.16928).

    Features of the sources, 56 channels at full resolution, are compressed to 16, lifted as variance and mean into a
    cube around everything the cameras see, in the frame of a reference camera, and regularised by a 3D network; a
    three-layer MLP gives the signed distance, and colours are blended from the sources by the same 56 channels.

    published_quirks: reproduce the released code rather than the method; `quirks` changes single ones by name, see
    `Quirks`. norm: the statistics of the norms in evaluation; released weights were only ever run on "batch".
    resolution: nodes per axis of the volume, a multiple of 8. near, far: z-depths, in world units, that the cube
    spans; cube_margin: what it is larger by.
    """

    def __init__(
        self,
        *,
        published_quirks: bool = False,
        quirks: Mapping[str, bool] | None = None,
        norm: Statistics = "batch",
        resolution: int = 96,
        near: float = 0.5,
        far: float = 1.8,
        cube_margin: float = 1.1,
    ) -> None:
        super().__init__()
        self.quirks = Quirks.of(published_quirks, quirks)
        self.near, self.far, self.cube_margin = near, far, cube_margin
        self.box = Box(half_edge=1.0, resolution=resolution, align_corners=True)
        self.feature_net = FeatureNet(in_channels=3, norm="batch")
        self.compress = conv2d_unit(FUSED, SHAPE, norm="batch")
        self.volume_net = SiteVolumeNet(in_channels=2 * SHAPE, odd_sites=self.quirks.odd_sites)
        self.sdf_net = SdfNet(
            latent_channels=SHAPE,
            hidden=128,
            octaves=6,
            activation="softplus",
            prior=False,
            outputs=128,
            weight_norm=True,
        )
        self.blend_net = BlendNet(
            geometry_channels=SHAPE,
            feature_channels=FUSED,
            count_hidden_views=self.quirks.hidden_views_count,
        )
        self.variance = Variance()
        for part in self.modules():
            if isinstance(part, BatchNorm):
                part.statistics = norm
        for part in (*self.feature_net.modules(), *self.compress.modules()):
            if isinstance(part, BatchNorm):
                part.absolute_gain = self.quirks.absolute_gain

    def forward(
        self,
        images: Tensor,
        masks: Tensor,
        cameras: Cameras,
        *,
        reference: Cameras | None = None,
        hull_tolerance: float | None = None,
        beside: Tensor | None = None,
    ) -> PlacedField:
        """images (b, v, 3, h, w) on white in [0, 1], cameras (b, v) -> the field of b objects in the world.

        reference: (b, 1) cameras that the cubes are aligned with, the input view's; None takes the first sources'.
        beside: (b, u, 3, h, w) more images for the statistics of the 2D features, which are not sources, as the view
        to be rendered in the released training. masks and hull_tolerance are not used. Statistics are of one object.
        """
        reference = cameras[:, :1] if reference is None else reference
        frame = view_cube(cameras, reference, near=self.near, far=self.far, margin=self.cube_margin)
        return PlacedField(self.in_cube(images, frame.cameras_to_local(cameras), beside=beside), frame)

    def in_cube(self, images: Tensor, cameras: Cameras, *, beside: Tensor | None = None) -> CubeField:
        """`forward` for cameras (b, v) that are in the cubes' frames already."""
        fields = [
            self._one(pictures, cameras[index], None if beside is None else beside[index])
            for index, pictures in enumerate(images)
        ]
        values, active, maps = (_together(parts) for parts in zip(*fields, strict=True))
        return CubeField(
            sdf_net=self.sdf_net,
            blend_net=self.blend_net,
            volume=FeatureVolume(values=values, box=self.box, strict=self.quirks.strict_border),
            active=active,
            colour_maps=maps,
            cameras=cameras,
            quirks=self.quirks,
            training=self.training,
        )

    def _one(self, images: Tensor, cameras: Cameras, beside: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Shape features (n, n, n, 16), active voxels and colour maps (v, 3 + 56, h, w) of one object."""
        convolution, *rest = self.compress
        assert isinstance(convolution, nn.Conv2d)
        maps, compressed = fuse(images, self.pyramid(images, beside), convolution.weight)
        for layer in rest:
            compressed = layer(compressed)
        with torch.autocast(images.device.type, enabled=False):
            volume, seen = self.cost_volume(compressed.to(images.dtype), cameras)
        shape = self.volume_net(volume, seen)
        return shape.permute(1, 2, 3, 0).to(images.dtype), seen, maps

    def pyramid(self, images: Tensor, beside: Tensor | None = None) -> list[Tensor]:
        """Features of images (v, 3, h, w), coarse to fine: (v, 32, h/4, w/4), (v, 16, h/2, w/2), (v, 8, h, w)."""
        together = images if beside is None else torch.cat([beside, images])
        levels = self.feature_net(together.contiguous(memory_format=torch.channels_last))
        return [level[len(together) - len(images) :] for level in reversed(levels)]

    def fused_features(self, images: Tensor, beside: Tensor | None = None) -> Tensor:
        """The pyramid at the images' resolution, coarse channels first: (v, 56, h, w)."""
        return enlarge(self.pyramid(images, beside), (images.shape[-2], images.shape[-1]))

    def cost_volume(self, features: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """Features (v, 16, h, w) lifted: (32, n, n, n), variance before mean, and which voxels are active."""
        n = self.box.resolution
        volume, count = lift(features, self.voxels(features.dtype).to(features), cameras, self.quirks)
        active = count > min(1, len(cameras) - 1)
        return volume.unflatten(1, (n, n, n)), active.reshape(n, n, n)

    def voxels(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Positions (n^3, 3) in the cube that features are lifted to, the last axis fastest."""
        n = self.box.resolution
        if not self.quirks.rounded_voxels:
            return self.box.nodes().reshape(-1, 3).to(dtype)
        axis = torch.arange(n, dtype=dtype) * round(2 / (n - 1), 8) - 1
        return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def _together(parts: Sequence[Tensor]) -> Tensor:
    """Stacked; without a copy, which 32 views feel, if there is one."""
    return parts[0][None] if len(parts) == 1 else torch.stack(list(parts))
