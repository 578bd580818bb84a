"""What the reconstruction network starts from, and which views its colours come from."""

from typing import Any, cast

import pytest
import torch
from tests.training.scenes import GREEN, RED, TINY, TRUE_RADIUS, sphere_batch

from one2345.build import build
from one2345.data.batch import SceneBatch
from one2345.errors import InputError
from one2345.geometry import hull_sdf, mask_distance
from one2345.models import Reconstructor, reconstructor
from one2345.models.cost_volume import lift_rows


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


def test_several_hulls_are_mixed_at_each_voxel_and_untrained_nearly_the_first() -> None:
    batch = sphere_batch()
    masks = batch.masks.clone()
    masks[:, 1] = 0  # a view that sees nothing carves everything away, unless it is overruled
    torch.manual_seed(0)
    config = {**TINY, "hull_tolerance": [0.0, 0.3], "volume_net": {**TINY["volume_net"], "in_channels": 20}}
    model = build(config).eval()
    field = model(batch.images, masks, batch.cameras)
    nodes = field.box.nodes().reshape(1, -1, 3)
    strict, lenient = (
        hull_sdf(nodes[0], mask_distance(masks[0]), batch.cameras[0], tolerance=tolerance).clamp(-1, 1)
        for tolerance in (0.0, 0.3)
    )
    assert (strict > 0).all() and (lenient < 0).any()
    share = torch.tensor([3.0, 0.0]).softmax(0)[0]
    torch.testing.assert_close(
        field.prior(nodes)[0], share * strict + (1 - share) * lenient, atol=1e-5, rtol=1e-5
    )

    field.prior(nodes).square().sum().backward()
    assert model.vote is not None and model.vote.weight.grad.abs().max() > 0
    with torch.no_grad():
        model.vote.bias.copy_(torch.tensor([-50.0, 0.0]))
        mixed = model(batch.images, masks, batch.cameras).prior(nodes)[0]
        torch.testing.assert_close(mixed, lenient, atol=1e-5, rtol=1e-5)
        given = model(batch.images, masks, batch.cameras, hull_tolerance=0.0).prior(nodes)[0]
        torch.testing.assert_close(given, strict, atol=1e-5, rtol=1e-5)


def test_the_hull_is_as_fine_as_the_silhouettes_whatever_the_volume() -> None:
    batch = sphere_batch()
    field = build(TINY).eval()(batch.images, batch.masks, batch.cameras)
    points = torch.rand(1, 500, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    expected = hull_sdf(points[0], mask_distance(batch.masks[0]), batch.cameras[0])
    for found in (field.prior(points), field.only(0).prior(points)):
        torch.testing.assert_close(found[0], expected.clamp(-1, 1), atol=1e-6, rtol=1e-5)


def test_tolerances_ascend() -> None:
    for given in ([0.1, 0.0], [], [0.0, 1.0], -0.1):
        with pytest.raises(InputError, match="hull_tolerance="):
            build({**TINY, "hull_tolerance": given})


def test_features_are_made_at_the_size_of_training_colours_at_the_size_given() -> None:
    batch = sphere_batch()
    large = [x.repeat_interleave(2, -1).repeat_interleave(2, -2) for x in (batch.images, batch.masks)]
    seen, maps = [], []
    for images, masks in ((batch.images, batch.masks), large):
        torch.manual_seed(0)
        model = build({**TINY, "feature_pixels": 32}).eval()
        model.feature_net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        cameras = batch.cameras.resized((images.shape[-2], images.shape[-1]))
        maps.append(model(images, masks, cameras).colour_maps)
    assert seen[1].shape[-2:] == (32, 32)
    torch.testing.assert_close(seen[1], seen[0])
    assert maps[1].shape[-2:] == (64, 64) and torch.equal(maps[1][:, :, :3], large[0])


SPLIT = {
    **TINY,
    "split_views": True,
    "coherence": True,
    "compressed": 12,
    "volume_net": {**TINY["volume_net"], "in_channels": 12},
}


def _split_model() -> Reconstructor:
    torch.manual_seed(0)
    model = build(SPLIT)
    torch.nn.init.normal_(model.sdf_net.layer2.weight, 0.0, 0.1)
    return model


def _loss(model: Reconstructor, batch: SceneBatch) -> torch.Tensor:
    points = torch.rand(1, 400, 3, generator=torch.Generator().manual_seed(1)) * 0.8 - 0.4
    return model(batch.images, batch.masks, batch.cameras).sdf(points).square().mean()


def test_a_volume_of_few_voxels_or_of_all_is_the_same_with_views_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a CPU the 3D network is given the voxels near the hull, in a compiled graph all of them."""
    batch, found = sphere_batch(), []
    for dense in (False, True):
        model = _split_model()
        with monkeypatch.context() as patch:
            if dense:
                patch.setattr(torch.compiler, "is_compiling", lambda: True)
            loss = _loss(model, batch)
        loss.backward()
        found.append((loss.detach(), [p.grad for p in model.parameters() if p.grad is not None]))
    (loss, gradients), (other, others) = found
    torch.testing.assert_close(loss, other, rtol=1e-5, atol=0)
    assert len(gradients) == len(others)
    for one, two in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, two, rtol=2e-3, atol=2e-6)


def test_gradient_of_the_layer_before_the_3d_network() -> None:
    """Far voxels included, which all pass through it with the same values."""
    batch, model = sphere_batch(), _split_model()
    assert model.compress is not None
    layer = cast(torch.nn.Linear, model.compress[0])
    for parameter in (layer.bias, layer.weight):
        (gradient,) = torch.autograd.grad(_loss(model, batch), parameter)
        direction = gradient / gradient.norm()
        values = []
        for step in (1e-2, -1e-2):
            with torch.no_grad():
                parameter += step * direction
                values.append(float(_loss(model, batch)))
                parameter -= step * direction
        slope = (values[0] - values[1]) / 2e-2
        assert slope == pytest.approx(float(gradient.norm()), rel=2e-2)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"volume_net\.in_channels=19: it is given 12 per voxel"):
        build({**SPLIT, "volume_net": TINY["volume_net"]})
    with pytest.raises(InputError, match=r"volume_net\.in_channels=12: it is given 37 per voxel"):
        build({**SPLIT, "compressed": None})
    with pytest.raises(InputError, match=r"geometry_channels=5 and feature_channels=\d+: it is given"):
        build({**TINY, "blend_net": {**TINY["blend_net"], "geometry_channels": 5}})


def test_a_voxel_knows_how_far_the_hull_is_from_filling_the_silhouettes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, seen = sphere_batch(), []
    masks = batch.masks.clone()
    masks[:, 1, :, : masks.shape[-1] // 2] = 0  # a view that shows half of what the others do
    model = _split_model()
    assert model.compress is not None
    model.compress.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for silhouettes in (batch.masks, masks):
        model(batch.images, silhouettes, batch.cameras)
    near = [rows for rows in seen if rows.ndim == 2]
    agree, disagree = (rows[:, -3:-1] for rows in near)  # there, overall; the hull's distance comes last
    assert agree.mean() < 0.01 and disagree.mean() > 0.05
    assert disagree[:, 1].unique().numel() == 1 and disagree[:, 0].unique().numel() > 10


def test_views_are_split_by_normals_that_point_outwards(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, seen = sphere_batch(), []

    def watched(features: torch.Tensor, points: torch.Tensor, *arguments: Any, normals: torch.Tensor) -> Any:
        seen.append((points, normals))
        return lift_rows(features, points, *arguments, normals=normals)

    monkeypatch.setattr(reconstructor, "lift_rows", watched)
    _split_model()(batch.images, batch.masks, batch.cameras)
    ((points, normals),) = seen
    off_centre = points.norm(dim=-1) > 0.15
    outwards = (torch.nn.functional.normalize(points, dim=-1) * normals).sum(-1)[off_centre]
    assert torch.allclose(normals.norm(dim=-1), torch.ones(len(normals)), atol=1e-4)
    assert outwards.mean() > 0.8 and (outwards > 0).float().mean() > 0.97
