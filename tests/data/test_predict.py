"""Predictions of prepared objects: shared by several runs, resumption to the same bytes, layouts, what is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.spheres import RECIPE, Balls, tree

from one2345.data import prepare_objects
from one2345.data.inputs import PredictedInputs
from one2345.data.ledger import Ledger, failures
from one2345.data.predict import PredictSettings, plan_requests, predict_objects
from one2345.data.predict_published import publish, published_folder
from one2345.errors import InputError
from one2345.seeding import torch_rng
from one2345.views import object_folder, read_object
from one2345.views.layouts.published import POSES, read_published
from one2345.views.synthesis import Synthesised

IDS = ["ball-0", "ball-1", "ball-2"]


@dataclass
class Painter:
    """Adds noise that is keyed by view and seed to the picture it is given. fail: dies at this view."""

    size: int = 24
    elevation: float | None = None
    fail: str | None = None
    error: type[BaseException] = KeyboardInterrupt
    strength: float = 0.1
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def picture(self):
        return None

    def describe(self):
        return {"kind": "painter", "strength": self.strength}

    def __call__(self, requests, pictures, *, seed, report=None):
        self.asked.append(tuple(r.name for r in requests))
        if self.fail in self.asked[-1]:
            raise self.error("stopped")
        noise = torch.stack(
            [torch.rand(3, self.size, self.size, generator=torch_rng(seed, r.name)) for r in requests]
        )
        object_ = pictures.amin(1, keepdim=True) < 1
        painted = torch.where(object_, pictures - self.strength * noise, pictures).clamp(0, 1)
        return Synthesised(painted, torch.ones(len(requests), 24, 24))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prepared")
    prepare_objects(Balls(3), out=out, recipe=replace(RECIPE, plan="published"), workers=1, progress=False)
    return out


def predict(root, out, painter=None, ids=IDS, **settings):
    painter = painter or Painter()
    return predict_objects(
        lambda record: painter,
        root=root,
        ids=ids,
        out=out,
        settings=PredictSettings(**settings),
        progress=False,
    )


def test_the_near_views_of_the_plan_are_predicted_from_the_true_ones(root, tmp_path):
    summary = predict(root, tmp_path)
    assert (summary.made, summary.kept, summary.failed) == (3, 0, {})
    record = read_object(object_folder(root, "ball-1"))
    names = [n for n, r in zip(record.names, record.roles, strict=True) if r == "near"]
    assert sorted(p.stem for p in (tmp_path / "ball-1").glob("*.png")) == sorted(names) and len(names) == 32
    views = PredictedInputs(root=tmp_path)(record, record.views(names), key=(0,))
    whole = record.views().images
    parents = whole[[record.index(record.parents[record.index(n)]) for n in names]]
    assert float((views.images - parents).abs().max()) <= 0.1 + 1 / 255
    assert float((views.images - parents).abs().mean()) > 0.005
    note = json.loads((tmp_path / "ball-1" / "prediction.json").read_text())
    assert note["synthesiser"] == {"kind": "painter", "strength": 0.1} and note["seed"] == 0
    assert note["views"]["s3_n2"] == {"source": "s3", "source_is": "true"}


def test_requests_say_where_the_camera_goes(root):
    record = read_object(object_folder(root, "ball-0"))
    requests, sources = plan_requests(record, PredictSettings(stage1=True))
    by_name = {r.name: r for r in requests}
    assert len(requests) == 40 and sources[:8] == ["s0"] * 8
    assert by_name["s2"].azimuth in (180.0, -180.0) and by_name["s2"].elevation == 0
    assert (by_name["s1_n0"].azimuth, by_name["s1_n0"].elevation) == (0, pytest.approx(10, abs=1e-3))
    assert (by_name["s1_n2"].azimuth, by_name["s1_n2"].parent_azimuth) == (
        pytest.approx(-10, abs=1e-3),
        pytest.approx(90, abs=1e-3),
    )


def test_a_chain_hands_predicted_views_on(root, tmp_path):
    painter = Painter()
    predict(root, tmp_path, painter, ["ball-0"], chain=True)
    assert [len(names) for names in painter.asked] == [8, 32]
    note = json.loads((tmp_path / "ball-0" / "prediction.json").read_text())
    assert note["views"]["s3_n2"]["source_is"] == "predicted" and note["views"]["s3"]["source_is"] == "true"
    read = lambda n: np.asarray(Image.open(tmp_path / "ball-0" / f"{n}.png").convert("RGB"), float)  # noqa: E731
    assert float((read("s3") - read("s3_n2")).max()) <= 0.1 * 255 + 1
    assert float((read("s3") - read("s3_n2")).min()) >= 0


@pytest.mark.parametrize("stopped_at", ["s0", "s5_n1"])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(root, tmp_path, stopped_at):
    predict(root, tmp_path / "whole", chain=True)
    with pytest.raises(KeyboardInterrupt):
        predict(root, tmp_path / "parts", Painter(fail=stopped_at), chain=True)
    found = tree(tmp_path / "parts")
    whole = tree(tmp_path / "whole")
    assert not any(name.endswith("prediction.json") for name in found)
    assert all(whole[n] == data for n, data in found.items() if n.endswith(".png"))
    # As if the kill had fallen between two pictures.
    for name in [n for n in found if n.endswith("s3.png")]:
        (tmp_path / "parts" / name).unlink()
    there = {n for n in tree(tmp_path / "parts") if n.endswith(".png") and n.startswith("ball-0")}
    painter = Painter()
    predict(root, tmp_path / "parts", painter, chain=True)
    assert tree(tmp_path / "parts") == whole
    made_of_first = set(painter.asked[0]) | (set(painter.asked[1]) if there else set())
    assert not made_of_first & {Path(n).stem for n in there}
    painter = Painter()
    assert predict(root, tmp_path / "parts", painter, chain=True).kept == 3 and painter.asked == []


def test_runs_at_once_share_the_objects(root, tmp_path):
    painters = [Painter(), Painter()]
    predict(root, tmp_path / "whole")
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(predict, root, tmp_path / "parts", painter) for painter in painters]
    assert sum(run.result().made for run in runs) == 3
    assert [row.made for row in Ledger(tmp_path / "parts").rows("predict")] == [1, 1, 1]
    assert sum(len(painter.asked) for painter in painters) == 3
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_an_object_that_fails_is_noted_and_tried_again(root, tmp_path):
    painters = {id: Painter() for id in IDS}
    painters["ball-1"] = Painter(fail="s0_n0", error=RuntimeError)
    run = lambda: predict_objects(  # noqa: E731
        lambda record: painters[record.id], root=root, ids=IDS, out=tmp_path, progress=False
    )
    summary = run()
    assert summary.made == 2 and summary.failed == {"ball-1": "RuntimeError: stopped"}
    assert failures(tmp_path, "predict") == summary.failed
    painters["ball-1"] = Painter()
    assert (run().made, failures(tmp_path, "predict")) == (1, {})


def test_another_synthesiser_or_seed_needs_another_folder(root, tmp_path):
    predict(root, tmp_path, ids=["ball-0"])
    with pytest.raises(InputError, match=r"predicted otherwise \(synthesiser differ\)"):
        predict(root, tmp_path, Painter(strength=0.2), ["ball-0"])
    with pytest.raises(InputError, match=r"predicted otherwise \(seed differ\)"):
        predict(root, tmp_path, ids=["ball-0"], seed=1)


def test_when_every_object_fails_the_run_does(root, tmp_path):
    with pytest.raises(InputError, match="none of 3 objects could be predicted; the first, ball-0"):
        predict(root, tmp_path, Painter(fail="s0_n0", error=ValueError))


def test_the_published_layout_reads_back(root, tmp_path):
    predict(root, tmp_path, ids=["ball-2"])
    record = read_object(object_folder(root, "ball-2"))
    folder = publish(record, tmp_path / "ball-2", tmp_path)
    assert folder == published_folder(tmp_path, "ball-2")
    assert folder.parent.parent.name == "zero12345_narrow"
    views, _ = read_published(folder, folder / POSES)
    assert len(views) == 40 and views.roles.count("near") == 32
    order = [record.index(f"s{n[5]}" + (f"_n{n[7]}" if len(n) > 6 else "")) for n in views.names]
    assert torch.allclose(views.cameras.c2w, record.cameras.c2w[order], atol=1e-5)
    true = [i for i, role in enumerate(views.roles) if role == "stage1"]
    exact = record.views([order[i] for i in true], depth=True)
    assert torch.allclose(views.images[true], exact.images, atol=1e-5)
    with Image.open(folder / "view_3_depth_mm.png") as image:
        stored = np.asarray(image).astype(float) / 1000
    assert np.abs(stored - exact.depth[3].numpy()).max() <= 0.0006
    with Image.open(folder / "view_3_2_10.png") as near, Image.open(tmp_path / "ball-2/s3_n2.png") as own:
        assert near.mode == "RGB" and near.tobytes() == own.convert("RGB").tobytes()


def test_the_published_layout_is_written_with_each_object_and_made_up_for(root, tmp_path):
    def run() -> int:
        summary = predict_objects(
            lambda record: Painter(), root=root, ids=IDS, out=tmp_path, published=True, progress=False
        )
        return summary.made

    predict(root, tmp_path, ids=IDS[:1])
    assert not published_folder(tmp_path, "ball-0").exists()
    assert run() == 2
    whole = tree(tmp_path)
    assert all((published_folder(tmp_path, id) / POSES).is_file() for id in IDS)
    (published_folder(tmp_path, "ball-1") / POSES).unlink()
    assert run() == 0 and tree(tmp_path) == whole


def test_the_published_layout_needs_the_published_plan(root, tmp_path):
    record = read_object(object_folder(root, "ball-2"))
    few = replace(
        record,
        roles=tuple("target" if n == "s0_n0" else r for n, r in zip(record.names, record.roles, strict=True)),
    )
    with pytest.raises(InputError, match="plan=published"):
        publish(few, tmp_path, tmp_path)
