"""Texture coordinates: apart from each other, in proportion, and never later than allowed."""

import time

import numpy as np
import pytest
from tests.meshing.texture.shapes import box, sphere

from one2345.geometry import Mesh
from one2345.meshing.texture import UnwrapFailed, rasterise, unwrap

SIZE = 128


@pytest.fixture(scope="module")
def flat():
    return unwrap(sphere(steps=2), size=SIZE)


def test_faces_keep_their_order_and_their_corners_their_place(flat):
    mesh = sphere(steps=2)
    assert np.array_equal(flat.mesh.triangles, mesh.triangles)
    assert flat.mesh.uv.min() >= 0 and flat.mesh.uv.max() <= 1
    assert flat.charts >= 2 and 0.4 < flat.utilisation <= 1
    assert len(np.unique(flat.mesh.vertices, axis=0)) == len(mesh.vertices)


def test_charts_do_not_overlap_and_stay_apart(flat):
    """Every texel centre lies in at most one face, and texels of two charts never touch."""
    corner = flat.mesh.uv[flat.mesh.faces].astype(np.float64) * SIZE
    centre = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1).reshape(-1, 2) + 0.5
    count = np.zeros(len(centre), int)
    for a, b, c in corner:
        edges = [(b - a, centre - a), (c - b, centre - b), (a - c, centre - c)]
        sides = np.stack([e[0] * p[:, 1] - e[1] * p[:, 0] for e, p in edges])
        count += (sides > 1e-6).all(0) | (sides < -1e-6).all(0)
    assert count.max() == 1 and (count == 1).mean() > 0.4
    texels = rasterise(flat.mesh, SIZE, reach=0.0)
    label = np.full((SIZE + 2, SIZE + 2), -1)
    label[texels.row + 1, texels.column + 1] = _charts(flat.mesh)[texels.face]
    for shift in range(1, 4):  # a padding of 4, of which rounding takes one
        for axis in (0, 1):
            a, b = label, np.roll(label, shift, axis)
            assert not ((a >= 0) & (b >= 0) & (a != b)).any()


def _charts(mesh: Mesh) -> np.ndarray:
    from one2345.meshing import components

    return components(mesh)[mesh.faces[:, 0]]


def test_areas_keep_their_proportions(flat):
    corner = flat.mesh.uv[flat.mesh.faces].astype(np.float64)
    a, b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    share = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2 / flat.mesh.areas()
    assert share.max() / share.min() < 3


def test_the_time_limit_ends_it_and_says_so():
    mesh = sphere(0.4, 6)  # 81,920 faces take far longer
    begin = time.monotonic()
    with pytest.raises(UnwrapFailed, match=r"takes more than 0\.3 s"):
        unwrap(mesh, size=1024, seconds=0.3)
    assert time.monotonic() - begin < 5


def test_it_is_over_within_the_limit_not_only_told_to_end(monkeypatch, tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import time, numpy as np\nheld = np.ones(1 << 27, np.uint8)\ntime.sleep(60)  # 128 MB\n"
    )
    monkeypatch.setitem(unwrap.__globals__, "WORKER", worker)
    begin = time.monotonic()
    with pytest.raises(UnwrapFailed, match="takes more than 4 s"):
        unwrap(box(), size=64, seconds=4)
    assert 3.5 < time.monotonic() - begin <= 4


def test_too_many_charts_are_refused():
    with pytest.raises(UnwrapFailed, match=r"falls into 6 charts, more than 3"):
        unwrap(box(), size=64, charts=3)


def test_a_crash_is_said_with_its_last_words(monkeypatch, tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text("raise SystemExit('out of luck')")
    monkeypatch.setitem(unwrap.__globals__, "WORKER", worker)
    with pytest.raises(UnwrapFailed, match="status 1: out of luck"):
        unwrap(box(), size=64)
    worker.write_text("import os\nos.abort()")
    with pytest.raises(UnwrapFailed, match="signal 6"):
        unwrap(box(), size=64)


def test_after_a_crash_it_is_tried_once_more(monkeypatch, tmp_path):
    worker, marker = tmp_path / "worker.py", tmp_path / "crashed"
    real = unwrap.__globals__["WORKER"]
    worker.write_text(
        f"import os, runpy\nif not os.path.exists({str(marker)!r}):\n    open({str(marker)!r}, 'w').close()\n"
        f"    os.abort()\nrunpy.run_path({str(real)!r}, run_name='__main__')"
    )
    monkeypatch.setitem(unwrap.__globals__, "WORKER", worker)
    assert unwrap(box(), size=64).charts == 6 and marker.exists()


def test_equal_meshes_get_equal_coordinates(flat):
    assert np.array_equal(unwrap(sphere(steps=2), size=SIZE).mesh.uv, flat.mesh.uv)


def test_a_worker_whose_parent_is_gone_ends_by_itself(tmp_path):
    import io
    import signal
    import subprocess
    import sys

    from one2345.meshing.texture.unwrap import WORKER

    mesh, request = sphere(0.4, 6), io.BytesIO()
    np.savez(
        request, positions=mesh.vertices.astype(np.float32), indices=mesh.faces.astype(np.uint32),
        resolution=1024, padding=4, seconds=0.3,
    )  # fmt: skip
    done = subprocess.run([sys.executable, str(WORKER)], input=request.getvalue(), capture_output=True)
    assert done.returncode in (-signal.SIGALRM, -signal.SIGSEGV)  # seldom, xatlas crashes before
