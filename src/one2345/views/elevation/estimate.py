"""The elevation of a picture, from near views whose offsets to it are known.

After One-2-3-45 (Liu et al. 2023, arXiv 2306.16928, section 3.2): four views are made 10 degrees above, below and
to either side of the input view; where their cameras stand relative to each other depends on the elevation, so each
elevation is tried, and the one under which the pictures fit together best is taken. What differs here:

- Matches are compared with their epipolar lines rather than triangulated from one pair and reprojected into a third
  picture: every match counts by itself, none needs a partner in another pair.
- The published cost sums the errors of the links that exist, so that a candidate without links looks perfect. Here
  a match *supports* a candidate by at most its confidence, and a pair of pictures costs 1 / (1 + support / SATURATION):
  1 without any support, less the more there is. Taking matches away raises the cost of every candidate, or leaves
  it; a wrong match adds next to nothing anywhere, and a pair with thousands of matches doesn't outvote the others.
- The outlines of the two pictures are evidence too (`tangent_distance`), with the weight of some matches.
- The support is a mean of Cauchy kernels of several widths: sharp where the views are exact, and still a guide where
  they are a model's, which err by several pixels.
- Candidates reach from -20 to 85 degrees, coarse to fine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from one2345.errors import InputError
from one2345.geometry import RADIUS, Cameras, intrinsics, orbit

from .evidence import epipolar_distance, outline, tangent_distance
from .matching import Matcher, Matches, check_pictures, on_object, pairs

NEAR_OFFSETS: tuple[tuple[float, float], ...] = ((0.0, 10.0), (0.0, -10.0), (-10.0, 0.0), (10.0, 0.0))
"""(azimuth, elevation) in degrees of the near views of the published plan, in its order; elevation up."""

LOWEST, HIGHEST, COARSE, FINE = -20.0, 85.0, 0.5, 0.05
WIDTHS = (0.5, 1.0, 2.0, 4.0)  # of the kernels, in pixels of a picture of 256 px
SATURATION = 20.0  # support at which a pair's cost is one half
OUTLINE_WEIGHT = 5.0  # of each of the two tangents of a pair, in matches of full confidence
NEAR_BEST = 1.05  # candidates whose cost is at most this many times the best can't be told from it
UNDECIDED = 60.0  # degrees of such candidates, from which on the pictures are said to show no elevation
# Log-odds that an estimate is within 5 degrees, from the logarithms of its spread and of its range: a logistic fit on
# modelled objects (true and simulated near views) and analytic shapes; experiments/elevation: how it holds on scans.
CONFIDENCE = (5.70, -0.85, -1.29)


@dataclass(frozen=True)
class ElevationEstimate:
    """What near views say of the elevation of the picture that they were made from.

    degrees: None when nothing can be said, else the elevation up from the horizon. confidence: calibrated
    probability that it is within 5 degrees, 0 where degrees is None. reason: what this rests on, in words.
    spread: root mean square, in degrees, by which the estimate moves when one pair of pictures is left out.
    range: degrees of candidates that fit nearly as well. matches: how many joined the pictures.
    costs: (elevation, cost) of every coarse candidate; a cost lies in [0, 1].
    """

    degrees: float | None
    confidence: float
    reason: str
    spread: float
    range: float
    matches: int
    costs: tuple[tuple[float, float], ...]


def estimate_elevation(
    images: Tensor,
    masks: Tensor,
    *,
    matcher: Matcher,
    offsets: Sequence[tuple[float, float]] = NEAR_OFFSETS,
    K: Tensor | None = None,
    radius: float = RADIUS,
) -> ElevationEstimate:
    """The elevation of the input view of n near views.

    images: (n, 3, h, w) in [0, 1] on white. masks: (n, h, w) alpha. offsets: (azimuth, elevation) in degrees of
    each near view from the input view. K: (3, 3) or (n, 3, 3) intrinsics in pixels, default those of the plans.
    radius: of the orbit, in world units. The same input gives the same estimate. Raises InputError for pictures,
    masks, offsets or intrinsics whose shapes don't fit, and for offsets that all have one azimuth.
    """
    check_pictures(images, masks)
    _check_cameras(len(images), offsets, K)
    height, width = images.shape[-2:]
    images, masks = images.detach().cpu(), masks.detach().cpu()
    K = intrinsics((height, width)) if K is None else K.detach().cpu().float()
    K = K.expand(len(images), 3, 3)
    size = (height, width)
    empty = [i for i in range(len(images)) if not bool((masks[i] > 0.5).any())]
    if empty:
        return _nothing(f"near view {empty[0]} shows no object", ())
    matches = [m for m in matcher(images, masks) if offsets[m.first][0] != offsets[m.second][0]]
    found = [on_object(m, masks) for m in matches]
    _check_pairs(found, offsets)
    outlines = [outline(mask) for mask in masks]

    def costs(candidates: Tensor) -> Tensor:
        cameras = [
            Cameras(
                K=K[i].expand(len(candidates), 3, 3),
                c2w=orbit(torch.full_like(candidates, azimuth), candidates + elevation, radius),
                size=size,
            )
            for i, (azimuth, elevation) in enumerate(offsets)
        ]
        return torch.stack([pair_cost(m, outlines, cameras) for m in found])

    coarse = torch.arange(LOWEST, HIGHEST + COARSE / 2, COARSE, dtype=torch.float64)
    table = costs(coarse)
    total = table.mean(0)
    listed = tuple((round(float(e), 3), float(c)) for e, c in zip(coarse, total))
    best = int(total.argmin())
    around = float(coarse[best]) + torch.arange(-COARSE, COARSE + FINE / 2, FINE, dtype=torch.float64)
    around = around.clamp(LOWEST, HIGHEST)
    degrees = float(around[costs(around).mean(0).argmin()])
    without = coarse[(table.sum(0) - table).argmin(1)] if len(table) > 1 else coarse
    spread = float((without - coarse[best]).square().mean().sqrt())
    reach = COARSE * int((total <= NEAR_BEST * total[best]).sum())
    count = sum(len(m) for m in found)
    if reach >= UNDECIDED:
        return _nothing(
            f"the views fit together at any of {reach:.0f} degrees of elevation alike ({count} matches): the object "
            "is too symmetric or too plain",
            listed,
            spread=spread,
            range=reach,
            matches=count,
        )
    confidence = _confidence(spread, reach)
    return ElevationEstimate(degrees, confidence, _reason(count, spread, reach), spread, reach, count, listed)


def pair_cost(matches: Matches, outlines: Sequence[Tensor], cameras: Sequence[Cameras]) -> Tensor:
    """(c,) cost in [0, 1] of one pair of pictures for each of c candidates.

    outlines: of all n pictures. cameras: n, each (c), one per candidate. No matches and no outlines cost 1.
    """
    a, b = matches.first, matches.second
    unit = max(cameras[a].size) / 256
    weight = matches.confidence * 0.5 + 0.5 * (matches.confidence > 0)
    support = (_kernel(epipolar_distance(matches, cameras[a], cameras[b]) / unit) * weight).sum(-1)
    if len(outlines[a]) and len(outlines[b]):
        distance = tangent_distance(outlines[a], outlines[b], cameras[a], cameras[b])
        support = support + OUTLINE_WEIGHT * _kernel(distance / unit).sum(-1)
    return 1.0 / (1.0 + support / SATURATION)


def _kernel(distance: Tensor) -> Tensor:
    return torch.stack([1.0 / (1.0 + (distance / width).square()) for width in WIDTHS]).mean(0)


def _confidence(spread: float, reach: float) -> float:
    constant, of_spread, of_reach = CONFIDENCE
    odds = constant + of_spread * math.log(spread + 0.5) + of_reach * math.log(reach)
    return 1.0 / (1.0 + math.exp(-odds))


def _reason(count: int, spread: float, reach: float) -> str:
    said = f"{count} matches"
    if count < 30:
        said += " (few: the estimate rests on the outlines)"
    if spread > 5.0:
        said += f"; pairs of views disagree: without one of them it moves by {spread:.0f} degrees"
    if reach > 10.0:
        said += f"; {reach:.0f} degrees of elevation fit nearly as well"
    return said if spread > 5.0 or reach > 10.0 else f"{said}; pairs of views agree to {spread:.1f} degrees"


def _nothing(
    reason: str,
    costs: tuple[tuple[float, float], ...],
    *,
    spread: float = math.inf,
    range: float = HIGHEST - LOWEST,
    matches: int = 0,
) -> ElevationEstimate:
    return ElevationEstimate(None, 0.0, reason, spread, range, matches, costs)


def _check_cameras(count: int, offsets: Sequence[tuple[float, float]], K: Tensor | None) -> None:
    if len(offsets) != count:
        raise InputError(
            f"elevation: {count} near views with {len(offsets)} offsets; give one (azimuth, elevation) each"
        )
    if len({azimuth for azimuth, _ in offsets}) < 2:
        raise InputError(
            "elevation: all near views have the azimuth of each other, so they look the same from every elevation; "
            "give offsets to either side"
        )
    if K is not None and tuple(K.shape) not in ((3, 3), (count, 3, 3)):
        raise InputError(f"elevation: K has shape {tuple(K.shape)}, expected (3, 3) or ({count}, 3, 3)")


def _check_pairs(matches: Sequence[Matches], offsets: Sequence[tuple[float, float]]) -> None:
    expected = [(a, b) for a, b in pairs(len(offsets)) if offsets[a][0] != offsets[b][0]]
    if [(m.first, m.second) for m in matches] != expected:
        raise ValueError("a Matcher must answer every pair of pictures once, in the order of pairs(n)")
