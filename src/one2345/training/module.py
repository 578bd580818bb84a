"""The LightningModule that trains the reconstruction network: one step reads from top to bottom."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from ..checkpoints import AVERAGE, KEY, training_record
from ..data.batch import SceneBatch
from ..evaluation.metrics import ObjectMean
from ..geometry import evaluation_box
from ..losses import WeightedLosses
from ..models import ReconstructedField, ReconstructionField, ReconstructionNetwork
from ..rendering import PlacedField, render_rays, render_views
from .compiling import compiled
from .object_table import OBJECTS
from .optim import AdamCosine, schedule_of
from .run_checkpoints import check_state
from .terms import StepTerms, TermSettings
from .weight_average import WeightAverage


class ReconstructionModule(pl.LightningModule):
    """Trains `model` by `loss`.

    decay: of the average of the weights, which is what validation, previews and readers of a checkpoint get; None: the
    weights themselves.
    anneal_steps: over which NeuS's slope rule goes from forgiving to strict (0: strict from the start).
    model_config: plain configuration of the model, stored in every checkpoint so that it can be built again.
    compile: the network and the rendering of a step of training, see `compiled`; checkpoints are the same either way.
    """

    def __init__(
        self,
        *,
        model: ReconstructionNetwork,
        loss: WeightedLosses,
        optim: AdamCosine,
        terms: TermSettings | None = None,
        decay: float | None = None,
        anneal_steps: int = 0,
        model_config: Mapping[str, Any] | None = None,
        compile: bool | str = False,
    ) -> None:
        super().__init__()
        self.model = model
        # A plain function: as a module it would be in the state a second time.
        self._network = compiled(model.forward, compile)
        self._render = compiled(render_rays, compile)
        self.loss = loss
        self.optim = optim
        self.terms = terms or TermSettings()
        self.average = None if decay is None else WeightAverage(model.named_parameters(), decay=decay)
        self.anneal_steps = anneal_steps
        self.scores = ObjectMean(("psnr",))
        self.shape_scores = ObjectMean(("iou", "prior_iou"))  # where the data have labels
        self.model_config = model_config
        self._pixels: int | None = None  # edge of the pictures, once seen

    def averaged(self) -> AbstractContextManager[None]:
        """The averages in the place of the model's weights, until left; where there are none nothing changes."""
        return nullcontext() if self.average is None else self.average.in_use()

    def field(self, batch: SceneBatch) -> ReconstructionField:
        """The field that the network makes of the batch's source views."""
        return self.model(batch.images, batch.masks, batch.cameras, reference=batch.reference)

    def anneal(self, step: int) -> float:
        """Share of NeuS's strict slope rule at a step."""
        return min(1.0, step / self.anneal_steps) if self.anneal_steps else 1.0

    def losses(self, batch: SceneBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss () and its unweighted terms at a step."""
        field = self._network(batch.images, batch.masks, batch.cameras, reference=batch.reference)
        # Distances and their gradients need float32.
        with torch.autocast(batch.images.device.type, enabled=False):
            if isinstance(field, PlacedField):  # rays and losses are counted where the network works
                field, batch = field.local, batch.in_frame(field.frame)
            terms = StepTerms(
                field,
                batch,
                inv_s=self.model.variance(),
                anneal=self.anneal(step),
                settings=self.terms,
                render=self._render,
            )
            return self.loss(terms.functions(), step)

    def training_step(self, batch: SceneBatch, batch_idx: int) -> Tensor:
        self._pixels = batch.images.shape[-1]
        total, terms = self.losses(batch, self.global_step)
        self.log("loss/total", total, batch_size=len(batch.ids), prog_bar=True)
        self.log_dict({f"loss/{name}": value for name, value in terms.items()}, batch_size=len(batch.ids))
        self.log("train/inv_s", self.model.variance().detach())
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update()

    def validation_step(self, batch: SceneBatch, batch_idx: int) -> dict[str, Any]:
        """Scores of the objects, by id, under `objects`."""
        with self.averaged():
            return self._validate(batch)

    def _validate(self, batch: SceneBatch) -> dict[str, Any]:
        field = self.field(batch)
        found: dict[str, dict[str, float]] = {id: {} for id in batch.ids}
        with torch.autocast(batch.images.device.type, enabled=False):
            for object_id, value in zip(batch.ids, self._psnr(field, batch), strict=True):
                self.scores.update(object_id, float(value))
                found[object_id]["psnr"] = float(value)
            if batch.occupancy_64 is None:
                return {OBJECTS: found}
            truth = batch.occupancy_64.flatten(1)
            points = evaluation_box(64).nodes().reshape(1, -1, 3).to(batch.images).expand(len(truth), -1, -1)
            predicted = torch.cat([field.sdf(part) for part in points.split(2**15, 1)], 1) < 0
            prior_iou = torch.full((len(truth),), torch.nan)  # of networks that start from none
            if isinstance(field, ReconstructedField):
                hull = torch.cat([field.prior(part) for part in points.split(2**15, 1)], 1) < 0
                prior_iou = _iou(hull, truth)
            for object_id, *values in zip(batch.ids, _iou(predicted, truth), prior_iou, strict=True):
                self.shape_scores.update(object_id, *(float(value) for value in values))
                named = zip(self.shape_scores.columns, map(float, values), strict=True)
                found[object_id] |= {name: value for name, value in named if value == value}
        return {OBJECTS: found}

    def on_validation_epoch_end(self) -> None:
        """Means over the objects, each counted once whatever rank it was on."""
        with warnings.catch_warnings():  # without labels there are no scores of the shape
            warnings.filterwarnings("ignore", "The ``compute`` method of metric ObjectMean")
            means = self.scores.compute() | self.shape_scores.compute()
        self.log_dict(
            {f"val/{name}": value.float() for name, value in means.items() if not value.isnan()},
            prog_bar=True,
        )
        self.scores.reset()
        self.shape_scores.reset()

    def _psnr(self, field: ReconstructionField, batch: SceneBatch, size: int = 64) -> Tensor:
        """PSNR (b), in dB, of one unseen view of each object at reduced size."""
        if batch.target_cameras is None or batch.target_images is None:
            raise ValueError(
                f"validation needs target views, {', '.join(batch.ids)} came without: set targets above 0"
            )
        cameras = batch.target_cameras[:, :1].resized((size, size))
        inv_s = float(self.model.variance())
        rendered = render_views(field, cameras, inv_s=inv_s, settings=self.terms.render).rgb[:, 0]
        truth = torch.nn.functional.interpolate(batch.target_images[:, 0], (size, size), mode="area")
        error = (rendered - truth).square().flatten(1).mean(1)
        return -10 * torch.log10(error.clamp_min(1e-10))

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.optim(self.parameters(), int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": schedule_of(schedule)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_state(checkpoint, self)
        if self.average is not None and AVERAGE in checkpoint:
            self.average.load_state_dict(checkpoint[AVERAGE])

    def on_train_start(self) -> None:
        if self.average is not None and self.average.steps == 0:
            self.average.restart()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.average is not None:
            checkpoint[AVERAGE] = self.average.state_dict()
        if self.model_config is not None:
            checkpoint[KEY] = training_record(self.model_config, pixels=self._pixels)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (b) of occupancies (b, p)."""
    return (a & b).sum(1) / (a | b).sum(1).clamp_min(1)
