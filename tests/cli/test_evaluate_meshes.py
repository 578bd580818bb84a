"""evaluate.py on folders of meshes: pairing, comparison, protocols, processes; bad input."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.meshes import affine, chair, sphere

from one2345.cli import evaluate
from one2345.cli.app import configure, execute
from one2345.errors import InputError
from one2345.meshing import write_mesh

QUICK = (
    "protocol.points=3000", "protocol.occupancy.resolutions=[32]", "protocol.bootstrap=200",
    "protocol.cameras.size=32", "protocol.pictures=[psnr]", "evaluate.hull=false", "evaluate.cache=cache",
)  # fmt: skip
AWKWARD = "it's, (a) [b] = ü"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """True chairs of three sizes; `ours` copies two of them and has one of its own, `theirs` shrinks all."""
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(("a", "b", "c")):
        truth = chair().transformed(affine(scale=1.0 + index, shift=(index, 0, 0)))
        write_mesh(truth, tmp_path / "truth" / f"{name}.glb")
        if name != "c":
            write_mesh(truth, tmp_path / "ours" / f"{name}.ply")
        centre = truth.bounds.mean(0)
        shrunk = truth.transformed(affine(scale=0.9, shift=0.1 * centre))
        write_mesh(shrunk, tmp_path / AWKWARD / name / "mesh.obj")
    write_mesh(sphere(1.0), tmp_path / "ours" / "stranger.glb")
    return tmp_path


def results(folder="out"):
    return json.loads((Path(folder) / "results.json").read_text())


def main(*argv):
    config = configure(evaluate.COMMAND, ["scale=laptop", "truth=truth", "out=out", *QUICK, *argv])
    Path("out").mkdir(exist_ok=True)
    return evaluate.main(config)


def test_one_folder_is_paired_by_id_and_what_is_missing_is_said(here, capsys):
    main("meshes=ours")
    document = results()
    assert document["objects"] == ["a", "b", "c"]
    assert list(document["predictors"]) == ["meshes", "bounding sphere"]
    found = document["predictors"]["meshes"]
    assert (found["n"], found["of"]) == (2, 3)
    assert "has no mesh of c" in found["failed"]["c"]
    assert found["metrics"]["iou_32"]["mean"] == 1.0
    assert any("lacks 1 of the 3 objects: c" in line for line in document["notes"])
    assert any("1 meshes that are not on the list: stranger" in line for line in document["notes"])
    text = " ".join(capsys.readouterr().out.split())
    assert "2 of 3" in text
    assert "means are over 2 of the 3 objects" in text


def test_two_methods_are_compared_in_pairs(here):
    main(f"meshes={{ours: ours, theirs: {AWKWARD}}}", "evaluate.sphere=false")
    document = results()
    (pair,) = document["paired"]
    assert (pair["method"], pair["reference"]) == ("ours", "theirs")
    assert pair["columns"]["iou_32"]["n"] == 2
    assert pair["columns"]["iou_32"]["better"] == 2
    assert pair["columns"]["iou_32"]["low"] > 0
    assert pair["columns"]["chamfer"]["better"] == 2
    assert document["predictors"]["theirs"]["n"] == 3
    assert document["predictors"]["theirs"]["metrics"]["chamfer"]["mean"] > 0.01
    for name in ("table.md", "table.tex", "report.html"):
        text = (here / "out" / name).read_text()
        assert document["protocol"]["hash"] in text
        assert document["provenance"]["config hash"] in text
        assert document["provenance"]["objects hash"] in text
        assert document["provenance"]["code"].replace("_", r"\_") in text.replace(r"\_", "_")


def test_frame_of_the_meshes(here):
    """Meshes in a normalised frame: an error of scale by the strict rule, exact once the frame is said."""
    for name in ("a", "b", "c"):
        mesh = chair().transformed(affine(shift=-chair().bounds.mean(0)))
        edge = float(np.ptp(mesh.bounds, axis=0).max())
        write_mesh(mesh.transformed(affine(scale=2 / edge)), here / "canonical" / f"{name}.glb")
    main("meshes=canonical")
    assert results()["predictors"]["meshes"]["metrics"]["iou_32"]["mean"] < 0.5
    main("meshes=canonical", "evaluate.frame=2")
    assert results()["predictors"]["meshes"]["metrics"]["iou_32"]["mean"] > 0.999
    main("meshes={a: canonical, b: ours}", "evaluate.frame={a: 2, b: truth}")
    for name in ("a", "b"):
        assert results()["predictors"][name]["metrics"]["iou_32"]["mean"] > 0.999


def test_several_protocols(here):
    main("meshes=ours", "evaluate.protocols=[one2345-strict,instantmesh]", "evaluate.pictures=false")
    assert results("out/one2345-strict-changed")["protocol"]["points"] == 3000
    coarse = results("out/instantmesh")
    assert coarse["protocol"]["points"] == 16000
    assert coarse["rows"][0]["alignment"]["method"] == "centre_scale"
    assert "f_0.2" in coarse["predictors"]["meshes"]["metrics"]


def test_results_repeat_and_the_cache_does_not_show(here):
    main("meshes=ours")
    first, cached = results(), sorted(p.name for p in Path("cache").iterdir())
    assert cached
    main("meshes=ours")
    assert sorted(p.name for p in Path("cache").iterdir()) == cached
    again = results()
    for document in (first, again):
        document.pop("timings")
    assert first == again


def test_a_network_is_measured_against_true_meshes(here):
    """Views are made of the truth first; hull and network see the same ones."""
    small = (
        "scale.pixels=64",
        "scale.views=5",
        "scale.extract=32",
        "evaluate.hull=true",
        "evaluate.objects=1",
        "device=cpu",
    )
    config = configure(
        evaluate.COMMAND,
        ["scale=laptop", "truth=truth", "out=out", *[q for q in QUICK if "hull" not in q], *small],
    )
    evaluate.main(config)
    document = results()
    assert set(document["predictors"]) >= {"network", "visual hull", "bounding sphere"}
    assert document["provenance"]["views"] == "5 of ring8, 64 px"
    assert document["predictors"]["visual hull"]["metrics"]["iou_32"]["mean"] > 0.3
    assert document["predictors"]["network"]["n"] == 1
    with Path("out/objects.csv").open(newline="") as lines:
        assert "5 views" in {row["note"] for row in csv.DictReader(lines)}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["truth=nowhere", "meshes=ours"], "truth=nowhere: no such folder"),
        (["truth=truth", "meshes=our"], "meshes=our: no such folder; did you mean 'ours'"),
        (["truth=truth", "meshes={a: ours, b: none}"], "meshes of b=none: no such folder"),
        (
            ["truth=truth", "meshes=ours", "evaluate.frame=world"],
            "evaluate.frame of meshes is world; it takes truth",
        ),
        (["truth=truth", "meshes=ours", "evaluate.frame=-1"], "evaluate.frame of meshes is -1"),
        (["truth=truth", "meshes=ours", "evaluate.frame=true"], "evaluate.frame of meshes is True"),
        (["truth=truth", "meshes={a: ours}", "evaluate.frame={b: 2}"], "evaluate.frame: meshes= has no 'b'"),
        (["truth=truth", "meshes=ours", "meshes_up=x"], "meshes_up of meshes is x"),
        (["truth=truth", "meshes=ours", "evaluate.objects=2.5"], "evaluate.objects=2.5: a whole number"),
        (["truth=truth", "meshes=ours", "evaluate.objects=0"], "evaluate.objects=0: a whole number"),
        (["truth=truth", "meshes={}"], "meshes is empty"),
        (["truth=truth", "meshes={a: ours, a: truth}"], "the name 'a' stands twice"),
        (["truth=truth", "evaluate.checkpoints={network: pretrained}"], "choose another"),
        (["truth=truth", "meshes=ours", "evaluate.protocols=[strict]"], "did you mean 'one2345-strict'"),
        (["truth=truth", "meshes=ours", "evaluate.collection=shapenet"], "it takes gso or null"),
        (["truth=truth", "meshes=ours", "evaluate.download=true"], "needs evaluate.collection=gso"),
        (["truth=truth", "meshes=ours", "protocol.alignment.method=best"], "best"),
        (["truth=truth", "ckpt=null", "evaluate.hull=false", "evaluate.sphere=false"], "nothing to measure"),
        (["truth=truth", "meshes=ours", "evaluate.list=nothing"], "nothing"),
        (["truth=truth", "meshes=strangers"], "has none of the 3 objects; it has x, they are a, b, c"),
    ],
)
def test_bad_input_is_one_line(here, capsys, argv, message):
    write_mesh(sphere(1.0, subdivisions=1), here / "strangers" / "x.glb")
    assert execute(evaluate.COMMAND, ["scale=laptop", *QUICK, *argv]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_mesh_that_cannot_be_read_is_a_failure_with_its_reason(here):
    (here / "ours" / "c.glb").write_bytes(b"glTF\x02\x00\x00\x00")
    (here / "ours" / "b.ply").unlink()
    nan = "v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n"
    (here / "ours" / "b.obj").write_text(nan)
    main("meshes=ours")
    failed = results()["predictors"]["meshes"]["failed"]
    assert set(failed) == {"b", "c"}
    assert "b.obj: 1 of 3 vertices are NaN or infinite" in failed["b"]
    assert "c.glb" in failed["c"]


@pytest.mark.slow
def test_two_processes_with_uneven_shares_write_what_one_writes(here):
    for index in range(2):
        write_mesh(sphere(1.0 + index, subdivisions=3), here / "truth" / f"ball{index}.glb")
        write_mesh(sphere(0.9 + index, subdivisions=3), here / "ours" / f"ball{index}.glb")
    argv = ["scale=laptop", "truth=truth", "meshes=ours", *QUICK]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    one = [sys.executable, "-m", "one2345.cli.evaluate"]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *one[1:]]
    for command, out in ((one, "one"), (two, "two")):
        done = subprocess.run(
            [*command, *argv, f"out={out}"], env=environment, capture_output=True, text=True, timeout=250
        )
        assert done.returncode == 0, done.stderr[-3000:]
    documents = [results(out) for out in ("one", "two")]
    for document in documents:
        document.pop("timings")
    assert len(documents[0]["objects"]) == 5
    assert json.dumps(documents[0]) == json.dumps(documents[1])
    assert (here / "one" / "table.md").read_bytes() == (here / "two" / "table.md").read_bytes()
    assert len(list((here / "two" / "meshes" / "bounding_sphere").iterdir())) == 5
    assert not (here / "two" / "meshes" / "meshes").exists()  # the user has them already


def test_listed_objects_that_are_not_there_count(here):
    (here / "list.csv").write_text("id\na\nb\nz\n")
    main("meshes=ours", "evaluate.list=list.csv")
    document = results()
    assert document["objects"] == ["a", "b", "z"]
    assert document["provenance"]["list"].endswith("list.csv")
    assert document["predictors"]["meshes"]["n"] == 2
    assert "truth has no mesh of it" in document["predictors"]["bounding sphere"]["failed"]["z"]


def test_ckpt_is_measured_beside_meshes_only_when_it_is_asked_for(here):
    def names(*argv):
        config = configure(evaluate.COMMAND, ["scale=laptop", "truth=truth", *argv])
        return list(evaluate.checkpoints(config))

    assert names() == ["network"]
    assert names("meshes=ours") == []
    assert names("meshes=ours", "ckpt=pretrained") == ["network"]
    assert names("ckpt=null") == []
    further = names("meshes=ours", "evaluate.checkpoints={long: pretrained}")
    assert further == ["long"]
    with pytest.raises(InputError, match=r"evaluate\.checkpoints\.long=nowhere"):
        names("evaluate.checkpoints={long: nowhere}")


def test_names_of_methods_may_be_what_papers_call_them(here):
    main("meshes={One-2-3-45++: ours, 2dgs: truth, 'my net': truth}", "evaluate.sphere=false")
    assert list(results()["predictors"]) == ["One-2-3-45++", "2dgs", "my net"]
    assert results()["predictors"]["2dgs"]["n"] == 3


def test_a_protocol_that_was_changed_says_so_and_quotes_nobody(here):
    plain = ["scale=laptop", "truth=truth", "meshes=ours", "evaluate.hull=false", "evaluate.cache=cache"]
    plain += ["protocol=syncdreamer", "evaluate.pictures=false"]
    for out, change in (("plain", []), ("changed", ["protocol.occupancy.resolutions=[32]"])):
        Path(out).mkdir()
        evaluate.main(configure(evaluate.COMMAND, [*plain, f"out={out}", *change]))
    assert results("plain")["protocol"]["name"] == "syncdreamer"
    assert "quoted, not measured here" in (here / "plain" / "table.md").read_text()
    assert results("changed")["protocol"]["name"] == "syncdreamer-changed"
    assert "quoted, not measured here" not in (here / "changed" / "table.md").read_text()


def test_a_turn_of_the_list_is_part_of_the_truths_frame(here):
    """The list turns the truth; meshes in the file's coordinates turn with it."""
    (here / "list.csv").write_text("id,yaw\na,37\nb,90\n")
    main("meshes=ours", "evaluate.list=list.csv")
    assert results()["predictors"]["meshes"]["metrics"]["iou_32"]["mean"] > 0.99


def test_an_id_cannot_leave_the_folder(here, capsys):
    for folder in ("truth", "ours"):
        (here / folder / "manifest.csv").write_text("id,file\n../../escaped,a.glb\n")
    (here / "ours" / "a.glb").write_bytes((here / "truth" / "a.glb").read_bytes())
    assert execute(evaluate.COMMAND, ["scale=laptop", *QUICK, "truth=truth", "meshes=ours", "out=out"]) == 2
    assert "can't name a folder" in capsys.readouterr().err
    assert not list(here.glob("**/escaped*"))


def test_hashes_follow_what_is_measured(here):
    def provenance(*argv):
        main("meshes=ours", *argv)
        return results()["provenance"]

    first = provenance()
    assert provenance("device=cpu", "evaluate.cache=other", "evaluate.meshes=false") == first
    assert provenance(f"truth={here / 'truth'}")["config hash"] == first["config hash"]
    assert provenance("evaluate.frame=truth")["config hash"] != first["config hash"]
    write_mesh(sphere(1.0, subdivisions=2), here / "ours" / "a.ply")
    changed = provenance()
    assert changed["meshes meshes"] != first["meshes meshes"]
    assert changed["objects hash"] == first["objects hash"]
    write_mesh(sphere(1.0, subdivisions=2), here / "truth" / "a.glb")
    assert provenance()["objects hash"] != first["objects hash"]
