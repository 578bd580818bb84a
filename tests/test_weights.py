"""The weights that come with the package: small, loadable, and better than the visual hull."""

import torch

from one2345.checkpoints import PRETRAINED, load_reconstructor
from one2345.geometry import Cameras, evaluation_box, hull_sdf, load_plan, mask_distance
from one2345.hub import sha256
from one2345.objects import random_shape


def test_they_are_small_and_carry_their_record() -> None:
    assert PRETRAINED.stat().st_size <= 2 * 2**20
    assert sha256(PRETRAINED) in (PRETRAINED.parent / "README.md").read_text()
    _, record = load_reconstructor("pretrained")
    assert record["scale"].startswith("laptop")
    assert (
        record["training"]["plan"] == "published" and record["training"]["data"]["sizes"]["fewest_views"] == 4
    )


@torch.no_grad()
def test_they_beat_the_hull_on_unseen_shapes() -> None:
    """Shapes of another seed than the training's, eight exact views of 128 px, volume IoU at 64^3."""
    model, _ = load_reconstructor("pretrained")
    nodes = evaluation_box(64).nodes().reshape(-1, 3)
    cameras = load_plan("ring8").cameras(25.0, 128)
    network, hull = [], []
    for index in range(4):
        shape = random_shape(77, index=index)
        seen = shape.render(cameras)
        field = model(seen.rgb[None], seen.mask[None], Cameras.stack([cameras]))
        truth = shape.occupancy_grid(evaluation_box(64)).flatten()
        inside = torch.cat([field.sdf(part[None])[0] for part in nodes.split(2**16)]) < 0
        carved = hull_sdf(nodes, mask_distance(seen.mask), cameras) < 0
        for values, prediction in ((network, inside), (hull, carved)):
            values.append(float((prediction & truth).sum() / (prediction | truth).sum()))
    assert sum(network) / 4 > sum(hull) / 4, (network, hull)
