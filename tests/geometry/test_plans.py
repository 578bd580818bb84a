"""View plans against the published pose rule."""

import pytest
import yaml

from one2345.errors import InputError
from one2345.geometry import ViewPlan, load_plan, spherical
from one2345.paths import conf_dir


def test_every_plan_file_loads_and_has_its_name() -> None:
    names = sorted(f.stem for f in (conf_dir() / "plan").glob("*.yaml"))
    assert names == ["published", "published32", "ring8", "ring8_near", "uniform16", "uniform32", "uniform8"]
    for name in names:
        assert load_plan(name).name == name
        assert yaml.safe_load((conf_dir() / "plan" / f"{name}.yaml").read_text())["name"] == name


@pytest.mark.parametrize(
    ("elevation", "second_ring"), [(30.0, 0.0), (15.0, -15.0), (14.9, 44.9), (-10.0, 20.0)]
)
def test_published_rings(elevation: float, second_ring: float) -> None:
    views = load_plan("published").views(elevation)
    assert [v.azimuth for v in views[:8]] == [0, 90, 180, 270, 30, 120, 210, 300]
    assert [v.elevation for v in views[:4]] == [elevation] * 4
    assert [v.elevation for v in views[4:8]] == pytest.approx([second_ring] * 4)
    near = [v for v in views if v.parent == 5]
    assert [(v.azimuth, v.elevation) for v in near] == [
        pytest.approx(x)
        for x in [(120, second_ring + 10), (120, second_ring - 10), (110, second_ring), (130, second_ring)]
    ]


@pytest.mark.parametrize(
    ("name", "total", "sources"),
    [
        ("published", 40, 40),
        ("published32", 40, 32),
        ("ring8", 8, 8),
        ("uniform8", 8, 8),
        ("uniform32", 32, 32),
    ],
)
def test_counts(name: str, total: int, sources: int) -> None:
    plan = load_plan(name)
    assert len(plan.views(20.0)) == total and len(plan.source_views(20.0)) == sources
    assert len({v.name for v in plan.views(20.0)}) == total


def test_uniform_plans_ignore_the_input_and_are_balanced() -> None:
    plan = load_plan("uniform16")
    assert plan.views(0.0) == plan.views(40.0)
    assert plan.cameras(0.0).centres.mean(0).norm() < 0.1


def test_cameras_stand_where_the_views_say() -> None:
    plan = load_plan("published")
    azimuth, elevation, radius = spherical(plan.cameras(20.0, 64).c2w)
    for view, a, e in zip(plan.views(20.0), azimuth, elevation, strict=True):
        assert abs((float(a) - view.azimuth + 180) % 360 - 180) < 1e-2 and float(e) == pytest.approx(
            view.elevation, abs=1e-2
        )
    assert float((radius - 1.2).abs().max()) < 1e-5


def test_errors() -> None:
    with pytest.raises(InputError, match="ring8"):
        load_plan("ring9")
    with pytest.raises(InputError, match="stage1\\[0\\]"):
        ViewPlan(name="x", stage1=[{"azimuth": 0}])
    with pytest.raises(InputError, match="exactly one"):
        ViewPlan(name="x", stage1=[{"azimuth": 0, "elevation": 1, "ring": True}])
