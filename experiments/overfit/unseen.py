"""PSNR of the field's renders at views that gave it nothing: python experiments/overfit/unseen.py RUN OBJECT [VIEWS].

RUN: a run folder of debug=overfit. OBJECT: the prepared object's folder. VIEWS: how many of its last target views (8).
"""

import sys
from pathlib import Path

import torch

from one2345.checkpoints import load_reconstructor
from one2345.geometry import Cameras
from one2345.rendering import RenderSettings, render_views
from one2345.views import read_object


@torch.no_grad()
def unseen_psnr(run: Path, folder: Path, views: int = 8) -> float:
    """Mean over the views, in dB, of the PSNR over whole pictures on white."""
    model, _ = load_reconstructor(run)
    record = read_object(folder)
    sources = record.views(record.source_indices())
    targets = record.views(record.indices("target")[-views:])
    field = model(sources.images[None], sources.masks[None], Cameras.stack([sources.cameras]))
    rendered = render_views(
        field,
        targets.cameras,
        field.box,
        inv_s=float(model.variance()),
        settings=RenderSettings(coarse=24, fine=24),
    )
    error = (rendered.rgb - targets.images).square().flatten(1).mean(1)
    return float((-10 * error.log10()).mean())


if __name__ == "__main__":
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    print(f"{unseen_psnr(Path(sys.argv[1]), Path(sys.argv[2]), count):.2f} dB over {count} unseen views")
