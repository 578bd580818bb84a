"""The matchers: positions against the truth, and what LoFTR says when something is missing."""

from __future__ import annotations

import builtins
import pickle

import pytest
import torch
from tests.views.elevation.scenes import draw_ball

from one2345.errors import CheckpointError, InputError
from one2345.views.elevation import ClassicalMatcher, LoftrMatcher, pairs


def shifted_noise(shift: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures (2, 3, 128, 160) of one smooth pattern; the second moved by `shift` (x, y) pixels."""
    noise = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(noise, (240, 300), mode="bicubic").clamp(0, 1)[0]
    x, y = shift
    return torch.stack([large[:, 50:178, 60:220], large[:, 50 - y : 178 - y, 60 - x : 220 - x]]), torch.ones(
        2, 128, 160
    )


@pytest.mark.parametrize("corners", [0, 200])
@pytest.mark.parametrize("working_size", [128, 512])
def test_matches_are_positions_of_pixel_centres_at_one_half(corners, working_size):
    """A pattern moved by whole pixels: matches move by exactly that, whatever the enlargement."""
    images, masks = shifted_noise((7, -4))
    (found,) = ClassicalMatcher(corners=corners, working_size=working_size)(images, masks)
    moved = found.points_second - found.points_first
    assert len(found) > 50
    assert moved.median(0).values.tolist() == pytest.approx([7.0, -4.0], abs=0.1)
    near = (moved - torch.tensor([7.0, -4.0])).norm(dim=-1) < 1.0
    assert near.float().mean() > 0.95
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


def test_a_mirrored_picture_has_mirrored_features():
    """About the middle of the frame, so positions count from its edges (OpenCV's default is off by a sixth here)."""
    images, masks = shifted_noise((3, 2))
    (straight,) = ClassicalMatcher(corners=0)(images, masks)
    (flipped,) = ClassicalMatcher(corners=0)(images.flip(-1), masks.flip(-1))
    back = torch.stack([160.0 - flipped.points_first[:, 0], flipped.points_first[:, 1]], -1)
    assert torch.cdist(straight.points_first, back).amin(1).median() < 0.08


def test_features_keep_to_the_mask():
    images, masks = shifted_noise((5, 0))
    masks[:, :, 80:] = 0
    (found,) = ClassicalMatcher()(images, masks)
    assert len(found) > 10
    assert found.points_first[:, 0].max() < 80


def test_the_epipolar_check_drops_what_does_not_fit():
    images, masks = draw_ball(30.0)
    with_check, without = (ClassicalMatcher(epipolar=e)(images, masks) for e in (3.0, 0.0))
    assert [(m.first, m.second) for m in with_check] == pairs(4)
    assert sum(map(len, with_check)) < sum(map(len, without))
    assert sum(map(len, with_check)) > 0.5 * sum(map(len, without))


def test_empty_pictures_have_no_matches():
    found = ClassicalMatcher()(torch.ones(3, 3, 64, 64), torch.zeros(3, 64, 64))
    assert [len(m) for m in found] == [0, 0, 0]


@pytest.mark.parametrize("wrong", [{"ratio": 0.0}, {"working_size": 3}, {"corners": -1}, {"epipolar": -1.0}])
def test_settings_outside_their_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        ClassicalMatcher(**wrong)


@pytest.mark.parametrize("weights", [None, "nowhere.ckpt"])
def test_loftr_without_weights_says_what_is_left(weights, tmp_path):
    pytest.importorskip("kornia")
    matcher = LoftrMatcher(weights=None if weights is None else tmp_path / weights)
    with pytest.raises(InputError, match=r"LoFTR's weights.*elevation_estimator=classical"):
        matcher(*draw_ball(30.0, size=64))


def test_loftr_without_kornia_says_how_to_install_it(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("kornia"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"preprocess.*elevation_estimator=classical"):
        LoftrMatcher(weights=tmp_path / "x.ckpt")(*draw_ball(30.0, size=64))


class Hostile:
    def __reduce__(self):
        return (open, ("hostile-was-here", "w"))


def test_loftr_weights_run_no_code(tmp_path, monkeypatch):
    pytest.importorskip("kornia")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps({"state_dict": Hostile()}, protocol=2))
    torch.save({"state_dict": Hostile()}, tmp_path / "worse.ckpt")
    for name in ("bad.ckpt", "worse.ckpt"):
        with pytest.raises(CheckpointError, match=name):
            LoftrMatcher(weights=tmp_path / name)(*draw_ball(30.0, size=64))
    assert not (tmp_path / "hostile-was-here").exists()


def test_loftr_reads_its_file_and_puts_matches_back_into_the_pictures(tmp_path):
    """Random weights stand in for the trained ones: the file, the frame and the determinism are what is tested."""
    feature = pytest.importorskip("kornia.feature")
    torch.manual_seed(0)
    state = feature.LoFTR(pretrained=None).state_dict()
    torch.save({"state_dict": {f"matcher.{k}": v for k, v in state.items()}}, tmp_path / "loftr.ckpt")
    images, masks = shifted_noise((8, 0))
    matcher = LoftrMatcher(weights=tmp_path / "loftr.ckpt", size=128)
    matcher.network.coarse_matching.thr = 0.0
    images = torch.stack([images[0], images[0]])  # a picture and itself: each cell matches itself
    (once,), (again,) = matcher(images, masks), matcher(images, masks)
    assert torch.equal(once.points_second, again.points_second)
    assert len(once) > 20
    same = (once.points_second - once.points_first).abs() <= torch.tensor([160 / 128, 1.0]) * 4
    assert same.all(-1).float().mean() > 0.5
    # the farthest cells are at the far ends of a picture that is wider than high
    assert 128 < once.points_first[:, 0].max() < 160 and once.points_first[:, 1].max() < 128
    del state[next(iter(state))]
    torch.save(state, tmp_path / "short.ckpt")
    with pytest.raises(CheckpointError, match=r"short\.ckpt.*1 missing"):
        LoftrMatcher(weights=tmp_path / "short.ckpt")(images, masks)
