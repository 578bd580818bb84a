"""The in-memory type: selection keeps cameras, roles and parents together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from one2345.views import PosedViews


def test_selection_renumbers_parents(views: PosedViews) -> None:
    swapped = views[[1, 0]]
    assert swapped.names == ("v1", "v0")
    assert swapped.parents == (1, None)
    assert views[[1, 2]].parents == (None, None)
    assert views[1:].names == ("v1", "v2")
    assert views[torch.tensor([-1])].names == ("v2",)
    assert torch.equal(swapped.images[0], views.images[1])
    assert torch.equal(swapped.cameras.c2w[0], views.cameras.c2w[1])
    assert torch.equal(swapped.depth[0], views.depth[1])
    with pytest.raises(IndexError):
        views[[3]]


def test_indices_by_role(views: PosedViews) -> None:
    assert views.indices("stage1") == [0]
    assert views.indices("near", "target") == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"masks": torch.zeros(2, 16, 16)},
        {"names": ("a", "a", "b")},
        {"roles": ("stage1", "near", "other")},
        {"parents": (None,)},
        {"depth": torch.zeros(3, 8, 8)},
    ],
)
def test_parts_must_fit(views: PosedViews, change: dict) -> None:
    with pytest.raises(ValueError):
        replace(views, **change)
