"""Means over objects with their uncertainty: bootstrap intervals, and paired differences of two methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from one2345.seeding import numpy_rng

Floats = NDArray[np.float64]
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Statistic:
    """Over the n objects that have a column. low, high: 95 % interval of the mean. mean_solid, n_solid: the
    mean over the objects that are not thin, and their number."""

    mean: float
    median: float
    n: int
    low: float = float("nan")
    high: float = float("nan")
    mean_solid: float = float("nan")
    n_solid: int = 0


@dataclass(frozen=True)
class Paired:
    """Method minus reference over the n objects that both solved. better: objects on which the method is
    better; worse; the others are ties. low, high: 95 % interval of the mean difference."""

    mean: float
    low: float
    high: float
    better: int
    worse: int
    n: int


def describe(
    values: Mapping[str, float], *, thin: Sequence[str] = (), resamplings: int = 10_000, seed: int = 0
) -> Statistic | None:
    """Of values by object id, in the order of the ids; None without any."""
    if not values:
        return None
    ids = sorted(values)
    array = np.array([values[i] for i in ids], np.float64)
    low, high = bootstrap_interval(array, resamplings=resamplings, seed=seed)
    solid = np.array([values[i] for i in ids if i not in set(thin)], np.float64)
    return Statistic(
        mean=float(array.mean()),
        median=float(np.median(array)),
        n=len(array),
        low=low,
        high=high,
        mean_solid=float(solid.mean()) if len(solid) else float("nan"),
        n_solid=len(solid),
    )


def paired(
    method: Mapping[str, float],
    reference: Mapping[str, float],
    *,
    more_is_better: bool,
    resamplings: int = 10_000,
    seed: int = 0,
) -> Paired | None:
    """Differences on the objects that both have; None where there are none."""
    ids = sorted(set(method) & set(reference))
    if not ids:
        return None
    difference = np.array([method[i] - reference[i] for i in ids], np.float64)
    low, high = bootstrap_interval(difference, resamplings=resamplings, seed=seed)
    gain = difference if more_is_better else -difference
    return Paired(
        mean=float(difference.mean()),
        low=low,
        high=high,
        better=int((gain > 0).sum()),
        worse=int((gain < 0).sum()),
        n=len(ids),
    )


def bootstrap_interval(values: Floats, *, resamplings: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval (2.5 %, 97.5 %) of the mean of values (n,) (Efron and Tibshirani 1993, chapter 13).

    The same for the same values in the same order. NaN for fewer than two values, which say nothing of their
    spread, and without resamplings.
    """
    n = len(values)
    if resamplings < 1 or n < 2:
        return float("nan"), float("nan")
    rng = numpy_rng(seed, "bootstrap", n)
    step = max(1, _CHUNK // n)
    means = [
        values[rng.integers(0, n, (min(step, resamplings - start), n))].mean(1)
        for start in range(0, resamplings, step)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)
