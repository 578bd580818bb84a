"""The sentences on the page: nothing foreign is markup, and no folder of the machine is named."""

from pathlib import Path

import numpy as np

from one2345.app import words
from one2345.app.jobs import Failed, Step, ViewMade


def test_what_comes_from_outside_is_escaped() -> None:
    for said in (
        words.error("<script>alert(1)</script>"),
        words.progress(Step("<script>", 0, 1)),
        words.notice("<script>", "<script>", []),
    ):
        assert "<script" not in said.lower()


def test_folders_of_the_machine_are_cut() -> None:
    root = Path("/srv/one2345-app.host-1-abc")
    said = words.failed(Failed(f"{root}/uploads/0f3a/photo.png: the picture is damaged"), [root])
    assert "Photo.png: the picture is damaged." in said and "/srv" not in said
    said = words.failed(Failed(f"{root}/x/scratch-1/posed: no posed pictures; known: a, b"), [root])
    assert "Posed: no posed pictures; known: a, b." in said


def test_errors_are_announced_and_cancelling_is_none() -> None:
    assert 'role="alert"' in words.failed(Failed("it broke"))
    cancelled = words.failed(Failed("Cancelled.", cancelled=True))
    assert 'role="alert"' not in cancelled and "Cancelled" in cancelled


def test_progress_says_how_far() -> None:
    said = words.progress(Step("views", 12, 40))
    assert 'max="40" value="12"' in said and "Making views: 12 of 40" in said
    assert "value=" not in words.progress(Step("mesh", 0, 1)), "of unknown length"


def test_captions_name_the_view_and_its_side() -> None:
    pixels = np.zeros((1, 1, 4), np.uint8)
    assert words.caption(ViewMade("s1", 90.0, 0.0, pixels)) == "s1 · right"
    assert words.caption(ViewMade("s0", 359.9999, 0.0, pixels)) == "s0 · front"
    assert words.name_of(words.caption(ViewMade("s4_n1", 30.0, -40.0, pixels))) == "s4_n1"


def test_why_weights_are_missing_without_folders_and_ways_out() -> None:
    reason = (
        "kxic/zero123-xl (about 5 GB) is not in the hub's local cache /srv/cache/hub, and can't be fetched: "
        "https://example.org: <urlopen error>; other ways: views=replay"
    )
    assert words.cause(reason) == (
        "kxic/zero123-xl (about 5 GB) is not in the hub's local cache, and can't be fetched."
    )
