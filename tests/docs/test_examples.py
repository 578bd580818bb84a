"""The examples of docs/examples do what their page says; the commands that use them are run by test_commands."""

import importlib
import re
from typing import Any

import numpy as np
import pytest
import torch
from tests.docs.documents import ROOT

from one2345.geometry import Cameras, hull_sdf, load_plan, mask_distance
from one2345.objects import MeshReport, random_shape, report
from one2345.rendering import RenderSettings, render_views
from one2345.views.synthesis import ViewRequest


@pytest.fixture
def example(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    return importlib.import_module


def test_the_network_starts_at_the_hull_and_trains(example):
    torch.manual_seed(0)
    network = example("own_network").PointNetwork(hidden=8)
    shape = random_shape(1, index=32)
    cameras = load_plan("ring8").cameras(20.0, size=32)
    seen = shape.render(cameras)
    field = network(seen.rgb[None], seen.mask[None], Cameras.stack([cameras]))
    points = torch.rand(1, 64, 3) - 0.5
    hull = hull_sdf(points[0], mask_distance(seen.mask), cameras).clamp(-1, 1)
    assert torch.allclose(field.sdf(points)[0], hull, atol=1e-6)
    value, gradient = field.sdf_and_gradient(points)
    assert gradient.shape == (1, 64, 3) and 0.5 < float(gradient.detach().norm(dim=-1).median()) < 1.5
    (value - shape.sdf(points)).abs().mean().backward()
    assert float(network.correction[-1].weight.grad.abs().sum()) > 0
    rendered = render_views(
        field.only(0), cameras[:1], inv_s=50.0, settings=RenderSettings(coarse=16, fine=16)
    )
    inside = seen.mask[0] > 0.5
    assert float(rendered.mask[0][inside].mean()) > 0.8 > 0.2 > float(rendered.mask[0][~inside].mean())


def test_the_lathe_shows_its_picture_from_all_sides(example):
    lathe = example("own_synthesiser").Lathe(size=16)
    picture = torch.ones(3, 16, 16)
    picture[:, 4:12, 4:12] = 0.2
    requests = [ViewRequest(name=f"s{i}", parent=None, azimuth=90.0 * i, elevation=0.0) for i in range(2)]
    done: list[int] = []
    made = lathe(requests, torch.stack([picture, picture]), seed=0, report=done.append)
    assert torch.equal(made.images[1], picture) and float(made.masks.sum()) == 2 * 64 and done == [2]


def test_superellipsoids_are_closed_and_split(example):
    module = example("own_dataset")
    source = module.Superellipsoids(count=10)
    splits = [source.ids(split) for split in ("train", "val", "test")]
    assert [len(s) for s in splits] == [6, 2, 2] and sorted(id for s in splits for id in s) == source.ids()
    mesh = module.superellipsoid(2.0, np.array([1.0, 1.0, 1.0]), rings=32)
    found: MeshReport = report(mesh)
    assert found.closed and found.consistent
    assert abs(mesh.volume() - 4 / 3 * np.pi) < 0.05
    loaded = source.load(source.ids()[0])
    assert loaded.object.id == source.ids()[0] and loaded.provenance["licence"] == "CC0-1.0"


def test_the_protocol_measures_boxes(example, tmp_path):
    module = example("own_protocol")
    shapes = {f"object-{i}": random_shape(1, index=i).mesh(32) for i in (15, 32)}
    summary = module.measure_boxes(shapes, tmp_path)
    rows = {row.object: row for row in summary.rows}
    assert not any(row.failure for row in summary.rows)
    # A box is its own bounding box; a mug is not.
    assert rows["object-15"].scores["f_0.1"] > 0.9 > rows["object-32"].scores["f_0.1"]
    assert (tmp_path / "table.md").is_file() and "mine" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    coarse = code.replace(
        'plan=load_plan("ring8"),', 'plan=load_plan("ring8"), extractor=Extractor(resolution=40),'
    )
    assert coarse != code
    exec("from one2345.meshing import Extractor\n" + coarse, {})
    assert (tmp_path / "out.glb").read_bytes().startswith(b"glTF")
