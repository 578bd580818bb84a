# %% [markdown]
# # 3. Train on shapes
#
# `make train` trains for some minutes and evaluates at the end. Here is the same in small, with every part in
# sight: shapes that are made on the spot, a small network, the losses, and Lightning around them. It takes about a
# minute on two cores and is far from converged; the curve goes the right way.

# %%
import logging
import warnings

import lightning.pytorch as pl
import matplotlib.pyplot as plt
import torch

from one2345.data import Recipe, SampleSizes, SceneSizes, ShapesSource
from one2345.data.datamodule import ReconstructionDataModule
from one2345.geometry import evaluation_box, hull_sdf, mask_distance, orbit_cameras
from one2345.losses import WeightedLosses
from one2345.meshing import Extractor
from one2345.models import BlendNet, FeatureNet, Reconstructor, SdfNet, VolumeNet
from one2345.objects import MeshObject
from one2345.rendering import RenderSettings, Variance
from one2345.training import AdamCosine, ReconstructionModule, TermSettings

plt.rcParams["figure.dpi"] = 80
warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pl.seed_everything(0, verbose=False)
torch.set_num_threads(2)

# %% [markdown]
# ## Data
#
# A **source** says which objects there are, a **recipe** what is rendered and sampled of each, and **sizes** how
# much of it one training example holds. Preparation writes a folder that is kept, so a second run starts at once.

# %%
data = ReconstructionDataModule(
    root="shapes",
    source=ShapesSource(seed=0, train=4, val=2),
    recipe=Recipe(
        plan="ring8", size=64, targets=2,
        train_samples=SampleSizes(sdf_points=16384, surface_points=2048),
        eval_samples=SampleSizes(sdf_points=512, surface_points=2048),
    ),
    sizes=SceneSizes(views=8, rays=64, sdf_points=1024, surface_points=256, targets=2),
    batch_size=2, test_split="train", prepare_workers=1, progress=False,
)  # fmt: skip
data.prepare_data()
batch = next(iter(data.train_dataloader()))
print(batch.ids, "images", tuple(batch.images.shape), "labels", tuple(batch.sdf_points.shape))

# %% [markdown]
# ## The network
#
# `sdf_base`, smaller: 2D features of every picture, a cost volume, a 3D network, a head for the signed distance and
# one that blends colours from the pictures.

# %%
network = Reconstructor(
    resolution=24,
    feature_net=FeatureNet(in_channels=4, channels=[8, 16, 32], out_channels=[8, 16]),
    volume_net=VolumeNet(in_channels=35, channels=[16, 16, 32, 64]),
    sdf_net=SdfNet(latent_channels=17, hidden=64, octaves=4, activation="silu", prior=True),
    blend_net=BlendNet(geometry_channels=17, feature_channels=8, hidden=32, width=16, direction_hidden=16,
                       logit_hidden=[16, 8]),
    variance=Variance(init=0.4),
)  # fmt: skip
print(f"{sum(p.numel() for p in network.parameters()):,} parameters")

# %% [markdown]
# ## The losses
#
# Each is a weight; a term of weight 0 is not even computed. `sdf` compares with the true distance at labelled
# points, `colour` and `mask` compare rendered rays with pictures, `texture_consistency` colours at points of the
# true surface.

# %%
module = ReconstructionModule(
    model=network,
    loss=WeightedLosses(sdf=10.0, colour=0.5, mask=0.1, eikonal=0.02, texture_consistency=0.5),
    optim=AdamCosine(lr=2e-3, floor=0.05, warmup=5),
    terms=TermSettings(render=RenderSettings(coarse=12, fine=12)),
)

# %% [markdown]
# ## Before and after
#
# Intersection over union with the truth on 64³ cells, of the objects trained on and of two that are never shown, beside
# the visual hull of the same pictures, which the untrained network starts from.


# %%
@torch.no_grad()
def scores(batches) -> tuple[float, float]:
    """Mean IoU of the network and of the hull."""
    found = []
    for batch in batches:
        truth = batch.occupancy_64.flatten()
        points = evaluation_box(64).nodes().reshape(1, -1, 3)
        field = network(batch.images, batch.masks, batch.cameras)
        hull = hull_sdf(points[0], mask_distance(batch.masks[0]), batch.cameras[0])
        filled = (field.sdf(points)[0] < 0, hull < 0)
        found.append([float((f & truth).sum() / (f | truth).sum()) for f in filled])
    return tuple(torch.tensor(found).mean(0).tolist())


def told(when: str) -> None:
    for name, batches in (("trained on", data.test_dataloader()), ("unseen", data.val_dataloader())):
        mine, hull = scores(batches)
        print(f"{when:16} {name:10} network {mine:.3f}, hull {hull:.3f}")


# %%
class Curve(pl.Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def on_train_batch_end(self, trainer, *_) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.startswith("loss/"):
                self.values.setdefault(name.removeprefix("loss/"), []).append(float(value))


told("before")
curve = Curve()
trainer = pl.Trainer(
    max_steps=100, accelerator="cpu", devices=1, logger=False, callbacks=[curve], enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
)  # fmt: skip
trainer.fit(module, datamodule=data)
told(f"after {trainer.global_step} steps")

# %% [markdown]
# The network holds what it was shown, and pays for it elsewhere: four shapes teach nothing about others. That is what
# the other 156 of `make train` are for, and some hundred steps more.

# %%
figure, grid = plt.subplots(1, 3, figsize=(11, 3))
for axes, name in zip(grid, ("total", "sdf", "colour"), strict=True):
    values = torch.tensor(curve.values[name])
    smooth = values.unfold(0, 10, 1).mean(1)
    axes.plot(values, color="#c5d2e3")
    axes.plot(range(9, len(values)), smooth, color="#1f4e8c")
    axes.set(title=name, xlabel="step")
plt.show()

# %% [markdown]
# ## What it makes of the first object

# %%
batch = next(iter(data.test_dataloader()))
with torch.no_grad():
    field = network(batch.images, batch.masks, batch.cameras)
    mesh = Extractor(resolution=64)(
        lambda p: field.sdf(p[None])[0], field.box, lambda p, n: field.surface_colour(p[None], n[None])[0]
    )
truth = ShapesSource(seed=0, train=4).load(batch.ids[0]).object
made = MeshObject(mesh, id="mesh", normalise=False, repair=False)
cameras = orbit_cameras([20.0, 140.0, 260.0], [25.0] * 3, size=128)
figure, grid = plt.subplots(2, 3, figsize=(6, 4))
for row, (item, name) in zip(grid, ((truth, "truth"), (made, "network")), strict=True):
    for axes, picture in zip(row, item.render(cameras).rgb, strict=True):
        axes.imshow(picture.permute(1, 2, 0))
        axes.axis("off")
    row[0].set_title(name, loc="left", fontsize=10)
plt.show()

# %% [markdown]
# From here: `make train` for the whole thing with checkpoints, metrics and a report, `make train-long` for an
# hour's worth, and the page *Training* for GPUs and clusters.
