import numpy as np
import pytest

from one2345.evaluation.statistics import bootstrap_interval, describe, paired


def test_interval_is_that_of_the_normal_law_for_many_values():
    values = np.random.default_rng(0).normal(3.0, 2.0, 4000)
    low, high = bootstrap_interval(values, resamplings=4000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.exponential(1.0, 60), resamplings=500)
        inside += low <= 1.0 <= high
    assert 0.86 <= inside / 200 <= 0.99


def test_interval_does_not_depend_on_the_size_of_the_pieces(monkeypatch):
    values = np.random.default_rng(2).random(50)
    whole = bootstrap_interval(values, resamplings=1000)
    assert bootstrap_interval(values, resamplings=1000) == whole
    monkeypatch.setattr("one2345.evaluation.statistics._CHUNK", 50 * 7)
    assert bootstrap_interval(values, resamplings=1000) == whole
    assert bootstrap_interval(values, resamplings=1000, seed=1) != whole


def test_few_values():
    assert bootstrap_interval(np.array([0.25, 0.25]), resamplings=10) == (0.25, 0.25)
    assert all(np.isnan(bootstrap_interval(np.array([0.25]), resamplings=10)))
    assert all(np.isnan(bootstrap_interval(np.array([0.25, 0.5]), resamplings=0)))
    assert describe({}) is None


def test_description_knows_thin_objects():
    stat = describe({"a": 0.0, "b": 0.5, "c": 0.7}, thin=["a", "x"], resamplings=100)
    assert stat is not None
    assert (stat.mean, stat.median, stat.n) == (pytest.approx(0.4), 0.5, 3)
    assert (stat.mean_solid, stat.n_solid) == (pytest.approx(0.6), 2)
    assert 0.0 <= stat.low <= stat.mean <= stat.high <= 0.7


def test_order_of_objects_does_not_matter():
    values = {f"o{i}": v for i, v in enumerate(np.random.default_rng(3).random(30))}
    assert describe(values) == describe(dict(reversed(values.items())))


def test_pairs():
    ours, theirs = {"a": 0.5, "b": 0.5, "c": 0.9, "x": 1.0}, {"a": 0.4, "b": 0.6, "c": 0.9, "y": 0.0}
    more = paired(ours, theirs, more_is_better=True, resamplings=200)
    assert more is not None
    assert more.mean == pytest.approx(0.0)
    assert (more.better, more.worse, more.n) == (1, 1, 3)
    less = paired({"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 5.0}, more_is_better=False, resamplings=200)
    assert less is not None
    assert (less.mean, less.better, less.worse) == (pytest.approx(-2.5), 2, 0)
    assert less.low == pytest.approx(-3.0)
    assert less.high == pytest.approx(-2.0)
    assert paired({"a": 1.0}, {"b": 1.0}, more_is_better=True) is None
