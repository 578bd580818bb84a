"""How well pictures fit together if their cameras stood at given elevations: epipolar geometry, two ways.

Points: the distance of a match from its epipolar lines. Outlines: a plane through both camera centres that
touches the object touches its outline in both pictures (the frontier points of Rieger 1986, Cipolla and Giblin
2000), so the silhouettes of two pictures, seen from the line that joins the cameras, span the same angles. The
latter needs no texture, and holds for surfaces of revolution, where points slide.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from one2345.geometry import Cameras

from .matching import Matches


def fundamental(first: Cameras, second: Cameras) -> Tensor:
    """(c, 3, 3) float64 matrices F with x_second^T F x_first = 0, of c pairs of cameras (c)."""
    to_second = second.w2c.double() @ first.c2w.double()
    rotation, (x, y, z) = to_second[:, :3, :3], to_second[:, :3, 3].unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    inverse_first, inverse_second = (torch.linalg.inv(c.K.double()) for c in (first, second))
    return inverse_second.mT @ cross @ rotation @ inverse_first


def epipolar_distance(matches: Matches, first: Cameras, second: Cameras) -> Tensor:
    """(c, m) Sampson distance in pixels of m matches for each of c hypotheses (Hartley and Zisserman, eq. 11.9)."""
    a, b = (torch.cat([p, p.new_ones(len(p), 1)], -1) for p in (matches.points_first, matches.points_second))
    F = fundamental(first, second)
    line_second, line_first = a @ F.mT, b @ F
    algebraic = (line_second * b).sum(-1)
    slope = line_second[..., :2].square().sum(-1) + line_first[..., :2].square().sum(-1)
    return algebraic.abs() / slope.clamp_min(1e-24).sqrt()


def outline(mask: Tensor) -> Tensor:
    """(k, 2) corners (x, y) of the convex hull of the pixels above one half, pixel centres at +0.5; maybe none.

    Each lies where the mask, along its row or column, crosses one half.
    """
    filled = np.pad(mask.detach().cpu().double().numpy(), 1)
    points = []
    for transposed in (False, True):
        value = filled.T if transposed else filled
        row, column = np.nonzero((value[:, :-1] > 0.5) != (value[:, 1:] > 0.5))
        low, high = value[row, column], value[row, column + 1]
        along, across = column + (0.5 - low) / (high - low) - 0.5, row - 0.5
        points.append(np.stack([across, along] if transposed else [along, across], -1))
    found = np.concatenate(points)
    try:
        found = found[np.sort(ConvexHull(found).vertices)]
    except (QhullError, ValueError):  # no area, or nothing at all
        found = found[:0]
    return torch.from_numpy(found)


def tangent_distance(
    outline_first: Tensor, outline_second: Tensor, first: Cameras, second: Cameras
) -> Tensor:
    """(c, 2) how far apart, in pixels, the tangent planes of two outlines lie on either side of the object,

    for each of c hypotheses (cameras (c) each): the difference of the extreme angles of the planes through the
    line that joins the cameras, times the focal length.
    """
    centre_first, centre_second = first.centres.double(), second.centres.double()
    axis = torch.nn.functional.normalize(centre_second - centre_first, dim=-1)
    middle = -(centre_first + centre_second) / 2
    ahead = torch.nn.functional.normalize(middle - (middle * axis).sum(-1, keepdim=True) * axis, dim=-1)
    aside = torch.linalg.cross(axis, ahead)
    spans = []
    for points, cameras in ((outline_first, first), (outline_second, second)):
        homogeneous = torch.cat([points, points.new_ones(len(points), 1)], -1)
        rays = homogeneous @ (cameras.c2w[:, :3, :3].double() @ torch.linalg.inv(cameras.K.double())).mT
        angle = torch.atan2((rays * aside[:, None]).sum(-1), (rays * ahead[:, None]).sum(-1))
        spans.append(torch.stack([angle.amin(-1), angle.amax(-1)], -1))
    return (spans[0] - spans[1]).abs() * first.K[:, 0, 0].double()[:, None]
