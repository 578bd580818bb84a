# %% [markdown]
# # 1. Conventions and cameras
#
# Where is up? Which side is the front? Nearly every question about a failed reconstruction ends here, so the
# conventions are written down once, in `one2345.geometry`, and everything else asks it.
#
# - The world is right-handed and **z is up**. The object stands at the origin; its longest box edge is 0.8.
# - **Azimuth 0** looks from −y and grows counter-clockwise, seen from above: 90° looks from +x.
# - **Elevation** is measured up from the horizon.
# - Cameras have **OpenCV axes** (x right, y down, z forward), stand at a distance of 1.2 and have a focal length of
#   280 px in a picture of 256 px. Pixel centres lie at +0.5.

# %%
import matplotlib.pyplot as plt
import torch

from one2345.geometry import Cameras, load_plan, orbit_cameras, pixel_rays, project, spherical, y_up_from_z_up
from one2345.objects import random_shape

plt.rcParams["figure.dpi"] = 80

# %% [markdown]
# ## One camera
#
# `orbit_cameras` takes azimuth and elevation in degrees. `c2w` maps camera coordinates to the world: its columns
# are where the camera's right, down and forward point, and where it stands.

# %%
camera = orbit_cameras([0.0], [20.0])
print("K\n", camera.K[0])
print("c2w\n", camera.c2w[0].round(decimals=3))
print("azimuth, elevation, distance:", [round(float(x), 3) for x in spherical(camera.c2w[0])])

# %% [markdown]
# The origin is seen in the middle of the picture, at the pixel coordinate 128 (between the pixels 127 and 128,
# whose centres are 127.5 and 128.5), at the depth 1.2. Depth is measured along the optical axis, not along the ray.

# %%
pixels, depth = project(torch.zeros(1, 1, 3), camera)
print("the origin is seen at", pixels[0, 0].tolist(), "at the depth", round(float(depth), 4))

# %% [markdown]
# ## The cameras of the published plan
#
# One-2-3-45 makes 8 views around the object (two rings of four), and 4 near each of them: 32 more. A plan says so
# as data, `conf/plan/published.yaml`; the second ring depends on how high the input camera stands.


# %%
def draw_frusta(axes, cameras: Cameras, colour: str, length: float = 0.25) -> None:
    """The pyramids of what cameras (v) see."""
    height, width = cameras.size
    corners = torch.tensor([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    rays = pixel_rays(cameras, corners.expand(len(cameras), 4, 2))
    ends = cameras.centres[:, None] + length * rays.directions
    for centre, corner in zip(cameras.centres, ends, strict=True):
        for i in range(4):
            axes.plot(*torch.stack([centre, corner[i]]).T, color=colour, lw=0.7)
            axes.plot(*torch.stack([corner[i], corner[(i + 1) % 4]]).T, color=colour, lw=0.7)


def draw_box(axes, half: float = 0.4) -> None:
    """The object's box."""
    signs = torch.tensor([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    for a in range(8):
        for b in range(a):
            if (signs[a] != signs[b]).sum() == 1:
                axes.plot(*torch.stack([signs[a], signs[b]]).T, color="#b45a1e", lw=1)


plan = load_plan("published")
views, cameras = plan.views(20.0), plan.cameras(20.0)
stage1 = [i for i, view in enumerate(views) if view.role == "stage1"]
near = [i for i, view in enumerate(views) if view.role == "near"]

figure = plt.figure(figsize=(11, 5))
for panel, (elevation, azimuth, title) in enumerate([(22, -60, "from the side"), (90, -90, "from above")], 1):
    axes = figure.add_subplot(1, 2, panel, projection="3d", proj_type="ortho")
    draw_frusta(axes, cameras[near], "#9db4d0", 0.15)
    draw_frusta(axes, cameras[stage1], "#1f4e8c", 0.3)
    draw_box(axes)
    axes.set(xlabel="x", ylabel="y", title=title)
    axes.set_zlabel("z") if elevation < 90 else axes.set_zticks([])
    axes.set_aspect("equal")
    axes.view_init(elevation, azimuth)
figure.suptitle("8 views (dark) and 32 near ones (light); the box is the object's")
plt.show()

# %% [markdown]
# ## What they see
#
# Any object can be looked at: here a random analytic shape, whose exact signed distance, colours and pictures are
# known. The first row is azimuth 0, 90, 180 and 270 of the first ring, the second row the other ring, turned by 30°
# and 30° lower.

# %%
shape = random_shape(0, index=22)
seen = shape.render(plan.cameras(20.0, size=128)[stage1])
figure, grid = plt.subplots(2, 4, figsize=(10, 5.4))
for axes, picture, index in zip(grid.flat, seen.rgb, stage1, strict=True):
    axes.imshow(picture.permute(1, 2, 0))
    axes.set_title(
        f"{views[index].name}: {views[index].azimuth:.0f}°, {views[index].elevation:+.0f}°", fontsize=10
    )
    axes.axis("off")
plt.show()

# %% [markdown]
# ## Points and pixels
#
# Points of the surface, projected into a picture, land on the object, those of its far side too: the quickest test
# of any convention, and the first thing to do with cameras of your own.

# %%
samples = shape.sample_surface(300, seed=0)
camera = orbit_cameras([35.0], [25.0], size=256)
picture = shape.render(camera).rgb[0]
pixels, depth = project(samples.points[None], camera)
plt.figure(figsize=(4, 4))
plt.imshow(picture.permute(1, 2, 0), extent=(0, 256, 256, 0))  # pixel (0, 0) spans 0 to 1
plt.scatter(*pixels[0].T, c=depth[0], s=6, cmap="viridis")
plt.colorbar(label="depth along the optical axis", shrink=0.8)
plt.axis("off")
plt.show()

# %% [markdown]
# ## Files have y up
#
# GLB, OBJ and PLY files are written y up, by one rotation that is the same for every format: (x, z, −y). `Mesh`
# objects in memory are z up, always.

# %%
print("the world's up in a file: ", y_up_from_z_up(torch.tensor([0.0, 0.0, 1.0])).tolist())
print(
    "where azimuth 0 looks from:", y_up_from_z_up(torch.tensor([0.0, -1.0, 0.0])).tolist(), "(glTF's front)"
)
