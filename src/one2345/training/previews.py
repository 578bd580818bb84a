"""Preview panels: what the network sees, what it renders, and the truth beside it, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from ..data.batch import SceneBatch
from ..errors import EmptySurfaceError
from ..geometry import Mesh, orbit_cameras
from ..meshing import extract
from ..models import ReconstructionField
from ..objects import MeshObject
from ..rendering import RenderSettings, render_views
from .media import Media
from .module import ReconstructionModule

Picture = NDArray[np.uint8]


def row(images: Tensor) -> Picture:
    """(n, 3, h, w) in [0, 1] side by side as (h, n w, 3) uint8."""
    pictures = (images.detach().clamp(0, 1).cpu() * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return np.concatenate(list(pictures), axis=1)


def stack_rows(rows: list[Picture]) -> Picture:
    """Rows of any width below each other, on white."""
    width = max(r.shape[1] for r in rows)
    padded = [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows]
    return np.concatenate(padded, axis=0)


def depth_picture(depth: Tensor) -> Tensor:
    """z-depth (n, h, w) as grey (n, 3, h, w), near is bright, nothing is white."""
    near, far = 0.6, 1.8
    grey = 1 - ((depth - near) / (far - near)).clamp(0, 1)
    return torch.where(depth > 0, grey, torch.ones_like(grey))[:, None].expand(-1, 3, -1, -1)


def normal_picture(normal: Tensor) -> Tensor:
    """World normals (n, 3, h, w) as colours; where there is none, white."""
    present = normal.abs().sum(1, keepdim=True) > 0
    return torch.where(present, normal * 0.5 + 0.5, torch.ones_like(normal))


class PreviewPanels(Callback):
    """After every validation: a panel and the mesh of the first object, in FOLDER/previews, FOLDER/meshes and the
    loggers.

    Rows: the source views; rendered colour, depth and normal beside the true target views; a turntable of
    the extracted mesh. size: edge of a picture in pixels. resolution: of the mesh. views: of the turntable.
    """

    def __init__(self, *, folder: str, size: int = 96, resolution: int = 64, views: int = 8) -> None:
        self.folder = Path(folder)
        self.size, self.resolution, self.views = size, resolution, views

    @torch.no_grad()
    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: SceneBatch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if batch_idx or not trainer.is_global_zero or trainer.sanity_checking:
            return
        module = cast(ReconstructionModule, pl_module)  # Lightning knows only its base class
        with module.averaged():
            field = module.field(batch).only(0)
            mesh = self.mesh(field, batch.images.device)
            panel = self.panel(field, batch, float(module.model.variance()), mesh)
        media = Media(self.folder, trainer.loggers)
        media.picture("previews", batch.ids[0], panel, trainer.global_step)
        if mesh is not None:
            media.mesh("meshes", batch.ids[0], mesh, trainer.global_step)

    def mesh(self, field: ReconstructionField, device: torch.device) -> Mesh | None:
        """The surface of the only object of `field`; None where it has none."""
        try:
            return extract(
                lambda p: field.sdf(p[None])[0], field.box, resolution=self.resolution, device=device
            )
        except EmptySurfaceError:
            return None

    def panel(
        self, field: ReconstructionField, batch: SceneBatch, inv_s: float, mesh: Mesh | None
    ) -> Picture:
        """The picture (h, w, 3) of one object."""
        if batch.target_cameras is None or batch.target_images is None:
            raise ValueError(
                f"previews need target views, {', '.join(batch.ids)} came without: set targets above 0"
            )
        resize = lambda x: torch.nn.functional.interpolate(x, (self.size, self.size), mode="area")  # noqa: E731
        cameras = batch.target_cameras[0][:2].resized((self.size, self.size))
        seen = render_views(
            field, cameras, inv_s=max(inv_s, 64.0), settings=RenderSettings(coarse=32, fine=32)
        )
        truth = resize(batch.target_images[0, :2])
        compared = [seen.rgb, truth, depth_picture(seen.depth)]
        if batch.target_depth is not None:
            depth = torch.nn.functional.interpolate(batch.target_depth[0, :2, None], (self.size, self.size))
            compared.append(depth_picture(depth[:, 0]))
        rows = [
            row(resize(batch.images[0])),
            row(torch.cat(compared)),
            row(normal_picture(seen.normal)),
        ]
        if mesh is None:
            return stack_rows(rows)
        turntable = orbit_cameras(
            torch.arange(self.views) * (360 / self.views), torch.full((self.views,), 20.0), size=self.size
        )
        rendered = MeshObject(mesh, id="preview", normalise=False).render(turntable)
        return stack_rows([*rows, row(normal_picture(rendered.normal))])
