"""The elevation of the input picture, from the near views of it."""

from .classical import ClassicalMatcher
from .estimate import NEAR_OFFSETS, ElevationEstimate, estimate_elevation
from .estimator import ElevationEstimator
from .loftr import LoftrMatcher
from .matching import Matcher, Matches, pairs

__all__ = [
    "NEAR_OFFSETS",
    "ClassicalMatcher",
    "ElevationEstimate",
    "ElevationEstimator",
    "LoftrMatcher",
    "Matcher",
    "Matches",
    "estimate_elevation",
    "pairs",
]
