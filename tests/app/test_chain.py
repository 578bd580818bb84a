"""What the page has made: from pictures, texts and posed views, single views anew, and what it refuses."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from tests.app.parts import Tinted, draw_picture, make_chain, mean_colour

from one2345.app.chain import Chain, Shown, thumbnail
from one2345.app.examples import EXAMPLES
from one2345.app.jobs import Event, Failed, Finished, Job, Step, ViewMade
from one2345.app.limits import Limits
from one2345.app.sessions import Session, Sessions

RED, BLUE = (200, 40, 30), (30, 60, 200)


@pytest.fixture
def session(tmp_path: Path):
    sessions = Sessions(idle_seconds=100, parent=tmp_path)
    yield sessions.of("a")
    sessions.close()


def events_of(chain: Chain, session: Session, work) -> list[Event]:
    return [e for batch in chain.start(session, work).batches() for e in batch]


def shown_by(chain: Chain, session: Session, work) -> Shown:
    last = events_of(chain, session, work)[-1]
    assert isinstance(last, Finished), last
    return last.result


def sentence(chain: Chain, session: Session, work) -> str:
    last = events_of(chain, session, work)[-1]
    assert isinstance(last, Failed), last
    return last.message


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Chain, Tinted, Session, list[Event]]:
    """One mesh of a red picture."""
    folder = tmp_path_factory.mktemp("made")
    session = Sessions(idle_seconds=100, parent=folder).of("a")
    synthesizer = Tinted()
    chain = make_chain(synthesizer)
    picture = draw_picture(folder / "red.png", RED)
    return (
        chain, synthesizer, session,
        events_of(chain, session, lambda job: chain.picture(job, session, picture, seed=3)),
    )  # fmt: skip


def test_views_arrive_one_by_one_before_the_mesh(made) -> None:
    _, _, _, events = made
    kinds = [e.name if isinstance(e, ViewMade) else e.stage if isinstance(e, Step) else "" for e in events]
    views = [k for k in kinds if k.startswith("s")]
    assert views[:6] == ["s0", "s0_n0", "s0_n1", "s0_n2", "s0_n3", "s0"], (
        "what the elevation is estimated of first"
    )
    assert [v for v in dict.fromkeys(views) if "_" not in v] == [f"s{i}" for i in range(8)]
    assert kinds.index("s7") < kinds.index("network") < kinds.index("mesh") < kinds.index("files")
    assert isinstance(events[-1], Finished)
    right = next(e for e in events if isinstance(e, ViewMade) and e.name == "s1")
    assert (round(right.azimuth), round(right.elevation)) == (90, 0) and right.rgba.shape == (48, 48, 4)


def test_what_can_be_downloaded(made) -> None:
    shown = made[3][-1].result
    for kind in ("glb", "ply"):
        loaded = trimesh.load(shown.files[kind], force="mesh")
        assert len(loaded.faces) == len(shown.found.mesh.faces)
    report = json.loads(shown.files["report"].read_text())
    assert report["seed"] == 3 and report["elevation"]["source"] in ("estimated", "prior")
    with zipfile.ZipFile(shown.files["all"]) as packed:
        names = packed.namelist()
    assert {"mesh.glb", "report.json", "views/dataset.json"} <= set(names)
    assert not any(n.startswith("/") or ".." in n for n in names)


def test_single_views_are_made_anew_and_the_others_kept(made) -> None:
    chain, synthesizer, session, events = made
    before = events[-1].result
    synthesizer.asked.clear()
    after = shown_by(chain, session, lambda job: chain.anew(job, session, ["s2"]))
    assert synthesizer.asked == [("s2", 4)], "no other view, and no elevation, is made again"
    old, new = before.rgba(), after.rgba()
    assert {n for n in old if not np.array_equal(old[n], new[n])} == {"s2"}
    assert after.found.elevation == before.found.elevation
    assert not np.array_equal(after.found.mesh.colours, before.found.mesh.colours)
    assert json.loads(after.files["report"].read_text())["views made anew"] == {"s2": 4}
    again = shown_by(chain, session, lambda job: chain.anew(job, session, ["s2", "s3"]))
    assert again.seeds == {"s2": 5, "s3": 5}, "never a seed that was there before"


def test_near_views_are_made_anew_with_the_view_they_come_from(tmp_path: Path, session: Session) -> None:
    from one2345.geometry import load_plan

    synthesizer = Tinted()
    chain = make_chain(synthesizer)
    chain.pipe.plan = load_plan("ring8_near")
    picture = draw_picture(tmp_path / "red.png", RED)
    shown_by(chain, session, lambda job: chain.picture(job, session, picture, seed=0, elevation=30.0))
    synthesizer.asked.clear()
    shown_by(chain, session, lambda job: chain.anew(job, session, ["s1"], with_near=True))
    assert [n for n, _ in synthesizer.asked] == ["s1", "s1_n0", "s1_n1"]


def test_what_cannot_be_made_anew(made, tmp_path: Path) -> None:
    chain, _, session, _ = made
    assert "no view 'x9'" in sentence(chain, session, lambda job: chain.anew(job, session, ["x9"]))
    assert "choose the views" in sentence(chain, session, lambda job: chain.anew(job, session, []))
    fresh = Sessions(idle_seconds=1, parent=tmp_path)
    assert "no generated views" in sentence(
        chain, fresh.of("b"), lambda job: chain.anew(job, fresh.of("b"), ["s1"])
    )
    fresh.close()


def test_the_elevation_is_taken_where_it_is_set(tmp_path: Path, session: Session) -> None:
    chain = make_chain(Tinted())
    picture = draw_picture(tmp_path / "red.png", RED)
    shown = shown_by(chain, session, lambda job: chain.picture(job, session, picture, seed=0, elevation=12.5))
    assert shown.found.elevation is not None
    assert (shown.found.elevation.source, shown.found.elevation.degrees) == ("given", 12.5)


def test_examples_work_without_any_synthesiser(session: Session) -> None:
    chain = make_chain()
    example = EXAMPLES[0]
    shown = shown_by(chain, session, lambda job: chain.picture(job, session, None, seed=0, example=example))
    assert shown.found.elevation is not None and shown.found.elevation.degrees == example.elevation
    assert not shown.remakable, "exact views don't depend on a seed"
    true = example.object.render(shown.found.views.cameras)
    assert float((true.rgb - shown.found.views.images).abs().max()) < 0.01


def test_examples_are_drawn(tmp_path: Path) -> None:
    with Image.open(EXAMPLES[0].draw(tmp_path, size=32)) as image:
        alpha = np.asarray(image)[..., 3]
    assert image.mode == "RGBA" and 0.1 < (alpha > 0).mean() < 0.7
    assert len({e.name for e in EXAMPLES}) == len(EXAMPLES)


def test_what_is_wrong_is_said(tmp_path: Path, session: Session) -> None:
    without, with_views = make_chain(), make_chain(Tinted(), limits=Limits(megapixels=0.005))
    large = draw_picture(tmp_path / "large.png", RED)
    (tmp_path / "text.png").write_text("hello")

    def of(chain: Chain, file: Path | None) -> str:
        return sentence(chain, session, lambda job: chain.picture(job, session, file, seed=0))

    assert "can't be made here: the weights are not here" in of(without, large)
    assert "there is no picture yet" in of(with_views, None)
    assert "megapixels; at most 0.005" in of(with_views, large)
    assert "not a readable picture" in of(with_views, tmp_path / "text.png")
    assert list(session.folder.glob("result-*")) == []


def test_texts_are_drawn_first(tmp_path: Path, session: Session) -> None:
    class Painter:
        def describe(self) -> dict:
            return {"weights": "mine"}

        def __call__(self, text: str, *, seed: int) -> bytes:
            return draw_picture(tmp_path / "blue.png", BLUE).read_bytes()

    chain = make_chain(Tinted(), painter=Painter())
    shown = shown_by(chain, session, lambda job: chain.text(job, session, "a blue chair", seed=0))
    report = json.loads(shown.files["report"].read_text())
    assert report["text"] == {"text": "a blue chair", "seed": 0, "weights": "mine"}
    red, _, blue = mean_colour(shown.found.views.images, shown.found.views.masks).tolist()
    assert blue > red + 0.3
    assert "no painter" in sentence(
        make_chain(), session, lambda job: make_chain().text(job, session, "a chair", seed=0)
    )


def test_posed_views_of_an_archive(made, tmp_path: Path, session: Session) -> None:
    before = made[2].shown
    chain = make_chain()
    file = tmp_path / "views.zip"
    names = [n for n in zipfile.ZipFile(before.files["all"]).namelist() if n.startswith("views/")]
    with zipfile.ZipFile(before.files["all"]) as packed, zipfile.ZipFile(file, "w") as again:
        for name in names:
            again.writestr(name, packed.read(name))
    shown = shown_by(chain, session, lambda job: chain.posed(job, session, file))
    assert shown.found.views.names == before.found.views.names
    assert shown.cameras is not None and Image.open(shown.cameras).size[0] > 900
    assert list(session.folder.glob("scratch-*")) == [], "what was unpacked is gone"
    assert not shown.remakable


def test_an_archive_that_is_none_or_holds_nothing_known(tmp_path: Path, session: Session) -> None:
    chain = make_chain()
    (tmp_path / "a.zip").write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.writestr("notes.txt", "x")

    def of(file: Path | None) -> str:
        return sentence(chain, session, lambda job: chain.posed(job, session, file))

    assert "not a zip file" in of(tmp_path / "a.zip")
    assert "no posed pictures of a known layout" in of(tmp_path / "b.zip")
    assert "there is no archive yet" in of(None)
    assert list(session.folder.iterdir()) == []


def test_cancelling_ends_it_between_two_views(tmp_path: Path, session: Session) -> None:
    synthesizer = Tinted()
    synthesizer.gate.clear()
    chain = make_chain(synthesizer)
    picture = draw_picture(tmp_path / "red.png", RED)
    job = chain.start(session, lambda job: chain.picture(job, session, picture, seed=0, elevation=30.0))
    while not synthesizer.asked:
        job.wait(0.01)
    assert session.cancel()
    synthesizer.gate.set()
    assert job.wait(10)
    assert [e for b in job.batches() for e in b][-1] == Failed("Cancelled.", cancelled=True)
    assert len(synthesizer.asked) <= 2 and session.shown is None


def test_cancelling_ends_the_extraction(tmp_path: Path, session: Session) -> None:
    chain = make_chain(Tinted())
    picture = draw_picture(tmp_path / "red.png", RED)
    calls = []

    def work(job: Job) -> Shown:
        check = job.check

        def counting() -> None:
            calls.append(1)
            check()

        job.check = counting  # type: ignore[method-assign]
        return chain.picture(job, session, picture, seed=0, elevation=30.0)

    job = chain.start(session, work)
    for batch in job.batches():
        if any(isinstance(e, Step) and e.stage == "mesh" for e in batch):
            before = len(calls)
            session.cancel()
    assert before and len(calls) <= before + 2
    assert batch[-1] == Failed("Cancelled.", cancelled=True)


def test_thumbnails_lie_on_white() -> None:
    rgba = np.zeros((1, 2, 4), np.uint8)
    rgba[0, 1] = (10, 20, 30, 255)
    with Image.open(io.BytesIO(thumbnail(rgba))) as image:
        assert np.asarray(image).tolist() == [[[255, 255, 255], [10, 20, 30]]]
