"""What a term needs and is not there is an error, not a zero."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.training.scenes import sphere_batch, tiny_model

from one2345.errors import InputError
from one2345.training.terms import StepTerms, TermSettings


def test_the_depth_term_refuses_views_without_depth() -> None:
    model, batch = tiny_model(), sphere_batch(rays=8)
    batch = replace(batch, rays=replace(batch.rays, t=None))
    field = model(batch.images, batch.masks, batch.cameras)
    terms = StepTerms(field, batch, inv_s=model.variance(), anneal=1.0, settings=TermSettings()).functions()
    with pytest.raises(InputError, match="sphere-0: prepared without depth"):
        terms["depth"]()
    assert torch.isfinite(terms["colour"]())
