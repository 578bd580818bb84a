# %% [markdown]
# # 5. From one image to a mesh
#
# The whole chain: a picture, the views that are made of it, the camera's elevation, the network, the mesh.
#
# The views come from Zero123 as a rule, whose weights (5 GB) have to be downloaded. So that this notebook runs
# anywhere, it uses the two stand-ins instead: an **oracle**, which renders a known object exactly, and
# **simulated** views, which err as a diffusion model does. The last cell says what to write for the real thing;
# nothing else changes.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np

from one2345.geometry import evaluation_box, load_plan
from one2345.meshing import Extractor
from one2345.meshing.texture import Texturer
from one2345.meshing.turntable import turntable
from one2345.objects import MeshObject, random_shape
from one2345.pipeline import ImageTo3D
from one2345.views.synthesis import Oracle, Simulated

plt.rcParams["figure.dpi"] = 80
warnings.simplefilter("ignore")


def show(pictures, titles=(), width=1.5) -> None:
    """Pictures (n, h, w, 3) in a row."""
    _, grid = plt.subplots(1, len(pictures), figsize=(width * len(pictures), width), squeeze=False)
    for index, (axes, picture) in enumerate(zip(grid[0], pictures, strict=True)):
        axes.imshow(picture)
        axes.set_title(titles[index] if index < len(titles) else "", fontsize=9)
        axes.axis("off")
    plt.show()


# %% [markdown]
# ## The picture
#
# A mug that the network has never seen, from 25° above the horizon.

# %%
mug = random_shape(1, index=32)
oracle = Oracle(object=mug, elevation=25.0, size=128)
picture = oracle.picture().images[0].permute(1, 2, 0)
show([picture], width=2.5)

# %% [markdown]
# ## The views, and a mesh
#
# `ImageTo3D` asks the synthesiser for the views of a plan, here eight around the object and four near each of them,
# and hands them to the network that comes with the package.

# %%
plan = load_plan("published")
pipe = ImageTo3D.from_pretrained(
    "pretrained", views=oracle, plan=plan, extractor=Extractor(resolution=96), device="cpu",
    texture=Texturer(faces=4000),
)  # fmt: skip
exact = pipe()
views = exact.views[exact.views.indices("stage1")]
show(views.images.permute(0, 2, 3, 1), views.names)
show(turntable(exact.mesh, frames=8, size=128))
print(f"{len(exact.mesh.faces):,} faces, {exact.texture['kind']}")

# %% [markdown]
# How long each stage took, and what was written down about it (`report.json` of a run holds the same):

# %%
for stage in exact.stages:
    print(f"{stage.name:10} {stage.seconds:6.2f} s")
print(exact.facts["network"]["file"], "seed", exact.facts["seed"])

# %% [markdown]
# ## Views that disagree
#
# A diffusion model's views are plausible one by one, but don't show quite the same object. `Simulated` imitates
# that: shape, pose and colour drift, and a near view inherits the drift of the view that it was made from. The hull
# of such silhouettes would be carved away, so the pipeline lets a tenth of the views disagree.

# %%
drifting = Simulated(oracle=oracle)
pipe = ImageTo3D.from_pretrained(
    "pretrained", views=drifting, plan=plan, extractor=Extractor(resolution=96), device="cpu", texture=None
)
drifted = pipe(seed=0)
views = drifted.views[drifted.views.indices("stage1")]
show(views.images.permute(0, 2, 3, 1), views.names)
show(turntable(drifted.mesh, frames=8, size=128))

# %% [markdown]
# ## How high did the camera stand?
#
# The oracle knows; for a photograph it is estimated, from how features move between near views.
# `elevation="estimate"` insists on that:

# %%
estimated = ImageTo3D.from_pretrained(
    "pretrained", views=Oracle(object=mug, elevation=25.0, size=256), plan=load_plan("ring8"),
    extractor=Extractor(resolution=48), device="cpu", texture=None,
)(elevation="estimate").elevation  # fmt: skip
print(f"{estimated.degrees:.1f} degrees, true 25, confidence {estimated.confidence:.2f}")

# %% [markdown]
# ## Against the truth

# %%
nodes = evaluation_box(64).nodes()
true = mug.occupancy(nodes).numpy()
for name, made in (("exact views", exact), ("views that err", drifted)):
    inside = MeshObject(made.surface, id=name, normalise=False).sdf(nodes).numpy() < 0
    print(f"{name:15} IoU {np.sum(inside & true) / np.sum(inside | true):.3f}")
exact.mesh.export("mug.glb")

# %% [markdown]
# ## The real thing
#
#     from one2345.pipeline import ImageTo3D
#
#     pipe = ImageTo3D.from_pretrained()            # Zero123-XL: fetched from the hub once, then from its cache
#     pipe("photo.png").mesh.export("out.glb")
#
# or `python reconstruct.py image=photo.png`. Views that were made elsewhere go in through `views=replay
# views.root=DIR`.
