import csv
import json
import logging
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from one2345.errors import EmptySurfaceError, InputError
from one2345.evaluation import (
    EvaluationProtocol,
    Prediction,
    Row,
    Summary,
    Truth,
    evaluate,
    print_table,
    visual_hulls,
)
from one2345.objects import load_mesh

PROTOCOL = EvaluationProtocol(name="test", points=8000, resolutions=(32,))


@pytest.fixture(scope="module")
def predictors(true_mesh):
    turn = np.diag([1.0, -1.0, -1.0, 1.0])

    def perfect(record):
        mesh = true_mesh if record.id != "turned" else true_mesh.transformed(turn)
        from tests.evaluation.conftest import coloured

        images = Truth.from_record(record).views.images
        return Prediction(mesh=coloured(mesh), images=images, seconds=1.25, note="itself")

    def moody(record):
        if record.id == "turned":
            raise EmptySurfaceError("the SDF has no surface: values in [0.1, 0.2] <b>")
        return Prediction(mesh=true_mesh)

    hulls, groups = visual_hulls(resolutions=(8, 48))
    return {"perfect": perfect, "moody": moody, **hulls}, groups


@pytest.fixture(scope="module")
def outcome(predictors, records, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    steps = []
    summary = evaluate(
        predictors[0], records, out, PROTOCOL, best_of=predictors[1], title="A <title>",
        details={"Inputs": "exact"}, progress=lambda *a: steps.append(a),
    )  # fmt: skip
    assert steps[0][:2] == (0, 8)
    assert steps[-1][:2] == (8, 8)
    return summary, out


def test_the_truth_scores_best_possible(outcome):
    summary, _ = outcome
    for row in summary.of("perfect"):
        assert row.scores["iou_32"] > 0.995
        assert row.scores["f_0.02"] > 0.99
        assert row.scores["chamfer"] < 0.008  # half the spacing of 8000 points, in edges
        assert row.scores["psnr"] > 40
        assert row.scores["psnr_field"] == 100.0
        assert row.seconds == 1.25


def test_turned_object_is_told_from_the_other(predictors, records, tmp_path):
    """The frame is the truth's: the same mesh in the wrong pose must lose."""
    wrong = {"wrong": lambda record: predictors[0]["moody"](records[0])}
    summary = evaluate(wrong, records[1:], tmp_path, PROTOCOL, mesh_format=None)
    assert summary.statistic("wrong", "iou_32").mean < 0.6
    assert summary.statistic("wrong", "psnr").mean < 25
    assert not (tmp_path / "meshes").exists()


def test_hull_is_measured_and_the_best_is_named(outcome):
    summary, _ = outcome
    assert summary.best == {"visual hull": "visual hull 48"}
    assert summary.shown() == ["perfect", "moody", "visual hull"]
    assert summary.label("visual hull") == "visual hull (best: 48)"
    assert summary.statistic("visual hull", "iou_32").mean > 0.8
    assert summary.statistic("visual hull", "psnr").mean > 20


def test_failures_are_recorded_counted_and_not_averaged(outcome, caplog):
    summary, out = outcome
    document = json.loads((out / "summary.json").read_text())
    moody = document["predictors"]["moody"]
    assert moody["n"] == 1
    assert list(moody["failed"]) == ["turned"]
    assert moody["failed"]["turned"].startswith("EmptySurfaceError: the SDF has no surface")
    assert moody["metrics"]["iou_32"]["n"] == 1
    assert document["common_objects"] == 1
    perfect = document["predictors"]["perfect"]
    assert perfect["metrics"]["iou_32"]["n"] == 2
    assert perfect["mean_over_common"]["iou_32"] == summary.of("perfect")[0].scores["iou_32"]


def test_tables_hold_every_row(outcome):
    _, out = outcome
    with (out / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {r["object"] for r in rows} == {"a,b=1 [ü]", "turned"}
    (failed,) = [r for r in rows if r["status"] == "failed"]
    assert failed["predictor"] == "moody"
    assert failed["iou_32"] == ""
    assert "no surface" in failed["reason"]
    documents = json.loads((out / "objects.json").read_text())
    assert [d["object"] for d in documents] == [r["object"] for r in rows]
    assert float(rows[0]["iou_32"]) == pytest.approx(documents[0]["scores"]["iou_32"], rel=1e-5)
    assert not list(out.rglob("*.tmp"))


def test_meshes_are_those_measured(outcome, true_mesh):
    _, out = outcome
    loaded = load_mesh(out / "meshes" / "perfect" / "a,b=1 [ü].glb")
    assert loaded.volume() == pytest.approx(true_mesh.volume(), rel=1e-4)
    assert np.allclose(loaded.bounds, true_mesh.bounds, atol=1e-6)
    assert not (out / "meshes" / "moody" / "turned.glb").exists()


def test_report_stands_alone(outcome):
    _, out = outcome
    html = (out / "report.html").read_text()
    assert "A &lt;title&gt;" in html
    assert "[0.1, 0.2] &lt;b&gt;" in html
    assert not re.search(r"https?://|<script|@import|url\(", html)
    sources = re.findall(r'<img[^>]*src="([^"]{0,30})', html)
    assert len(sources) == 2 * (1 + 2) + 2 * (2 + 2) + 2 - 0
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert "prefers-color-scheme: dark" in html


def test_printed_table_names_failures_and_fits_a_terminal(outcome, capsys):
    print_table(outcome[0], Console(width=100, no_color=True))
    text = capsys.readouterr().out
    assert "1 of 2" in text
    assert "failed moody on turned" in text
    assert "IoU 32³ ↑" in text
    assert "visual hull (best: 48)" in text


def test_brackets_in_names_and_reasons_are_printed_as_they_are(capsys):
    rows = (
        Row("[/tmp/a]", "net [/b]", {}, failure="InputError: [/red] is no file [bold]"),
        Row("[/tmp/a]", "other", {"iou_32": 0.5, "chamfer": 0.1}),
    )
    summary = Summary(PROTOCOL, ("[/tmp/a]",), ("net [/b]", "other"), rows, {}, {})
    print_table(summary, Console(width=200, no_color=True))
    text = capsys.readouterr().out
    assert "failed net [/b] on [/tmp/a]: InputError: [/red] is no file [bold]" in text
    assert "0.5000 (0.5000)" in text


def test_two_runs_agree_but_for_the_times(predictors, records, outcome, tmp_path):
    evaluate(predictors[0], records, tmp_path, PROTOCOL, best_of=predictors[1])

    def stripped(folder):
        summary = json.loads((folder / "summary.json").read_text())
        summary.pop("seconds")
        rows = json.loads((folder / "objects.json").read_text())
        return summary, [{k: v for k, v in r.items() if k != "seconds"} for r in rows]

    assert stripped(tmp_path) == stripped(outcome[1])


def test_defects_are_not_swallowed(records, tmp_path):
    def broken(record):
        raise AttributeError("a bug")

    with pytest.raises(AttributeError, match="a bug"):
        evaluate({"broken": broken}, records[:1], tmp_path, PROTOCOL)


def test_odd_predictions_are_failures_not_crashes(records, true_mesh, tmp_path, caplog):
    odd = {
        "few images": lambda r: Prediction(mesh=true_mesh, images=torch.zeros(1, 3, 64, 64)),
        "flat": lambda r: Prediction(mesh=type(true_mesh)(np.zeros((3, 3)), np.array([[0, 1, 2]]))),
    }
    odd["sound"] = lambda r: Prediction(mesh=true_mesh)
    with caplog.at_level(logging.WARNING, "one2345.evaluation"):
        summary = evaluate(odd, records[:1], tmp_path, PROTOCOL)
    assert [row.failure is None for row in summary.rows] == [False, False, True]
    assert "few images failed on" in caplog.text
    assert (tmp_path / "report.html").exists()


def test_a_method_that_never_works_is_an_error_after_everything_is_written(records, tmp_path):
    def broken(record):
        raise EmptySurfaceError(f"nothing of {record.id}")

    hulls, groups = visual_hulls(resolutions=(16,))
    with pytest.raises(
        InputError, match=r"network exact, network simulated failed on every object; the first, a,b=1"
    ):
        evaluate(
            {"network exact": broken, "network simulated": broken, **hulls},
            records, tmp_path, PROTOCOL, best_of=groups,
        )  # fmt: skip
    for name in ("objects.csv", "objects.json", "summary.json", "report.html"):
        assert (tmp_path / name).is_file()
    assert (tmp_path / "meshes" / "visual_hull_16" / "turned.glb").is_file()
    with pytest.raises(InputError, match="broken failed on every object"):
        evaluate({"broken": broken}, records, tmp_path, PROTOCOL)


def test_grids_that_are_not_there_are_named_before_anything_is_measured(records, tmp_path):
    def never(record):
        raise AssertionError("measured")

    wanted = EvaluationProtocol(name="fine", resolutions=(32, 64))
    with pytest.raises(
        InputError,
        match=r"needs occupancy grids \[32, 64\], .* has \[32\]; .*eval_samples.occupancy=\[32,64\]",
    ):
        evaluate({"a": never}, records, tmp_path, wanted)
    bare = [replace(records[0], sample_counts=None)]
    with pytest.raises(InputError, match="has none; "):
        evaluate({"a": never}, bare, tmp_path, wanted)
    assert not list(tmp_path.iterdir())


def test_senseless_requests_are_errors(records, tmp_path):
    predictor = {"a": lambda r: None}
    with pytest.raises(InputError, match="no predictors"):
        evaluate({}, records, tmp_path, PROTOCOL)
    with pytest.raises(InputError, match="no objects"):
        evaluate(predictor, [], tmp_path, PROTOCOL)
    with pytest.raises(InputError, match="repeat"):
        evaluate(predictor, records[:1] * 2, tmp_path, PROTOCOL)
    with pytest.raises(InputError, match="best_of"):
        evaluate(predictor, records, tmp_path, PROTOCOL, best_of={"g": ["b"]})
    with pytest.raises(InputError, match="thresholds"):
        EvaluationProtocol(name="x", thresholds=(0.0,))
