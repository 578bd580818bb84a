# %% [markdown]
# # 2. How a cost volume becomes a surface
#
# The network is given posed pictures and answers with a signed distance field: how far a point is from the surface,
# negative inside. This notebook goes through the steps between, on one object whose truth is known.

# %%
import matplotlib.pyplot as plt
import torch

from one2345.checkpoints import load_reconstructor
from one2345.geometry import (
    evaluation_box,
    hull_sdf,
    load_plan,
    mask_distance,
    orbit_cameras,
    project,
    sample_views,
)
from one2345.meshing import Extractor
from one2345.objects import MeshObject, random_shape

plt.rcParams["figure.dpi"] = 80

# %% [markdown]
# ## The pictures
#
# Eight exact views of an analytic shape. (A diffusion model's views agree less; see notebook 5.)

# %%
shape = random_shape(1, index=32)
cameras = load_plan("ring8").cameras(30.0, size=128)
seen = shape.render(cameras)
figure, grid = plt.subplots(1, 8, figsize=(12, 1.7))
for axes, picture in zip(grid, seen.rgb, strict=True):
    axes.imshow(picture.permute(1, 2, 0))
    axes.axis("off")
plt.show()

# %% [markdown]
# ## A slice of space, looked up in every picture
#
# Take the points of a horizontal slice through the object, project them into each picture and read what is there.
# At a point of the surface, the pictures that see it agree; elsewhere they look at different parts of the object.
# So where the **variance** over the pictures is low, there may be surface. That is a cost volume: a real network
# reads learned features instead of colours, and does so for all the slices of a cube.

# %%
HEIGHT, REACH, N = 0.0, 0.5, 160
line = torch.linspace(-REACH, REACH, N)
y, x = torch.meshgrid(line, line, indexing="ij")
slice_points = torch.stack([x, y, torch.full_like(x, HEIGHT)], -1).reshape(-1, 3)

pixels, depth = project(slice_points.expand(len(cameras), -1, -1), cameras)
colours = sample_views(seen.rgb, pixels)  # (views, 3, points)
variance = colours.var(0).mean(0).reshape(N, N)
mean = colours.mean(0).T.reshape(N, N, 3)
truth = shape.sdf(slice_points).reshape(N, N)

figure, grid = plt.subplots(1, 2, figsize=(8, 3.8))
extent = (-REACH, REACH, -REACH, REACH)
grid[0].imshow(mean, origin="lower", extent=extent)
grid[0].set_title("mean colour over the views")
drawn = grid[1].imshow(variance.sqrt(), origin="lower", extent=extent, cmap="magma")
grid[1].set_title("deviation between the views")
for axes in grid:
    axes.contour(line, line, truth, levels=[0.0], colors="white", linewidths=1)
figure.colorbar(drawn, ax=grid, shrink=0.8)
plt.show()

# %% [markdown]
# The white line is the true surface. Outside the object all views see white background and agree as well: agreement
# is necessary, not sufficient. Silhouettes say the rest: a point that lies outside one of them cannot be part of
# the object. What is left is the **visual hull**, and its signed distance is what our network starts from.

# %%
hull = hull_sdf(slice_points, mask_distance(seen.mask), cameras).reshape(N, N)

# %% [markdown]
# ## The field
#
# `load_reconstructor("pretrained")` is the network that comes with the package. It lifts mean and variance of its
# own features into a cube of 48³ voxels, has a 3D network look at them, and adds what it finds to the hull's
# distance.

# %%
network, record = load_reconstructor("pretrained")
with torch.no_grad():
    field = network(seen.rgb[None], seen.mask[None], cameras[None])
    network_sdf = field.sdf(slice_points[None])[0].reshape(N, N)

figure, grid = plt.subplots(1, 3, figsize=(12, 3.8))
for axes, values, title in zip(
    grid, (truth, hull, network_sdf), ("truth", "visual hull", "network"), strict=True
):
    drawn = axes.imshow(values, origin="lower", extent=extent, cmap="RdBu", vmin=-0.2, vmax=0.2)
    axes.contour(line, line, truth, levels=[0.0], colors="black", linewidths=1.5)
    axes.contour(line, line, values, levels=[0.0], colors="orange", linewidths=1.5)
    axes.set_title(title)
figure.colorbar(drawn, ax=grid, label="signed distance", shrink=0.8)
plt.show()

# %% [markdown]
# Red is inside. Black is the true surface, orange the zero set of each field. The mug is hollow, which no
# silhouette shows: the hull fills it, and the network, small as it is, pales in the middle but does not open it.
# How much of the volume is right, as intersection over union on 64³ cells:

# %%
nodes = evaluation_box(64).nodes().reshape(-1, 3)
inside = shape.occupancy(nodes)


def iou(values: torch.Tensor) -> float:
    predicted = values < 0
    return float((predicted & inside).sum() / (predicted | inside).sum())


with torch.no_grad():
    print(f"visual hull {iou(hull_sdf(nodes, mask_distance(seen.mask), cameras)):.3f}")
    print(f"network     {iou(field.sdf(nodes[None])[0]):.3f}")

# %% [markdown]
# ## The surface
#
# Marching cubes on a lattice finds the zero set; only the neighbourhood of the surface is evaluated, so fine
# lattices are affordable. Colours are blended from the pictures, with weights that another small network chooses.

# %%
figure, grid = plt.subplots(1, 4, figsize=(11, 3))
camera = orbit_cameras([25.0], [25.0], size=192)
grid[0].imshow(shape.render(camera).rgb[0].permute(1, 2, 0))
grid[0].set_title("truth")
for axes, resolution in zip(grid[1:], (24, 48, 128), strict=True):
    with torch.no_grad():
        mesh = Extractor(resolution=resolution)(
            lambda p: field.sdf(p[None])[0],
            field.box,
            lambda p, n: field.surface_colour(p[None], n[None])[0],
        )
    picture = MeshObject(mesh, id="mesh", normalise=False, repair=False).render(camera).rgb[0]
    axes.imshow(picture.permute(1, 2, 0))
    axes.set_title(f"{resolution}³ nodes: {len(mesh.faces):,} faces", fontsize=10)
for axes in grid:
    axes.axis("off")
plt.show()
