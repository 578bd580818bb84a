"""What the published network does that nobody would write down as a method: one switch each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from one2345.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Quirks:
    """Behaviour of the released One-2-3-45 code, on or off. All are needed for its numbers, none for the method.

    leaking_views: a voxel takes features from views that don't see it: behind the camera, where the projection is
        mirrored, and up to a pixel outside the frame; its count leaves them out.
    integer_pixels: image position u lies in the middle of pixel u, not on its border (half a pixel apart).
    rounded_voxels: features are lifted at a grid of pitch 0.02105263, and looked up at one of 2/95.
    signed_variance: the variance over the views is not clamped at 0, and counts get 1e-5 added.
    absolute_gain: 2D norms multiply by |gamma| + 1e-5.
    odd_sites: coarse levels of the 3D network have a site beyond the far faces of the grid (49, 25, 13 of them for
        96 voxels), and none below the lowest finer one per axis.
    strict_border: the shape feature is zero on the near faces of the cube and lasts a voxel beyond the far ones.
    shifted_mask: ray samples look their voxel up half a voxel off at the rim (nearest, align_corners=False).
    free_first_samples: the coarse samples of a ray are placed without regard to the valid region.
    outside_is_sparse: samples outside the valid region count as empty ones in the mean of the sparsity loss.
    sphere_planes: rays run from 0.95 (|o| - 1) to 1.05 (|o| + 1), o their origin in the cube: from behind the camera
        in evaluation; in training |o| - 1 is at least 0.02.
    hidden_views_count: the smallest view weight of blending is taken over views that don't see the point too.
    counted_rays: a ray counts in the colour loss if more than 8 of its samples are seen by 2 views or more.
    unmasked_extraction: the surface is extracted where no view looks, too.
    """

    leaking_views: bool = False
    integer_pixels: bool = False
    rounded_voxels: bool = False
    signed_variance: bool = False
    absolute_gain: bool = False
    odd_sites: bool = False
    strict_border: bool = False
    shifted_mask: bool = False
    free_first_samples: bool = False
    outside_is_sparse: bool = False
    sphere_planes: bool = False
    hidden_views_count: bool = False
    counted_rays: bool = False
    unmasked_extraction: bool = False

    @staticmethod
    def of(published: bool, changed: Mapping[str, bool] | None = None) -> Quirks:
        """All of them or none, but for those that `changed` names. Raises InputError for a name that is none."""
        names = [field.name for field in fields(Quirks)]
        changed = dict(changed or {})
        unknown = sorted(set(changed) - set(names))
        if unknown:
            raise InputError(f"model.quirks: {unknown[0]!r} is none of {', '.join(names)}")
        return Quirks(**{name: bool(changed.get(name, published)) for name in names})
