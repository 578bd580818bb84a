"""An estimate of the elevation with what to make of it: when to trust it, and what stands in else."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from one2345.errors import InputError
from one2345.geometry import RADIUS

from .estimate import NEAR_OFFSETS, ElevationEstimate, estimate_elevation
from .matching import Matcher


class ElevationEstimator:
    """Estimates the elevation with one matcher.

    matcher: finds the same points in two pictures. threshold: confidence in [0, 1] below which the prior stands in.
    prior: elevation in degrees. Raises InputError for values outside these.
    """

    def __init__(self, *, matcher: Matcher, threshold: float = 0.5, prior: float = 20.0) -> None:
        if not 0.0 <= threshold <= 1.0:
            raise InputError(f"ElevationEstimator: threshold={threshold} must lie in [0, 1]")
        if not (math.isfinite(prior) and -90.0 <= prior <= 90.0):
            raise InputError(f"ElevationEstimator: prior={prior} must lie in [-90, 90] degrees")
        self.matcher = matcher
        self.threshold = threshold
        self.prior = prior

    def estimate(
        self,
        images: Tensor,
        masks: Tensor,
        *,
        offsets: Sequence[tuple[float, float]] = NEAR_OFFSETS,
        K: Tensor | None = None,
        radius: float = RADIUS,
    ) -> ElevationEstimate:
        """As `estimate_elevation`, with this estimator's matcher."""
        return estimate_elevation(images, masks, matcher=self.matcher, offsets=offsets, K=K, radius=radius)

    def trusts(self, estimate: ElevationEstimate) -> bool:
        """Whether to go on with the estimate; else the prior stands in."""
        return estimate.degrees is not None and estimate.confidence >= self.threshold
