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
    Aligner,
    Appearance,
    Case,
    EvaluationProtocol,
    MeshTruth,
    OccupancyGrid,
    Prediction,
    RecordTruth,
    Row,
    Summary,
    bounding_sphere,
    evaluate,
    print_table,
    visual_hulls,
)
from one2345.objects import load_mesh

PROTOCOL = EvaluationProtocol(
    name="test",
    points=8000,
    occupancy=OccupancyGrid(resolutions=(32,)),
    bootstrap=200,
    pictures=("psnr", "ssim"),
)
PICTURES = Appearance(metrics=["psnr", "ssim"]).load()
COARSE = EvaluationProtocol(
    name="coarse", points=2000, occupancy=None, thresholds=(0.1,), bootstrap=0, pictures=(),
    alignment=Aligner(method="centre_scale"),
)  # fmt: skip


def run(predictors, records, out, protocol=PROTOCOL, **settings):
    """The one summary of an evaluation on prepared objects."""
    cases = [Case.of_record(r) for r in records]
    (summary,) = evaluate(predictors, cases, out, [protocol], appearance=PICTURES, **settings)
    return summary


@pytest.fixture(scope="module")
def predictors(true_mesh):
    turn = np.diag([1.0, -1.0, -1.0, 1.0])

    def perfect(case):
        mesh = true_mesh if case.id != "turned" else true_mesh.transformed(turn)
        from tests.evaluation.conftest import coloured

        images = case.truth.views(PROTOCOL).images
        return Prediction(mesh=coloured(mesh), images=images, seconds=1.25, note="itself")

    def moody(case):
        if case.id == "turned":
            raise EmptySurfaceError("the SDF has no surface: values in [0.1, 0.2] <b>")
        return Prediction(mesh=true_mesh)

    hulls, groups = visual_hulls(resolutions=(8, 48))
    sphere = {"bounding sphere": bounding_sphere}
    groups = {**groups, "bounding sphere": ("bounding sphere",)}
    return {"perfect": perfect, "moody": moody, **hulls, **sphere}, groups


@pytest.fixture(scope="module")
def outcome(predictors, records, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    steps = []
    summary = run(
        predictors[0], records, out, best_of=predictors[1], title="A <title>", details={"Inputs": "exact"},
        provenance={"code": "x"}, notes=["A note."], progress=lambda *a: steps.append(a),
    )  # fmt: skip
    count = len(predictors[0])
    first, second = records[:2]
    assert [s[:2] for s in steps] == [
        *((at, 2 * count) for k in (0, count) for at in (k, *range(k, k + count))), (2 * count, 2 * count),
    ]  # fmt: skip
    assert steps[1][2] == f"{first.id}: perfect" and steps[-2][2].startswith(f"{second.id}: ")
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
    wrong = {"wrong": lambda case: predictors[0]["moody"](Case.of_record(records[0]))}
    summary = run(wrong, records[1:], tmp_path, mesh_format=None)
    assert summary.statistic("wrong", "iou_32").mean < 0.6
    assert summary.statistic("wrong", "psnr").mean < 25
    assert not (tmp_path / "meshes").exists()


class Stopped(BaseException):
    """As if the process were killed."""


def test_the_same_evaluation_goes_on_where_it_was_stopped(predictors, records, outcome, tmp_path):
    """To the same results, to the last digit, but for the seconds; and nothing is asked twice."""
    asked = []

    def counted(case, allowed=None):
        if len(asked) == allowed:
            raise Stopped
        asked.append(case.id)
        return predictors[0]["perfect"](case)

    settings = {"provenance": {"code": "x"}, "key": "one", "title": "A"}
    with pytest.raises(Stopped):
        run({"perfect": lambda case: counted(case, 1)}, records, tmp_path, **settings)
    assert [file.name for file in (tmp_path / "finished").iterdir()] == [f"{records[0].id}.json"]
    assert not (tmp_path / "results.json").exists()
    steps = []
    summary = run({"perfect": counted}, records, tmp_path, **settings, progress=lambda *a: steps.append(a))
    assert asked == [r.id for r in records[:2]] and not (tmp_path / "finished").exists()
    assert (0, 2, f"{records[0].id}: measured before") in steps
    for kept, fresh in zip(summary.of("perfect"), outcome[0].of("perfect"), strict=True):
        timeless = {"measure_seconds": 0.0, "peak_mb": None}
        assert replace(kept, **timeless) == replace(fresh, **timeless)
    pictures = 2 * (1 + 2 + 3)  # of two objects: inputs, truth, prediction
    assert (tmp_path / "report.html").read_text().count("data:image") == pictures


def test_what_another_evaluation_left_or_nobody_can_read_is_measured_anew(
    predictors, records, tmp_path, caplog
):
    asked = []

    def counted(case):
        asked.append(case.id)
        if len(asked) % 2 == 0:
            raise Stopped
        return predictors[0]["perfect"](case)

    for key, protocol in (("one", PROTOCOL), ("other", PROTOCOL), ("other", replace(PROTOCOL, points=900))):
        with pytest.raises(Stopped):
            run({"perfect": counted}, records, tmp_path, protocol, key=key, pictures=False)
    assert asked == [r.id for r in records[:2]] * 3
    file = tmp_path / "finished" / f"{records[0].id}.json"
    file.write_text(file.read_text()[:-20])
    with pytest.raises(Stopped):
        run(
            {"perfect": counted},
            records,
            tmp_path,
            replace(PROTOCOL, points=900),
            key="other",
            pictures=False,
        )
    assert asked[-2:] == [r.id for r in records[:2]]
    assert f"{file}: can't be read and is measured anew" in caplog.text


def test_hull_is_measured_and_the_best_is_named(outcome):
    summary, _ = outcome
    assert summary.best == {"visual hull": "visual hull 48", "bounding sphere": "bounding sphere"}
    assert summary.shown() == ["perfect", "moody", "visual hull", "bounding sphere"]
    assert summary.label("bounding sphere") == "bounding sphere"
    assert summary.label("visual hull") == "visual hull (best: 48)"
    assert summary.statistic("visual hull", "iou_32").mean > 0.8
    assert summary.statistic("visual hull", "psnr").mean > 20


def test_failures_are_recorded_counted_and_not_averaged(outcome, caplog):
    summary, out = outcome
    document = json.loads((out / "results.json").read_text())
    moody = document["predictors"]["moody"]
    assert (moody["n"], moody["of"]) == (1, 2)
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
    assert len(rows) == 10
    assert {r["object"] for r in rows} == {"a,b=1 [ü]", "turned"}
    (failed,) = [r for r in rows if r["status"] == "failed"]
    assert failed["predictor"] == "moody"
    assert failed["iou_32"] == ""
    assert "no surface" in failed["reason"]
    documents = json.loads((out / "results.json").read_text())["rows"]
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
    assert len(sources) == 2 * (1 + 2) + 3 * (2 * 3 + 1)  # inputs, truth; three strips of seven predictions
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert "prefers-color-scheme: dark" in html


def test_printed_table_names_failures_and_fits_a_terminal(outcome, capsys):
    print_table(outcome[0], Console(width=140, no_color=True))
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
    summary = Summary(PROTOCOL, ("[/tmp/a]",), ("net [/b]", "other"), rows)
    print_table(summary, Console(width=200, no_color=True))
    text = capsys.readouterr().out
    assert "failed net [/b] on [/tmp/a]: InputError: [/red] is no file [bold]" in text
    assert "0.5000 (0.5000)" in text


def test_two_runs_agree_but_for_the_times(predictors, records, outcome, tmp_path):
    run(predictors[0], records, tmp_path, best_of=predictors[1], provenance={"code": "x"}, notes=["A note."])
    assert without_times(tmp_path) == without_times(outcome[1])
    for name in ("table.md", "table.tex", "figure.svg"):
        assert (tmp_path / name).read_bytes() == (outcome[1] / name).read_bytes()


def without_times(folder):
    document = json.loads((folder / "results.json").read_text())
    assert document.pop("timings")["rows"][0]["seconds"] == 1.25
    return json.dumps(document)


def test_defects_are_not_swallowed(records, tmp_path):
    def broken(record):
        raise AttributeError("a bug")

    with pytest.raises(AttributeError, match="a bug"):
        run({"broken": broken}, records[:1], tmp_path)


def test_odd_predictions_are_failures_not_crashes(records, true_mesh, tmp_path, caplog):
    odd = {
        "few images": lambda r: Prediction(mesh=true_mesh, images=torch.zeros(1, 3, 64, 64)),
        "flat": lambda r: Prediction(mesh=type(true_mesh)(np.zeros((3, 3)), np.array([[0, 1, 2]]))),
    }
    odd["sound"] = lambda r: Prediction(mesh=true_mesh)
    with caplog.at_level(logging.WARNING, "one2345.evaluation"):
        summary = run(odd, records[:1], tmp_path)
    assert [row.failure is None for row in summary.rows] == [False, False, True]
    assert "few images failed on" in caplog.text
    assert (tmp_path / "report.html").exists()


def test_a_method_that_never_works_is_an_error_after_everything_is_written(records, tmp_path):
    def broken(case):
        raise EmptySurfaceError(f"nothing of {case.id}")

    hulls, groups = visual_hulls(resolutions=(16,))
    with pytest.raises(
        InputError, match=r"network exact, network simulated failed on every object; the first, a,b=1"
    ):
        run(
            {"network exact": broken, "network simulated": broken, **hulls}, records, tmp_path, best_of=groups
        )
    for name in ("objects.csv", "results.json", "table.md", "table.tex", "figure.svg", "report.html"):
        assert (tmp_path / name).is_file()
    assert (tmp_path / "meshes" / "visual_hull_16" / "turned.glb").is_file()
    with pytest.raises(InputError, match="broken failed on every object"):
        run({"broken": broken}, records, tmp_path)


def test_grids_that_are_not_there_are_named_before_anything_is_measured(records, tmp_path):
    def never(record):
        raise AssertionError("measured")

    def refused(match, chosen=records, **changes):
        with pytest.raises(InputError, match=match):
            run({"a": never}, chosen, tmp_path, replace(PROTOCOL, **changes))

    refused(
        r"needs occupancy grids \[32, 64\], .* has \[32\]; .*eval_samples.occupancy=\[32,64\]",
        occupancy=OccupancyGrid(resolutions=(32, 64)),
    )
    refused(
        r"cube of 2 .* prepared grids span 1\.2", occupancy=OccupancyGrid(resolutions=(32,), half_edge=1.0)
    )
    refused(r"needs 8001 surface points, .* has 8000; set protocol\.points=8000", points=8001)
    bare = [replace(records[0], sample_counts=None)]
    refused("has none; ", bare)
    assert not list(tmp_path.iterdir())


def test_senseless_requests_are_errors(records, tmp_path):
    predictor = {"a": lambda r: None}
    with pytest.raises(InputError, match="no predictors"):
        run({}, records, tmp_path)
    with pytest.raises(InputError, match="no objects"):
        run(predictor, [], tmp_path)
    with pytest.raises(InputError, match="objects repeat"):
        run(predictor, records[:1] * 2, tmp_path)
    with pytest.raises(InputError, match="best_of"):
        run(predictor, records, tmp_path, best_of={"g": ["b"]})
    cases = [Case.of_record(r) for r in records]
    with pytest.raises(InputError, match="protocols repeat"):
        evaluate(predictor, cases, tmp_path, [PROTOCOL, PROTOCOL])
    with pytest.raises(InputError, match="no protocols"):
        evaluate(predictor, cases, tmp_path, [])


def test_several_protocols_share_predictions_and_have_a_folder_each(records, true_mesh, tmp_path):
    asked = []

    def moved(case):
        asked.append(case.id)
        shift = np.eye(4)
        shift[:3, 3] = 0.1
        return Prediction(mesh=true_mesh.transformed(shift))

    cases = [Case.of_record(records[0])]
    strict, coarse = evaluate({"moved": moved}, cases, tmp_path, [PROTOCOL, COARSE])
    assert len(asked) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["coarse", "meshes", "test"]
    assert set(coarse.columns()) == {"chamfer", "chamfer_squared", "f_0.1", "normal_consistency"}
    (row,) = coarse.rows
    assert row.unaligned["chamfer"] > 3 * row.scores["chamfer"]
    assert strict.rows[0].unaligned == {}
    assert "Without the alignment" in (tmp_path / "coarse" / "table.md").read_text()
    assert "Without the alignment" not in (tmp_path / "test" / "table.md").read_text()


def test_a_truth_that_cannot_be_read_counts_against_everybody(records, true_mesh, tmp_path):
    def damaged():
        raise InputError("x.glb: cut short")

    cases = [Case.of_record(records[0]), Case("lost", damaged)]
    (summary,) = evaluate({"a": lambda c: Prediction(mesh=true_mesh)}, cases, tmp_path, [PROTOCOL])
    assert [row.failure for row in summary.rows] == [None, "the truth cannot be used: x.glb: cut short"]
    table = (tmp_path / "table.md").read_text()
    assert "| a | 1 of 2 |" in table
    assert "means are over 1 of the 2 objects of the list; not measured: lost" in table


def test_true_meshes_are_drawn_at_the_protocols_cameras(true_mesh, tmp_path):
    from one2345.evaluation import CameraRings

    rings = CameraRings(rings=({"elevation": 10, "count": 3},), size=48)
    case = Case("x", lambda: MeshTruth(true_mesh, id="x"))
    (summary,) = evaluate(
        {"same": lambda c: Prediction(mesh=true_mesh, frame="truth")}, [case], tmp_path,
        [replace(PROTOCOL, cameras=rings)], appearance=PICTURES,
    )  # fmt: skip
    assert summary.rows[0].scores["psnr"] == 100.0
    assert summary.rows[0].scores["iou_32"] == 1.0
    assert summary.not_computed == {}


def test_thin_objects_are_named_and_left_out_of_their_own_mean(records, true_mesh, tmp_path):
    plate = true_mesh.transformed(np.diag([1.0, 1.0, 0.03, 1.0]))
    cases = [Case.of_record(records[0]), Case("plate", lambda: MeshTruth(plate, id="plate"))]
    meshes = {records[0].id: Prediction(mesh=true_mesh), "plate": Prediction(mesh=plate, frame="truth")}
    (summary,) = evaluate({"a": lambda c: meshes[c.id]}, cases, tmp_path, [PROTOCOL], appearance=PICTURES)
    assert summary.thin() == ["plate"]
    assert summary.thickness[records[0].id] > 0.1
    stat = summary.statistic("a", "chamfer")
    assert (stat.n, stat.n_solid) == (2, 1)
    assert stat.mean_solid == summary.rows[0].scores["chamfer"]
    assert "plate" in (tmp_path / "table.md").read_text()


def test_stored_truth_knows_its_thickness(records, true_mesh):
    """Estimated from a grid and the density of points; beside it the mesh's own, by divergence."""
    estimated = RecordTruth(records[0]).thickness()
    assert estimated == pytest.approx(MeshTruth(true_mesh, id="x").thickness(), rel=0.06)


def test_an_empty_mesh_and_one_that_cannot_be_written_lose_nothing(records, true_mesh, tmp_path):
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "blocked").write_text("a file where the folder should be")
    empty = type(true_mesh)(np.zeros((3, 3)), np.zeros((0, 3), np.int64))
    summary = run(
        {"empty": lambda c: Prediction(mesh=empty), "blocked": lambda c: Prediction(mesh=true_mesh)},
        records[:1], tmp_path,
    )  # fmt: skip
    assert "no faces" in summary.of("empty")[0].failure
    assert summary.of("blocked")[0].scores["iou_32"] > 0.9
    assert "mesh not kept" in summary.of("blocked")[0].note


def test_picture_means_over_fewer_objects_say_so(records, true_mesh, tmp_path):
    bare = replace(true_mesh, colours=None)
    meshes = {records[0].id: true_mesh, records[1].id: bare}
    run({"a": lambda c: Prediction(mesh=meshes[c.id])}, records, tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert table.count("(n=1)") == 2  # PSNR and SSIM
    assert "(n=1)" in (tmp_path / "table.tex").read_text()


def test_prepared_data_say_where_pictures_are_compared(records, true_mesh, tmp_path):
    from one2345.evaluation import CameraRings

    rings = CameraRings(rings=({"elevation": 10, "count": 3},), size=48)
    run({"a": lambda c: Prediction(mesh=true_mesh)}, records[:1], tmp_path, replace(PROTOCOL, cameras=rings))
    conventions = json.loads((tmp_path / "results.json").read_text())["conventions"]
    assert conventions["Pictures"] == "psnr, ssim at the target views of the data"
    assert "world frame of prepared data" in conventions["Prediction's frame"]


def test_a_failing_protocol_does_not_hide_the_others(records, true_mesh, tmp_path):
    """One protocol in which nothing is measured, beside one that works."""
    cases = [Case("x", lambda: MeshTruth(true_mesh, id="x"))]
    tiny = replace(COARSE, name="nothing", alignment=Aligner(), thresholds=(1e-300,), chamfer=("squared",))
    huge = true_mesh.transformed(np.diag([1e200, 1e200, 1e200, 1.0]))
    predictors = {
        "a": lambda c: Prediction(mesh=true_mesh, frame="truth"),
        "b": lambda c: Prediction(mesh=huge),
    }
    with np.errstate(all="ignore"):
        summaries = evaluate(predictors, cases, tmp_path, [tiny, COARSE], mesh_format=None, pictures=False)
    assert [s.protocol.name for s in summaries] == ["nothing", "coarse"]
    assert summaries[0].of("b")[0].failure is not None
    assert json.loads((tmp_path / "nothing" / "results.json").read_text())["predictors"]["b"]["n"] == 0
