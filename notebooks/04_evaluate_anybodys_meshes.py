# %% [markdown]
# # 4. Evaluate anybody's meshes
#
# Two folders of meshes, one of true ones, the same file names in each: that is all `evaluate.py` needs, whichever
# program made them. This notebook makes such folders and then shows why a number means nothing without its
# protocol.

# %%
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from one2345.evaluation import (
    Aligner,
    EvaluationProtocol,
    MeshTruth,
    OccupancyGrid,
    measure,
    visual_hull_mesh,
)
from one2345.geometry import Mesh, load_plan
from one2345.meshing import write_mesh
from one2345.objects import MeshObject, random_shape
from one2345.views import PosedViews

plt.rcParams["figure.dpi"] = 80
truths = {f"object_{i}": random_shape(1, index=i).mesh(96) for i in (2, 13, 25, 32)}

# %% [markdown]
# ## Two methods
#
# *hull* is the visual hull of eight pictures. *coarse* has the truth's shape, but its vertices are rounded to a
# lattice of 0.02. Both are written where the truth lies, in its size and turn.


# %%
def hull(mesh: Mesh) -> Mesh:
    """What eight silhouettes leave."""
    cameras = load_plan("ring8").cameras(30.0, size=128)
    seen = MeshObject(mesh, id="truth", normalise=False, repair=False).render(cameras)
    names = tuple(f"s{i}" for i in range(8))
    views = PosedViews(seen.rgb, seen.mask, cameras, names, ("stage1",) * 8, (None,) * 8)
    return visual_hull_mesh(views, resolution=64)


def coarse(mesh: Mesh) -> Mesh:
    """The truth, rounded."""
    return replace(mesh, vertices=np.round(mesh.vertices / 0.02) * 0.02)


for name, mesh in truths.items():
    write_mesh(mesh, Path("truth") / f"{name}.glb")
    write_mesh(hull(mesh), Path("hull") / f"{name}.glb")
    write_mesh(coarse(mesh), Path("coarse") / f"{name}.glb")
print(sorted(str(f) for f in Path("hull").iterdir()))

# %% [markdown]
# ## One command
#
# The default protocol, `one2345-strict`, aligns nothing: a method that gets size or turn wrong pays for it. Fewer
# points and cells than the protocol says make this quick, and change its name to `one2345-strict-changed`, as any
# change of a number does. In a terminal:
#
#     python evaluate.py 'meshes={hull: hull, coarse: coarse}' truth=truth

# %%
done = subprocess.run(
    [
        sys.executable, "-m", "one2345.cli.evaluate", "meshes={hull: hull, coarse: coarse}", "truth=truth",
        "out=results", "scale=laptop", "device=cpu", "protocol.points=20000",
        "protocol.occupancy.resolutions=[64]", "protocol.pictures=[]", "evaluate.hull=false", "evaluate.pictures=false",
    ],
    capture_output=True, text=True,
)  # fmt: skip
assert done.returncode == 0, done.stderr
for line in Path("results/table.md").read_text().splitlines():
    if line.startswith("| "):
        print(" | ".join(line.strip("| ").split(" | ")[:4]))

# %% [markdown]
# Beside the table lie `results.json` (every number, with the hashes of objects, code and protocol), `objects.csv`,
# a LaTeX table and `report.html`. Paired differences and wins are in there too:

# %%
results = json.loads(Path("results/results.json").read_text())
print("protocol:", results["protocol"]["name"], "version", results["protocol"]["version"])
print("files:", sorted(f.name for f in Path("results").iterdir() if f.is_file()))

# %% [markdown]
# ## Why alignment is part of the protocol
#
# The same mesh, turned by 40°. Without alignment it is nearly worthless, with a search of the turn it is nearly
# right again. Papers do either, and their numbers don't compare.

# %%
truth = MeshTruth(truths["object_32"], id="object_32")
angle = np.deg2rad(40.0)
turn = np.eye(4)
turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
turned = truths["object_32"].transformed(turn)

rules = {
    method: EvaluationProtocol(
        name=f"mine-{method}", points=10_000, occupancy=OccupancyGrid(resolutions=[64]), pictures=[],
        alignment=Aligner(method=method, yaws=36),
    )
    for method in ("none", "yaw")
}  # fmt: skip
for method, protocol in rules.items():
    found = measure(turned, truth.to_world, truth, protocol)
    shown = {k: round(v, 3) for k, v in found.scores.items() if k in ("iou_64", "chamfer", "f_0.01")}
    print(f"{method:5} {shown}")

# %% [markdown]
# ## What each threshold sees
#
# The F-score at a threshold is the share of points nearer than that to the other surface (the harmonic mean of both
# directions). A generous threshold calls everything good; a strict one tells methods apart.

# %%
thresholds = np.round(np.geomspace(0.003, 0.1, 9), 4).tolist()
protocol = EvaluationProtocol(
    name="curve", points=10_000, occupancy=None, pictures=[], normals=False, thresholds=thresholds
)
plt.figure(figsize=(5, 3.2))
for name, make in (("hull", hull), ("coarse", coarse)):
    scores = measure(make(truths["object_32"]), truth.to_world, truth, protocol).scores
    plt.plot(thresholds, [v for k, v in scores.items() if k.startswith("f_")], "o-", label=name)
plt.xscale("log")
plt.xlabel("threshold, in longest edges of the truth")
plt.ylabel("F-score")
plt.legend()
plt.show()
