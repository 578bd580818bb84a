"""The same frame at the picture's own resolution, for the texture."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from one2345.views.preprocess import prepare_picture
from one2345.views.preprocess.picture import FINE_EDGE


def cut_out(edge: int) -> np.ndarray:
    """Stripes of three pixels with a hard outline, off centre."""
    rgba = np.zeros((edge, 2 * edge, 4), np.uint8)
    rows, columns = np.mgrid[0:edge, 0 : 2 * edge]
    rgba[..., :3] = np.where((columns // 3 % 2)[..., None] == 0, (200, 40, 40), (40, 40, 200))
    rgba[..., 3] = 255 * (
        (rows > edge // 4) & (rows < edge // 2) & (columns > edge // 2) & (columns < 5 * edge // 4)
    )
    return rgba


def test_a_larger_picture_keeps_its_detail_in_the_same_frame():
    picture = prepare_picture(cut_out(400), size=128)
    assert picture.fine.shape == (4, 399, 399)  # 299 px over three quarters
    small = F.interpolate(
        picture.fine[None], (128, 128), mode="bilinear", antialias=True, align_corners=False
    )[0]
    assert (small[:3] - picture.image).abs().mean() < 0.01 and (small[3] - picture.mask).abs().mean() < 0.01
    inside = picture.fine[:3, 180:220, 120:280]
    # Stripes that the small frame can't hold.
    assert inside.std(-1).mean() > 0.2 and picture.image[:, 58:70, 40:90].std(-1).mean() < 0.15


def test_a_picture_that_is_no_finer_has_none_and_a_huge_one_is_bounded():
    assert prepare_picture(cut_out(120), size=128).fine is None
    assert prepare_picture(cut_out(1500), size=64).fine.shape[-1] == FINE_EDGE
    assert torch.equal(
        prepare_picture(cut_out(400), size=128).fine, prepare_picture(cut_out(400), size=128).fine
    )
    assert prepare_picture(cut_out(400), size=128, fill=0.5).fine.shape[-1] == pytest.approx(598, abs=1)
