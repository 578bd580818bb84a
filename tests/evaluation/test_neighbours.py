from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from one2345.evaluation.metrics import cloud_distances
from one2345.evaluation.metrics.neighbours import Neighbours, all_pairs

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
BACK_ENDS = [
    pytest.param({}, id="tree"),
    pytest.param({"search": partial(all_pairs, device="cpu")}, id="all pairs"),
    pytest.param({"device": "cuda"}, id="cuda", marks=[pytest.mark.gpu, NO_CUDA]),
]


def surface(count, seed):
    """Points of a bumpy sphere, some twice."""
    direction = np.random.default_rng(seed).normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    points = direction * (0.4 + 0.05 * np.sin(9 * direction[:, :1]))
    return np.concatenate([points, points[: count // 10]])


CLOUDS = {
    "near": (surface(3000, 0), surface(2500, 1)),
    "the same": (surface(2000, 0), surface(2000, 0)),
    "apart": (surface(2000, 0), surface(1000, 1) + 3.0),
    "far from the origin": (surface(2000, 0) + 1e4, surface(2000, 0) + 1e4),
    "in a plane": (surface(2000, 0) * [1, 1, 0], surface(1000, 1) * [1, 0, 1]),
    "one point": (surface(10, 0)[:1], surface(1000, 1)),
    "one place": (np.ones((50, 3)), np.ones((70, 3))),
}


@pytest.mark.parametrize("options", BACK_ENDS)
@pytest.mark.parametrize("name", CLOUDS)
def test_distances_are_scipys(name, options):
    a, b = CLOUDS[name]
    exact = not options
    distances = cloud_distances(Neighbours(a, **options), Neighbours(b, **options))
    for found, (cloud, queries) in zip((distances.accuracy, distances.completeness), ((b, a), (a, b))):
        expected = cKDTree(cloud).query(queries)[0]
        assert np.abs(found - expected).max() <= (1e-12 if exact else 1e-6)
        distance, index = Neighbours(cloud, **options).query(queries)
        assert np.array_equal(distance, found)
        assert np.linalg.norm(cloud[index] - queries, axis=1) == pytest.approx(distance, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1e-30, 1e-6, 1.0, 1e12]), st.integers(0, 9))
def test_any_scale_and_size(n, m, scale, seed):
    random = np.random.default_rng(seed)
    cloud, queries = random.normal(size=(n, 3)) * scale, random.normal(size=(m, 3)) * scale
    distance, index = Neighbours(cloud).query(queries)
    pairs = np.linalg.norm(queries[:, None] - cloud, axis=-1)
    assert distance == pytest.approx(pairs.min(1), rel=1e-12)
    assert np.array_equal(index, pairs.argmin(1))


def test_a_tree_is_built_once(monkeypatch):
    built = []
    monkeypatch.setattr(
        "one2345.evaluation.metrics.neighbours.KDTree",
        lambda *args, **options: built.append(len(args[0])) or cKDTree(*args, **options),
    )
    truth = Neighbours(surface(500, 0))
    expected = [cloud_distances(surface(n, 1), truth.points) for n in (100, 200)]
    built.clear()
    found = [cloud_distances(surface(n, 1), truth) for n in (100, 200)]
    assert sorted(built) == [110, 220, 550]
    for a, b in zip(found, expected):
        assert np.array_equal(a.accuracy, b.accuracy) and np.array_equal(a.completeness, b.completeness)


def test_points_that_follow_each_other_on_the_curve_are_near():
    cloud = Neighbours(surface(20_000, 0))
    step = np.linalg.norm(np.diff(cloud.points, axis=0), axis=1).mean()
    assert np.array_equal(np.sort(cloud.curve), np.arange(len(cloud)))
    assert np.linalg.norm(np.diff(cloud.points[cloud.curve], axis=0), axis=1).mean() < step / 15


def test_normals_follow_the_pairs():
    a, b = surface(800, 0), surface(700, 1)
    na, nb = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    d = cloud_distances(Neighbours(a), Neighbours(b), na, nb)
    assert d.accuracy_cosine == pytest.approx(np.abs((na * nb[cKDTree(b).query(a)[1]]).sum(1)), abs=1e-12)
    assert d.completeness_cosine == pytest.approx(np.abs((nb * na[cKDTree(a).query(b)[1]]).sum(1)), abs=1e-12)


def test_pairs_are_compared_in_chunks(monkeypatch):
    a, b = CLOUDS["near"]
    whole = all_pairs(a, b, device="cpu")
    monkeypatch.setattr("one2345.evaluation.metrics.neighbours.PAIRS", 100)
    for x, y in zip(all_pairs(a, b, device="cpu"), whole):
        assert np.array_equal(x, y)


def test_the_device_chooses_the_search(monkeypatch):
    """kaolin where it has a kernel for the device, else all pairs there."""
    from one2345.evaluation.metrics import neighbours

    asked = []
    for name in ("all_pairs", "kaolin"):
        fake = lambda cloud, queries, *, device, name=name: (  # noqa: E731
            asked.append((name, str(device))) or cKDTree(cloud).query(queries)
        )
        if name == "kaolin":
            monkeypatch.setattr(neighbours.kaolin, "nearest", fake)
        else:
            monkeypatch.setattr(neighbours, "all_pairs", fake)
    monkeypatch.setattr(neighbours.kaolin, "available", lambda device: str(device) == "cuda:1")
    for device in ("cpu", "cuda:0", "cuda:1"):
        cloud_distances(surface(20, 0), surface(20, 1), device=device)
    assert asked == [("all_pairs", "cuda:0")] * 2 + [("kaolin", "cuda:1")] * 2


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((0, 3)), r"true cloud has shape \(0, 3\)"),
        (np.zeros((4, 2)), r"true cloud has shape \(4, 2\)"),
        ([[0, 0, np.inf]], "true cloud holds NaN or infinite"),
    ],
)
def test_no_cloud(points, message):
    with pytest.raises(ValueError, match=message):
        cloud_distances(np.zeros((1, 3)), points)
