"""Every stage is timed, counted and written down, at sizes that take no time."""

import json

import pytest
import run
import scaling
import timing
from scene import Sizes

TINY = [
    "--pixels",
    "32",
    "--volume",
    "16",
    "--rays",
    "8",
    "--lattice",
    "24",
    "--repeats",
    "1",
    "--budget",
    "0.1",
]


def test_exponents():
    assert scaling.exponent([1, 2, 4, 8], [3, 6, 12, 24]) == pytest.approx(1)
    assert scaling.exponent([2, 4, 8], [5, 40, 320]) == pytest.approx(3)


def test_a_slow_call_is_not_warmed_up_and_drops_out_early():
    calls = {"slow": 0, "quick": 0}

    def call(name, work):
        def run():
            calls[name] += 1
            return sum(i * i for i in range(work))

        return run

    laps = timing.race(
        {"slow": call("slow", 300_000), "quick": call("quick", 100)}, repeats=5, budget=0.0, warm=0.005
    )
    assert calls == {"slow": 1, "quick": 2}
    assert [len(found.cpu) for found in laps.values()] == [1, 1]


def test_memory_is_that_of_the_call():
    import torch

    most, total = timing.peak(lambda: torch.ones(2**24).sum(), "cpu")
    assert total == 2**24
    assert 0.9 * 2**26 < most.most - most.before < 1.5 * 2**26


def test_stages_that_are_none(capsys):
    with pytest.raises(SystemExit):
        run.main(["features", "walls"])
    assert "'walls'" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_measured_is_written_down(tmp_path, capsys):
    out = ["--out", str(tmp_path / "r"), "--add"]
    run.main([*TINY, "--views", "2", *out, "--quick", "--contestants", "stick", "--", "network"])
    first = json.loads((tmp_path / "r.json").read_text())
    run.main([*TINY, "--views", "2", *out, "--contestants", "stick", "sdf_base", "--", "step"])
    report = json.loads((tmp_path / "r.json").read_text())
    rows = report["rows"]
    assert [(r["stage"], r["contestant"]) for r in rows] == [
        ("network", "stick gather"), ("network", "stick dense"), ("step", "stick dense"), ("step", "sdf_base"),
    ]  # fmt: skip
    assert rows[:2] == first["rows"]
    assert len(report["commands"]) == 2
    for row in rows:
        assert row["seconds"]["cpu"]["median"] > 0
    for row in rows[2:]:
        assert row["flops"] > 1e6
        assert row["bytes"] > 1e5
        assert 2**27 < row["before"] <= row["peak"] < 2**32
    text = (tmp_path / "r.md").read_text()
    assert "| step | 2 |  | sdf_base |" in text
    assert "python benchmarks/run.py --pixels 32" in text
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.slow
def test_scaling(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "BASE", Sizes(views=2, pixels=32, volume=16, rays=8, lattice=16))
    monkeypatch.setitem(scaling.AXES, "batch", scaling.Axis("batch", ("step",), (1, 2), 1))
    scaling.main(["batch", "--repeats", "1", "--out", str(tmp_path / "s")])
    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert [row["network"] for row in rows] == list(scaling.NETWORKS)
    assert all(0.9 < row["exponents"]["flops"] < 1.1 for row in rows)
    assert "| batch | step | sdf_base | 1, 2 |" in (tmp_path / "s.md").read_text()
