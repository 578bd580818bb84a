"""Which views the colours of the reconstruction network come from."""

import pytest
import torch
from tests.training.scenes import GREEN, RED, TINY, TRUE_RADIUS, sphere_batch

from one2345.build import build
from one2345.errors import InputError


def test_one_view_gives_the_colour_seen_from_closest() -> None:
    batch = sphere_batch()
    towards = torch.nn.functional.normalize(batch.cameras.centres, dim=-1)
    colours, counts = {}, {}
    for views in (1, None):
        torch.manual_seed(0)
        field = build({**TINY, "colour_views": views}).eval()(batch.images, batch.masks, batch.cameras)
        with torch.no_grad():
            colours[views], counts[views] = field.only(0).colour(TRUE_RADIUS * towards, towards)
    # The sources are red and green by turns, and all see every point.
    assert torch.allclose(colours[1][0], torch.stack([RED, GREEN, RED, GREEN]), atol=1e-5)
    assert (colours[None] - colours[1]).abs().amin(-1).max() > 0.05
    assert (counts[1] == 4).all() and torch.equal(counts[1], counts[None])


def test_a_colour_needs_a_view() -> None:
    with pytest.raises(InputError, match="colour_views=0"):
        build({**TINY, "colour_views": 0})
