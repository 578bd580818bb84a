"""Reprojection by a ball: exact for a ball, the mirror image from behind, and kept with the weights."""

import json

import pytest
import torch
from tests.training.scenes import sphere_hits

from one2345.errors import CheckpointError
from one2345.geometry import camera_rays, orbit_cameras, zero123_pose
from one2345.views.zero123 import load_zero123, new_zero123, save_zero123
from one2345.views.zero123.reproject import reproject

SIZE = 64
RADIUS = 0.3  # of the ball that is assumed: three quarters of half the standard edge


def painted_ball(azimuths, elevations) -> torch.Tensor:
    """(n, 3, SIZE, SIZE) of a ball whose colour is a smooth function of the direction from its centre."""
    cameras = orbit_cameras(azimuths, elevations, size=SIZE)
    rays = camera_rays(cameras)
    distance = sphere_hits(rays, RADIUS)
    points = rays.at(distance) / RADIUS
    colours = 0.5 + 0.4 * points
    return torch.where((distance > 0)[..., None], colours, torch.ones(())).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("azimuth", "elevation"), [(10.0, 0.0), (-10.0, 0.0), (0.0, 10.0), (25.0, -15.0)])
def test_a_ball_is_turned_as_it_is(azimuth, elevation):
    source, target = orbit_cameras([0.0], [20.0]), orbit_cameras([azimuth], [20.0 + elevation])
    pose = zero123_pose(source.c2w, target.c2w)
    given, truth = painted_ball([0.0], [20.0]), painted_ball([azimuth], [20.0 + elevation])
    made = reproject(given, pose, elevation=20.0)
    # Where both cameras see the ball well: its middle.
    middle = slice(SIZE // 2 - 8, SIZE // 2 + 8)
    inside = made[..., middle, middle] - truth[..., middle, middle]
    assert inside.abs().max() < 0.035
    wrong = reproject(given, zero123_pose(target.c2w, source.c2w), elevation=20.0)
    assert (wrong[..., middle, middle] - truth[..., middle, middle]).abs().max() > 0.05


def test_no_turn_changes_nothing_and_from_behind_is_the_mirror_image():
    pictures = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    still, behind = torch.tensor([[0.0, 0.0, 1.0, 0.0]] * 2), torch.tensor([[0.0, 0.0, -1.0, 0.0]] * 2)
    assert (reproject(pictures, still, elevation=35.0) - pictures).abs().max() < 1e-4
    ramp = torch.linspace(0, 0.5, SIZE).expand(1, 3, SIZE, SIZE)
    made = reproject(ramp, behind[:1], elevation=0.0)
    # The plane around the ball is met at its own depth from either side.
    border = (made - ramp.flip(-1))[..., :6, 4:-4].abs().max()
    assert border < 0.02


def test_small_weights_keep_their_first_guesses(tmp_path):
    schedule = {"prediction_type": "sample", "num_train_timesteps": 10}
    torch.manual_seed(0)
    made = new_zero123(size=16, fold=4, channels=[32], token=16, scheduler=schedule, reprojected=[0, 40])
    save_zero123(tmp_path / "w", made.model, scheduler=made.scheduler)
    loaded = load_zero123(tmp_path / "w")
    assert loaded.model.reprojected == (0.0, 40.0)
    pictures, pose = torch.rand(1, 3, 16, 16), torch.tensor([[0.1, 0.2, 0.97, 0.0]])
    latents = [m.image_latents(m.condition(pictures), pose) for m in (made.model.eval(), loaded.model)]
    assert latents[0].shape[1] == 3 * 48 and torch.equal(*latents)
    assert torch.equal(latents[0][:, :48], made.model.codec.condition(pictures))
    note = tmp_path / "w" / "one2345.json"
    for reprojected, words in ((["x"], "elevations in degrees"), ([0], "channels in")):
        note.write_text(json.dumps({**json.loads(note.read_text()), "reprojected": reprojected}))
        with pytest.raises(CheckpointError, match=words):
            load_zero123(tmp_path / "w")
