"""Which elevation the pipeline goes on with: the estimate, or the prior where it can't be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from one2345.errors import InputError
from one2345.geometry import RADIUS

from .estimate import NEAR_OFFSETS, ElevationEstimate, estimate_elevation
from .matching import Matcher


@dataclass(frozen=True)
class ElevationChoice:
    """degrees: the elevation to use. estimated: False where it is the prior. message: why, in one line."""

    degrees: float
    estimated: bool
    message: str
    estimate: ElevationEstimate


class ElevationEstimator:
    """Estimates the elevation, and says so where its prior must stand in.

    matcher: finds the same points in two pictures. threshold: confidence in [0, 1] below which the prior is used.
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

    def __call__(
        self,
        images: Tensor,
        masks: Tensor,
        *,
        offsets: Sequence[tuple[float, float]] = NEAR_OFFSETS,
        K: Tensor | None = None,
        radius: float = RADIUS,
    ) -> ElevationChoice:
        """The elevation to use for near views images (n, 3, h, w), masks (n, h, w); see `estimate_elevation`."""
        found = self.estimate(images, masks, offsets=offsets, K=K, radius=radius)
        if found.degrees is not None and found.confidence >= self.threshold:
            said = f"elevation {found.degrees:.1f} degrees, confidence {found.confidence:.2f}: {found.reason}"
            return ElevationChoice(found.degrees, True, said, found)
        guess = (
            "no estimate"
            if found.degrees is None
            else f"the estimate of {found.degrees:.1f} degrees is not used"
        )
        said = (
            f"elevation {self.prior:.1f} degrees is the prior: {guess} (confidence {found.confidence:.2f}, threshold "
            f"{self.threshold:.2f}): {found.reason}; elevation=DEGREES sets it"
        )
        return ElevationChoice(self.prior, False, said, found)
