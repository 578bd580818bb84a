"""Source views that err as a view-conditioned diffusion model (Zero123) errs, made from the true ones."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, grid_sample, interpolate

from one2345.errors import InputError
from one2345.geometry import Cameras
from one2345.seeding import Part

from .drift import (
    Amplitudes,
    Draw,
    angle_between,
    ball_depth,
    displace,
    growth,
    image_coordinates,
    lift,
    smooth,
)
from .fill import extend
from .lineage import Lineage, lineage

if TYPE_CHECKING:
    from one2345.views import ObjectRecord, PosedViews

_FIELD_CELLS = 32  # resolution at which drift is evaluated; it is smooth, so the rest is interpolation
_BLUR_CELLS = 64  # resolution of the low-passed colours


class SimulatedInputs:
    """Perturbs shape, pose and colour of a view, the more the further it is from the view it was made from.

    Every view but a near one is made from the input view (azimuth 0, the object's input elevation). A near
    view is made from its stage-1 view: from the true one with `chain=False` (training, as in the published
    training set, whose nearby views were predicted from renders), from the drifted one with `chain=True` (use
    of the whole pipeline: the near view shows the drifted object of its stage-1 view, in its colours, and
    drifts again). The draws of different views are independent, as samples of a diffusion model are.

    geometry, appearance: multiply the amplitudes below (0 and 0: the true views, bit for bit).
    rotation (degrees), stretch (log scale per camera axis), shift, warp (world units): drift of shape and
    pose. texture (fraction of the image width): extra motion of the colours. shade, tint: change of lightness
    and of each channel, in [0, 1]. lowpass: share of blurred colours, at most 1.
    These are standard deviations (lowpass: the value) for a view opposite to its origin; at the angle a they
    are multiplied by floor + (1 - floor) sin(a / 2). Defaults are calibrated: experiments/simulated_inputs.

    Pose errors are a reprojection by depth where the views carry it (smoothed, and extended over the
    background, so that silhouettes move with the surface), else by the depth of a ball about the centre.
    """

    wants_depth = True

    def __init__(
        self,
        *,
        chain: bool = False,
        geometry: float = 1.0,
        appearance: float = 1.0,
        rotation: float = 4.0,
        stretch: float = 0.04,
        shift: float = 0.0022,
        warp: float = 0.006,
        texture: float = 0.04,
        shade: float = 0.155,
        tint: float = 0.03,
        lowpass: float = 0.92,
        floor: float = 0.15,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "chain")}
        for name, value in given.items():
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"SimulatedInputs: {name}={value} must be a finite number >= 0")
        if floor > 1:
            raise InputError(f"SimulatedInputs: floor={floor} must be <= 1")
        self.chain = chain
        self.floor = floor
        self.lowpass = lowpass * appearance
        self.amplitudes = Amplitudes(
            rotation=rotation * geometry,
            stretch=stretch * geometry,
            shift=shift * geometry,
            warp=warp * geometry,
            texture=texture * appearance,
            shade=shade * appearance,
            tint=tint * appearance,
        )

    def __call__(
        self, record: ObjectRecord | None, sources: PosedViews, *, key: tuple[Part, ...]
    ) -> PosedViews:
        amplitudes = [getattr(self.amplitudes, f.name) for f in fields(self.amplitudes)]
        if not any(amplitudes) and self.lowpass == 0:
            return sources
        with torch.no_grad():
            images, masks = self._perturb(sources, lineage(record, sources), key)
        return replace(sources, images=images, masks=masks, depth=None, normals=None)

    def _perturb(
        self, sources: PosedViews, made_from: Lineage, key: tuple[Part, ...]
    ) -> tuple[Tensor, Tensor]:
        images, alpha = sources.images, sources.masks[:, None].clamp(0, 1)
        height, width = images.shape[-2:]
        cells = (min(_FIELD_CELLS, height), min(_FIELD_CELLS, width))
        low = sources.cameras.resized(cells)
        points = lift(_proxy_depth(sources, low), low)

        # One or two generations of drift: (cameras, draw, growth) of each, the oldest first.
        generations = []
        if self.chain and made_from.near.any():
            angle = angle_between(made_from.parents.centres, made_from.input_centre)
            grown = growth(angle, self.floor) * made_from.near
            generations.append((made_from.parents, Draw.named(made_from.parent_names, key), grown))
        angle = angle_between(sources.cameras.centres, made_from.origins)
        generations.append((sources.cameras, Draw.named(sources.names, key), growth(angle, self.floor)))

        moved = points
        texture = shade = points.new_zeros(())
        keep = points.new_ones(len(sources.cameras))
        for cameras, draw, grown in generations:
            at = image_coordinates(moved, cameras)
            size = grown[:, None, None]
            texture = texture + size * self.amplitudes.texture * 2 * smooth(draw.texture, at)
            tones = draw.shade[:, None] + smooth(draw.shade_field, at)
            shade = shade + size * (
                self.amplitudes.shade * tones[..., :1] + self.amplitudes.tint * tones[..., 1:]
            )
            keep = keep * (1 - self.lowpass * grown).clamp(0, 1)
            moved = displace(moved, cameras, draw, self.amplitudes, grown)

        flow = image_coordinates(moved, low) - image_coordinates(points, low)
        offset = _inverse(_as_maps(flow, cells))
        upsampled = interpolate(
            torch.cat([offset, _as_maps(texture, cells), _as_maps(shade, cells)], 1),
            (height, width),
            mode="bilinear",
        )
        colours = _low_passed(images, alpha, 1 - keep)
        here = _identity(height, width, images)
        grid = here + upsampled[:, :2].permute(0, 2, 3, 1)
        new_alpha = grid_sample(alpha, grid, padding_mode="border", align_corners=False)
        grid = grid + upsampled[:, 2:4].permute(0, 2, 3, 1)
        colours = grid_sample(colours, grid, padding_mode="border", align_corners=False)
        colours = (colours + upsampled[:, 4:]).clamp(0, 1)
        return torch.lerp(torch.ones_like(colours), colours, new_alpha), new_alpha[:, 0]


def _proxy_depth(sources: PosedViews, low: Cameras) -> Tensor:
    """(v, h, w) depth of the surface at the size of `low`, extended over the background."""
    ball = ball_depth(low)
    if sources.depth is None:
        return ball
    # Averages of exp(depth / scale) lean to the farthest: a silhouette moves with the rim behind it.
    centre, scale = ball.amax((1, 2), keepdim=True), 0.03
    known = (sources.depth > 0).to(sources.depth)
    far = torch.exp((sources.depth - centre).clamp(-1, 1) / scale) * known
    pooled, covered = adaptive_avg_pool2d(torch.stack([far, known], 1), low.size).split(1, 1)
    seen = (covered > 0).to(covered)
    depth = extend(pooled / covered.clamp_min(1e-6) * seen, seen)[:, 0]
    depth = torch.where(depth > 0, centre + scale * torch.log(depth.clamp_min(1e-30)), ball)
    return avg_pool2d(depth, 3, 1, 1, count_include_pad=False)  # without steps, so that the flow doesn't fold


def _low_passed(images: Tensor, alpha: Tensor, share: Tensor) -> Tensor:
    """Foreground colours (v, 3, h, w), extended over the background, blurred by `share` (v,) in [0, 1]."""
    height, width = images.shape[-2:]
    over_black = images - (1 - alpha)
    factor = max(1, min(height, width) // _BLUR_CELLS)
    pooled = avg_pool2d(torch.cat([over_black, alpha], 1), factor, ceil_mode=True)
    blurred = interpolate(extend(pooled[:, :3], pooled[:, 3:]), (height, width), mode="bilinear")
    sharp = torch.where(alpha > 1 / 16, over_black / alpha.clamp_min(1 / 16), blurred)
    return torch.lerp(sharp, blurred, share[:, None, None, None])


def _inverse(flow: Tensor) -> Tensor:
    """Offsets (v, 2, h, w) at which to read a picture so that it moves by the smooth `flow`.

    Both in image coordinates.
    """
    height, width = flow.shape[-2:]
    here = _identity(height, width, flow)
    offset = -flow
    for _ in range(3):
        there = here + offset.permute(0, 2, 3, 1)
        offset = -grid_sample(flow, there, padding_mode="border", align_corners=False)
    return offset


def _identity(height: int, width: int, like: Tensor) -> Tensor:
    """(h, w, 2) image coordinates in [-1, 1] of the pixel centres."""
    y = (torch.arange(height).to(like) + 0.5) / height * 2 - 1
    x = (torch.arange(width).to(like) + 0.5) / width * 2 - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _as_maps(values: Tensor, size: tuple[int, int]) -> Tensor:
    """(v, h*w, c) to (v, c, h, w)."""
    return values.mT.reshape(values.shape[0], -1, *size)
