"""What evaluation measures: the network of a checkpoint, and beside it the visual hull of the same views."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from one2345.data.datamodule import ReconstructionDataModule
from one2345.data.progress import Progress
from one2345.evaluation import (
    EvaluationProtocol,
    Prediction,
    Predictor,
    Summary,
    by_azimuth,
    evaluate,
    visual_hulls,
)
from one2345.geometry import Cameras
from one2345.meshing import Extractor
from one2345.models import Reconstructor
from one2345.rendering import RenderSettings, render_views
from one2345.views import ObjectRecord, PosedViews

Inputs = Callable[[ObjectRecord], PosedViews]


@dataclass(frozen=True, kw_only=True)
class Network:
    """Predictor: the mesh that `model` makes of the views that `inputs` gives for a prepared object.

    render: also the field's own renders at the target cameras (psnr_field, ssim_field); None leaves them out.
    """

    model: Reconstructor
    inputs: Inputs
    extractor: Extractor
    device: torch.device
    render: RenderSettings | None = None

    @torch.no_grad()
    def __call__(self, record: ObjectRecord) -> Prediction:
        views = self.inputs(record).to(self.device)
        field = self.model(views.images[None], views.masks[None], Cameras.stack([views.cameras]))
        mesh = self.extractor(
            lambda points: field.sdf(points[None])[0],
            field.box,
            lambda points, normals: field.colour(points[None], normals[None])[0][0],
            device=self.device,
        )
        images = None
        if self.render is not None and (targets := record.indices("target")):
            cameras = record.cameras[targets]
            cameras = cameras[by_azimuth(cameras)].to(self.device)
            inv_s = float(self.model.variance())
            images = render_views(field, cameras, field.box, inv_s=inv_s, settings=self.render).rgb.cpu()
        return Prediction(mesh=mesh, images=images, inputs=views.images.cpu(), note=f"{len(views)} views")


def measure(
    model: Reconstructor,
    data: Mapping[str, ReconstructionDataModule],
    out: Path,
    *,
    extractor: Extractor,
    protocol: EvaluationProtocol,
    settings: Mapping[str, Any],
    device: torch.device,
    details: Mapping[str, str],
    render: RenderSettings | None = None,
) -> Summary:
    """Evaluate network and hull on the test objects with every kind of input in `data` (name -> module)."""
    predictors: dict[str, Predictor] = {}
    groups: dict[str, tuple[str, ...]] = {}
    records: list[ObjectRecord] = []
    for name, module in data.items():
        suffix = f" {name}" if len(data) > 1 else ""
        dataset = module.dataset("test")
        if not records:
            records = dataset.records()[: settings.get("objects")]
            for record in records:
                record.check()  # a damaged file is the user's to mend, not a method's failure

        def inputs(record: ObjectRecord, dataset: Any = dataset) -> PosedViews:
            return dataset.sources(record.id)

        predictors[f"network{suffix}"] = Network(
            model=model.to(device).eval(), inputs=inputs, extractor=extractor, device=device, render=render
        )
        if settings.get("hull", True):
            members, group = visual_hulls(inputs=inputs, name=f"visual hull{suffix}")
            predictors |= members
            groups |= group
    with Progress("evaluating", total=len(predictors) * len(records)) as bar:
        return evaluate(
            predictors,
            records,
            out,
            protocol,
            best_of=groups,
            title=str(details.get("run", "Evaluation")),
            details=details,
            mesh_format="glb" if settings.get("meshes", True) else None,
            progress=lambda done, total, what: bar.advance(what) if done else None,
        )
