"""Where the input camera stands: told, known to the synthesiser, estimated, or assumed and said so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from one2345.errors import InputError
from one2345.views.elevation import NEAR_OFFSETS, ElevationEstimator
from one2345.views.synthesis import ViewSynthesizer

from .stages import Stages
from .view_stage import PROBE, ViewStage

STAGE = "elevation"


@dataclass(frozen=True)
class InputElevation:
    """degrees: of the input camera above the horizon. source: `given` by the user, `known` to the synthesiser (a
    known object, saved views), `estimated` from near views, or the `prior` since no estimate could be trusted.
    confidence: of the estimate, in [0, 1]; None where there was none. reason: in words."""

    degrees: float
    source: Literal["given", "known", "estimated", "prior"]
    confidence: float | None = None
    estimate: float | None = None
    reason: str = ""

    @property
    def warning(self) -> str | None:
        """What the user should know of it."""
        if self.source != "prior":
            return None
        return (
            f"the elevation could not be estimated ({self.reason}); {self.degrees:g} degrees are assumed; "
            "elevation=DEGREES sets it"
        )


def input_elevation(
    given: float | Literal["estimate"] | None,
    *,
    synthesizer: ViewSynthesizer,
    estimator: ElevationEstimator,
    views: ViewStage,
    stages: Stages,
) -> InputElevation:
    """The elevation to lay out the plan with. given: degrees; `estimate` insists on an estimate even where the
    synthesiser knows it; None takes the synthesiser's, or estimates.

    Raises InputError for a given one outside [-90, 90].
    """
    if isinstance(given, int | float) and not isinstance(given, bool):
        if not -90 <= given <= 90:
            raise InputError(f"elevation={given}: degrees above the horizon, from -90 to 90")
        return InputElevation(float(given), "given")
    if given not in (None, "estimate"):
        raise InputError(f"elevation={given}: give degrees, `estimate`, or null")
    if synthesizer.elevation is not None and given is None:
        return InputElevation(synthesizer.elevation, "known")
    # Near views are laid out relative to the input, so any elevation that keeps them off the poles will do here.
    around = views.make(PROBE, 0.0)
    near = around[around.indices("near")]
    with stages.stage(STAGE) as record:
        record.made += 1
        found = estimator.estimate(near.images, near.masks, offsets=NEAR_OFFSETS)
    if estimator.trusts(found):
        assert found.degrees is not None
        return InputElevation(found.degrees, "estimated", found.confidence, found.degrees, found.reason)
    reason = f"{found.reason}; confidence {found.confidence:.2f}, threshold {estimator.threshold:g}"
    return InputElevation(estimator.prior, "prior", found.confidence, found.degrees, reason)
