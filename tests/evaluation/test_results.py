"""What a table says beside its numbers, and that quoted numbers stay out of it."""

import itertools
import json
import re
from dataclasses import replace

import pytest

from one2345.evaluation import EvaluationProtocol, Row, Summary
from one2345.evaluation.columns import caveats, count, winners
from one2345.evaluation.figures import histogram, interval_figure
from one2345.evaluation.quoted import quoted_blocks
from one2345.evaluation.report import ObjectPictures, write_report
from one2345.evaluation.results import latex, markdown, write_results

PROTOCOL = EvaluationProtocol(
    name="syncdreamer", thresholds=(0.05,), bootstrap=100, normals=False, pictures=()
)


def row(id, name, iou, chamfer, **facts):
    scores = {"iou_128": iou, "chamfer": chamfer, "chamfer_squared": chamfer**2, "f_0.05": iou}
    return Row(id, name, scores, facts={"watertight": True, "floaters": 1, **facts}, peak_mb=100.0)


@pytest.fixture
def summary():
    rows = (
        row("a", "ours & co", 0.9, 0.01), row("a", "theirs", 0.8, 0.02), row("a", "hull", 0.5, 0.05),
        row("b", "ours & co", 0.7, 0.03), row("b", "theirs", 0.6, 0.04, mirrored=True), row("b", "hull", 0.4, 0.06),
        Row("c", "ours & co", {}, failure="no mesh of c"), row("c", "theirs", 1.0, 0.0), row("c", "hull", 0.3, 0.07),
    )  # fmt: skip
    return Summary(
        PROTOCOL, ("a", "b", "c"), ("ours & co", "theirs", "hull"), rows, groups={"hull": ("hull",)},
        best={"hull": "hull"}, thickness={"a": 0.2, "b": 0.01, "c": 0.3}, provenance={"code": "1_0"},
        not_computed={"lpips": "weights are not here"}, notes=("Said beforehand.",),
    )  # fmt: skip


def test_the_best_is_best_on_the_objects_that_all_solved(summary):
    """`theirs` has the higher mean over its own three objects, `ours` over the two that both solved."""
    assert summary.statistic("theirs", "iou_128").mean == pytest.approx(0.8)
    assert summary.statistic("ours & co", "iou_128").mean == pytest.approx(0.8)
    assert winners(summary)["iou_128"] == "ours & co"
    assert winners(summary)["chamfer"] == "ours & co"
    assert summary.common() == ["a", "b"]
    assert summary.as_dict()["predictors"]["theirs"]["mean_over_common"]["iou_128"] == pytest.approx(0.7)


def test_every_caveat_is_said(summary):
    text = "\n".join(caveats(summary))
    assert text.startswith("Said beforehand.")
    assert "ours & co: means are over 2 of the 3 objects of the list; not measured: c (no mesh of c)" in text
    assert "theirs: mirror images of the truth (not mended): b" in text
    assert re.search(r"Thin .*: b$", text, re.MULTILINE)
    assert "lpips: not computed: weights are not here" in text
    assert (count(summary, "ours & co"), count(summary, "theirs")) == ("2 of 3", "3")


def test_a_frame_that_cannot_be_right_is_pointed_out(summary):
    assert not any("frame" in line for line in caveats(summary))
    rows = tuple(
        replace(r, facts={**r.facts, "size": 0.02}) if r.predictor == "theirs" else r for r in summary.rows
    )
    (line,) = [x for x in caveats(replace(summary, rows=rows)) if "frame" in x]
    assert line.startswith("theirs: its meshes are 0.02 times the size of the truth")


def test_markdown(summary):
    text = markdown(summary)
    assert f"- Protocol: syncdreamer v1 ({PROTOCOL.hash})" in text
    assert "- code: 1_0" in text
    lines = text.splitlines()
    assert "| ours & co − theirs |" in text
    (ours,) = [line for line in lines if line.startswith("| ours & co |")]
    assert "| 2 of 3 |" in ours
    assert "**0.8000**" in ours
    table = [line for line in lines if line.startswith("|")]
    for line, following in itertools.pairwise(table):
        if following.startswith("| ---"):
            assert line.count("|") == following.count("|")


def test_latex_is_escaped_and_ends_where_it_begins(summary):
    text = latex(summary)
    body = text[text.index(r"\begin{table}") :]
    assert r"ours \& co & 2 of 3 & \textbf{0.8000}" in body
    assert not re.search(r"(?<!\\)[#%_](?!\d)", re.sub(r"\$[^$]*\$", "", body))
    assert body.count(r"\begin{") == body.count(r"\end{")
    columns = body[body.index("{lr") : body.index("}\n", body.index("{lr"))].count("r") - 0
    assert all(line.count(" & ") == columns for line in body.splitlines() if line.endswith(r"\\"))


def test_quoted_numbers_share_no_ranking(summary, tmp_path):
    (block,) = quoted_blocks("syncdreamer")[:1]
    text = markdown(summary)
    assert text.index("Paired differences") < text.index("quoted, not measured here")
    quoted = block.rows[0].method
    assert quoted not in summary.shown()
    assert quoted in text
    measured = text[: text.index("quoted, not measured here")]
    assert f"| {quoted} |" not in measured
    assert quoted not in latex(summary)
    write_results(summary, tmp_path)
    document = json.loads((tmp_path / "results.json").read_text())
    assert set(document["predictors"]) == set(summary.predictors)


def test_files_are_the_same_again(summary, tmp_path):
    for name in ("one", "two"):
        write_results(summary, tmp_path / name)
    for file in ("results.json", "objects.csv", "table.md", "table.tex", "figure.svg"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    document = json.loads((tmp_path / "one" / "results.json").read_text())
    assert document["protocol"]["hash"] == PROTOCOL.hash
    assert document["conventions"]["Alignment"] == PROTOCOL.alignment.describe()
    assert document["timings"]["rows"][0]["peak_mb"] == 100.0
    assert "NaN" not in (tmp_path / "one" / "results.json").read_text()


def test_figures_are_wellformed(summary):
    from xml.etree import ElementTree

    for text in (interval_figure(summary), histogram([0.1, 0.2, 0.2, 0.9], title="a < b & c")):
        root = ElementTree.fromstring(text)
        assert root.tag == "svg"
    assert interval_figure(summary).count("<circle") == 3 * len(summary.columns())
    bars = [
        float(h)
        for h in re.findall(r'<rect [^>]*height="([\d.]+)"', histogram([0, 0, 0, 1], title="x", bins=2))
    ]
    assert bars[0] == pytest.approx(3 * bars[1], rel=0.05)


def test_a_page_of_many_objects_shows_some(summary, tmp_path):
    ids = tuple(f"o{i:03}" for i in range(200))
    rows = tuple(row(id, "m", i / 200, 1 - i / 200) for i, id in enumerate(ids))
    many = Summary(PROTOCOL, ids, ("m",), rows)
    pictures = [ObjectPictures(id, None, None, None, {}) for id in ids]
    write_report(many, pictures, tmp_path / "r.html", title="t", details={})
    shown = re.findall(r"<h3>(o\d+)</h3>", (tmp_path / "r.html").read_text())
    assert len(shown) == 64
    assert shown[:16] == list(ids[:16])
    assert shown[-16:] == list(ids[-16:])
    assert "64 of 200" in (tmp_path / "r.html").read_text()


def test_hostile_names_and_reasons_stay_text(summary):
    nasty = "x\n50%_of \\input{y} <img onerror=1> | [b]"
    rows = tuple(replace(r, failure=nasty) if r.failure else r for r in summary.rows)
    text = latex(replace(summary, rows=rows))
    for line in text[: text.index(r"\begin{table}")].splitlines():
        assert line.startswith("%")
    named = replace(
        summary, predictors=("<img>", "theirs", "hull"),
        rows=tuple(replace(r, predictor="<img>") if r.predictor == "ours & co" else r for r in rows),
    )  # fmt: skip
    table = [line for line in markdown(named).splitlines() if line.startswith("|")]
    assert not any("<img>" in line for line in table)
    assert all(not line or line[0] in "-|#*>" or line[0].isalpha() for line in markdown(named).splitlines())


def test_values_that_differ_by_rounding_are_one_bar():
    text = histogram([0.1, 0.1 + 1e-17, 0.1 + 2e-17, 0.1], title="x")
    assert text.startswith("<svg")
