"""One object, two renderers: a sphere traced shape and the ray cast mesh of it look the same."""

import pytest
import torch

from one2345.geometry import load_plan
from one2345.objects import MeshObject, random_shape


@pytest.mark.parametrize("index", [0, 2, 5])
def test_sphere_traced_and_ray_cast_pictures_agree(index: int) -> None:
    shape = random_shape(3, index=index)
    mesh = MeshObject(shape.mesh(256), id="mesh", normalise=False)
    cameras = load_plan("ring8").cameras(20.0, 128)[:4]
    traced, cast = shape.render(cameras), mesh.render(cameras)
    a, b = traced.mask > 0.5, cast.mask > 0.5
    iou = (a & b).flatten(1).sum(1) / (a | b).flatten(1).sum(1)
    assert (iou > 0.99).all(), iou
    both = a & b
    error = (traced.depth - cast.depth)[both].abs()
    assert error.median() < 1e-3 and torch.quantile(error, 0.95) < 0.01
    colour = (traced.rgb - cast.rgb).abs().mean(1)[both]
    assert colour.mean() < 0.05
    cosine = (traced.normal * cast.normal).sum(1)[both]
    assert cosine.median() > 0.99
