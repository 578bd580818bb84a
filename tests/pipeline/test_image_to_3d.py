"""The whole chain from one picture to a mesh: pose, seeds, elevation, and runs that are cut off."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from one2345.errors import InputError
from one2345.geometry import evaluation_box, load_plan
from one2345.objects import MeshObject, load_mesh, occupancy
from one2345.pipeline import ImageTo3D, ReconstructedMesh, Weights, save
from one2345.pipeline.stages import content_key
from one2345.pipeline.view_stage import PROBE
from one2345.views.elevation import ClassicalMatcher, ElevationEstimate, ElevationEstimator
from one2345.views.synthesis import Oracle, Replay, Simulated, Synthesised


class Recorder:
    """A synthesiser that notes what it is asked for, and breaks off after so many pictures."""

    def __init__(self, inner, *, stop_after=None, elevation="inner"):
        self.inner, self.stop_after = inner, stop_after
        self.size, self.consistent = inner.size, inner.consistent
        self.elevation = inner.elevation if elevation == "inner" else elevation
        self.asked, self.pictures = [], {}

    def picture(self):
        return self.inner.picture()

    def describe(self):
        return self.inner.describe()

    def __call__(self, requests, pictures, *, seed, report=None):
        if self.stop_after is not None and len(self.asked) + len(requests) > self.stop_after:
            raise KeyboardInterrupt
        self.asked += [r.name for r in requests]
        self.pictures |= {r.name: p for r, p in zip(requests, pictures)}
        return self.inner(requests, pictures, seed=seed, report=report)


class Says(ElevationEstimator):
    """Says what it is told."""

    def __init__(self, degrees, confidence):
        super().__init__(matcher=ClassicalMatcher(), threshold=0.5, prior=20.0)
        self.degrees, self.confidence, self.calls = degrees, confidence, 0

    def estimate(self, images, masks, *, offsets):
        self.calls += 1
        assert images.shape[0] == masks.shape[0] == len(offsets) == 4
        return ElevationEstimate(self.degrees, self.confidence, "as told", 0.0, 0.0, 0, ())


def inside(mesh, resolution=32):
    return occupancy(mesh, evaluation_box(resolution).nodes().reshape(-1, 3).numpy())


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_the_mesh_lies_as_the_object_lies_and_is_no_mirror_image(make_pipe, oracle, tmp_path):
    found = make_pipe(weights=Weights.load(), plan="published")()
    assert isinstance(found.mesh, ReconstructedMesh)
    file = found.mesh.export(tmp_path / "out.glb")
    truth = inside(oracle.object.mesh)
    back = load_mesh(file)
    score = iou(inside(back), truth)
    assert score > 0.6
    for axis in range(3):
        flip = np.eye(4)
        flip[axis, axis] = -1
        assert iou(inside(back.transformed(flip)), truth) < score - 0.08
    # Colours run with the axes: red with x, green with y, blue with z.
    centred = back.vertices - back.vertices.mean(0)
    correlation = [np.corrcoef(centred[:, a], back.colours[:, a])[0, 1] for a in range(3)]
    assert min(correlation) > 0.8


def test_near_views_are_made_from_the_picture_of_their_parent(make_pipe, oracle):
    recorder = Recorder(oracle)
    found = make_pipe(recorder, plan="published")()
    assert recorder.asked == [v.name for v in load_plan("published").views(30.0)]
    views = found.views
    for name in ("s0_n1", "s5_n3"):
        parent = views.images[views.names.index(name[:2])]
        assert torch.equal(recorder.pictures[name], parent)
    assert torch.equal(recorder.pictures["s4"], found.picture.image)
    assert torch.equal(recorder.pictures["s0"], recorder.pictures["s7"])


def test_equal_seeds_give_equal_meshes_and_other_seeds_others(make_pipe, oracle):
    pipe = make_pipe(Simulated(oracle=oracle))
    one, two, other = pipe(seed=1).mesh, pipe(seed=1).mesh, pipe(seed=2).mesh
    assert np.array_equal(one.vertices, two.vertices) and np.array_equal(one.colours, two.colours)
    assert one.vertices.shape != other.vertices.shape or not np.array_equal(one.vertices, other.vertices)


@pytest.mark.parametrize("stop_after", [0, 6])
def test_a_run_that_is_cut_off_goes_on_and_ends_with_the_same_bytes(make_pipe, oracle, tmp_path, stop_after):
    whole = save(make_pipe(group=3)(), tmp_path / "whole", animations=[], frames=2)
    first = Recorder(oracle, stop_after=stop_after)
    with pytest.raises(KeyboardInterrupt):
        make_pipe(first, group=3)(cache=tmp_path / "cache")
    assert len(first.asked) == stop_after
    second = Recorder(oracle)
    resumed = make_pipe(second, group=3)(cache=tmp_path / "cache")
    assert len(second.asked) == 8 - stop_after and not set(first.asked) & set(second.asked)
    assert next(r for r in resumed.stages if r.name == "views").kept == stop_after
    paths = save(resumed, tmp_path / "resumed", animations=[], frames=2)
    for name in ("mesh.glb", "turntable", "input"):
        assert paths[name].read_bytes() == whole[name].read_bytes()
    third = Recorder(oracle)
    again = make_pipe(third)(cache=tmp_path / "cache")
    assert third.asked == [] and [r.name for r in again.stages] == ["input", "views", "network"]
    assert np.array_equal(again.mesh.vertices, resumed.mesh.vertices)


def test_what_is_kept_is_not_taken_for_another_seed_picture_or_object(make_pipe, oracle, tmp_path):
    make_pipe()(cache=tmp_path)
    changed = Recorder(Oracle(object=oracle.object, elevation=31.0, size=64))
    make_pipe(changed)(cache=tmp_path)
    assert len(changed.asked) == 8
    seeded = Recorder(oracle)
    make_pipe(seeded)(cache=tmp_path, seed=1)
    assert len(seeded.asked) == 8


def test_a_damaged_part_is_made_again(make_pipe, oracle, tmp_path):
    make_pipe()(cache=tmp_path)
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == 9
    files[0].write_bytes(files[0].read_bytes()[:50])
    recorder = Recorder(oracle)
    make_pipe(recorder)(cache=tmp_path)
    assert len(recorder.asked) <= 1


def test_the_elevation_is_told_known_estimated_or_assumed_and_said(make_pipe, oracle):
    blind = Recorder(oracle, elevation=None)
    sure, unsure, lost = Says(28.0, 0.9), Says(55.0, 0.2), Says(None, 0.0)
    found = make_pipe(oracle, estimator=sure)()
    assert (found.elevation.source, found.elevation.degrees, sure.calls) == ("known", 30.0, 0)
    found = make_pipe(oracle, estimator=sure)(elevation=12.0)
    assert (found.elevation.source, found.elevation.degrees, sure.calls) == ("given", 12.0, 0)
    found = make_pipe(blind, estimator=sure)()
    assert (found.elevation.source, found.elevation.degrees) == ("estimated", 28.0)
    assert not found.warnings
    assert found.views.cameras.c2w[0, 2, 3] == pytest.approx(1.2 * np.sin(np.radians(28)), abs=1e-5)
    for estimator, estimate in ((unsure, 55.0), (lost, None)):
        found = make_pipe(blind, estimator=estimator)()
        assert (found.elevation.source, found.elevation.degrees) == ("prior", 20.0)
        assert found.elevation.estimate == estimate
        assert "20 degrees are assumed" in found.warnings[-1] and "as told" in found.warnings[-1]
    found = make_pipe(oracle, estimator=sure)(elevation="estimate")
    assert found.elevation.source == "estimated"
    with pytest.raises(InputError, match="elevation=120"):
        make_pipe()(elevation=120.0)


def test_the_probe_of_the_elevation_is_part_of_the_published_plan(make_pipe, oracle, tmp_path):
    blind = Recorder(oracle, elevation=None)
    make_pipe(blind, plan="published", estimator=Says(30.0, 0.9))(cache=tmp_path)
    assert blind.asked[:5] == [v.name for v in PROBE.views(0.0)]
    assert len(blind.asked) == len(set(blind.asked)) == 40


def test_a_ring_follows_the_elevation(make_pipe, oracle):
    low = make_pipe(Recorder(oracle, elevation=None), estimator=Says(5.0, 0.9))()
    heights = low.views.cameras.c2w[:, 2, 3] / 1.2
    assert heights[4:] == pytest.approx(np.sin(np.radians(35.0)), abs=1e-4)


def test_views_that_are_not_finite_are_refused(make_pipe, oracle):
    class Overflows(Recorder):
        def __call__(self, requests, pictures, *, seed, report=None):
            made = self.inner(requests, pictures, seed=seed)
            return Synthesised(made.images * float("nan"), made.masks)

    with pytest.raises(InputError, match=r"NaN.*views\.dtype=float32"):
        make_pipe(Overflows(oracle))()


def test_views_that_disagree_may_be_outvoted(make_pipe, oracle, tmp_path):
    """Views of forty that show next to nothing, and carve the object away, are overruled where that is asked for."""

    class Spoilt(Recorder):
        def __call__(self, requests, pictures, *, seed, report=None):
            made = self.inner(requests, pictures, seed=seed)
            for index, request in enumerate(requests):
                if request.name == "s1":
                    made.masks[index, :, : self.size // 2] = 0
                    made.images[index, :, :, : self.size // 2] = 1
            return made

    spoilt = Spoilt(oracle)
    spoilt.consistent = False
    found = make_pipe(spoilt, plan="published")()
    assert found.facts["hull_tolerance"] is None  # as the network has learned
    upper = {}
    for tolerance in (0.0, 0.1):
        made = make_pipe(spoilt, plan="published", hull_tolerance=tolerance)()
        assert made.facts["hull_tolerance"] == tolerance
        upper[tolerance] = int(inside(made.mesh).sum())
    assert upper[0.1] > 1.2 * upper[0.0]
    saved = save(found, tmp_path, animations=[], frames=2)
    assert not Replay(root=saved["views"]).consistent
    with pytest.raises(InputError, match=r"hull_tolerance=1\.5"):
        make_pipe(hull_tolerance=1.5)


def test_the_folder_holds_views_that_give_the_same_mesh_again(make_pipe, tmp_path):
    found = make_pipe()()
    paths = save(
        found, tmp_path, formats=("glb", "obj", "ply"), animations=("gif", "mp4"), frames=3, id="a chair"
    )
    assert all(p.exists() and (p.is_dir() or p.stat().st_size > 100) for p in paths.values())
    replayed = make_pipe(Replay(root=paths["views"]))()
    assert np.array_equal(replayed.mesh.vertices, found.mesh.vertices)
    assert replayed.elevation.degrees == 30.0
    meshes = [load_mesh(tmp_path / f"mesh.{kind}") for kind in ("glb", "obj", "ply")]
    for mesh in meshes:
        assert np.abs(mesh.vertices - found.mesh.vertices).max() < 1e-5


def test_posed_views_need_no_synthesiser(make_pipe, weights):
    found = make_pipe()()
    posed = ImageTo3D(weights=weights, synthesizer=None, extractor=make_pipe().field.extractor)
    again = posed.from_views(found.views)
    assert np.array_equal(again.mesh.vertices, found.mesh.vertices)
    # Views that a prepared object keeps to compare with are no sources.
    last = len(found.views) - 1
    fewer = posed.from_views(replace(found.views, roles=(*found.views.roles[:last], "target")))
    assert len(fewer.views) == last and "target" not in fewer.sources
    with pytest.raises(InputError, match="posed views only"):
        posed()


def test_the_report_says_what_it_was_made_of(make_pipe, tmp_path):
    paths = save(make_pipe()(seed=7), tmp_path, animations=[], frames=2)
    report = json.loads(paths["report"].read_text())
    assert report["seed"] == 7 and report["elevation"]["degrees"] == 30.0
    assert [s["name"] for s in report["stages"]] == ["input", "views", "network", "mesh", "files"]
    assert all(s["seconds"] >= 0 for s in report["stages"])
    assert all(s["peak_mb"] > 10 for s in report["stages"][:-1])
    assert len(report["network"]["sha256"]) == 64 and report["views"]["kind"] == "oracle"
    assert report["mesh"]["pieces"] == 1
    assert [v["azimuth"] for v in report["views made"]][:4] == [0.0, 90.0, 180.0, 270.0]
    assert set(report["files"]) == {"mesh.glb", "input.png", "views", "turntable.png"}


def test_keys_tell_values_shapes_and_kinds_apart():
    a = np.arange(6, dtype=np.float32)
    keys = [content_key("x", v) for v in (a, a.reshape(2, 3), a.astype(np.float64), [1, 2], "1", 1, None)]
    assert len(set(keys)) == len(keys)
    assert content_key({"b": 1, "a": 2}) == content_key({"a": 2, "b": 1})


def test_pictures_of_another_size_than_the_network_saw_are_brought_to_it(make_pipe, weights, oracle):
    assert Weights.load().pixels == 128
    pipe = make_pipe()
    bare = ImageTo3D(
        weights=replace(weights, pixels=None), synthesizer=oracle, plan=load_plan("ring8"),
        extractor=pipe.field.extractor,
    )  # fmt: skip
    assert not np.array_equal(bare().mesh.vertices[:10], pipe().mesh.vertices[:10])
    assert isinstance(oracle.object, MeshObject)
