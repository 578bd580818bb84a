"""The LightningModule that trains view synthesis by Zero123: one step reads from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from ..checkpoints import AVERAGE, KEY, training_record
from ..data.pairs import PairBatch
from ..errors import InputError
from ..evaluation.metrics import ObjectMean
from ..hub import Pose
from ..seeding import torch_rng
from ..views.zero123 import LoadedZero123, Noise, denoise, make_scheduler, save_zero123
from .compiling import compiled
from .condition_dropout import ConditionDropout
from .object_table import OBJECTS
from .optim import AdamCosine, schedule_of
from .run_checkpoints import check_state
from .sample_panels import SAMPLED
from .weight_average import WeightAverage

PARTS = ("unet", "projection", "image_encoder")


@dataclass(frozen=True, kw_only=True)
class ValidationSampling:
    """How validation samples. scheduler: of diffusers, `name` and options; None: DDIM on the original's grid."""

    steps: int = 50
    guidance: float = 3.0
    eta: float = 1.0
    scheduler: Mapping[str, Any] | None = None
    chunk: int = 64


class ViewSynthesisModule(pl.LightningModule):
    """Trains `model` to predict noise, velocity or the picture itself, whichever its schedule says.

    trained: parts that learn; the others stay as they came (Zero123: CLIP and the autoencoder). pose_rate: factor on
    the learning rate of the projection, which is new where the UNet is not. decay: of the average of the weights.
    min_snr: the gamma of min-SNR weighting (Hang et al., arXiv 2303.09556) of the error; None: no weighting.
    terminal: share of the examples at the last timestep, beyond its fair share: a few-step sampler starts there.
    model_config: plain configuration of the model, stored in every checkpoint. compile: see `compiled`.
    """

    def __init__(
        self,
        *,
        model: LoadedZero123,
        optim: AdamCosine,
        dropout: ConditionDropout | None = None,
        trained: Sequence[str] = ("unet", "projection"),
        pose_rate: float = 10.0,
        decay: float = 0.9999,
        min_snr: float | None = None,
        terminal: float = 0.0,
        gradient_checkpointing: bool = False,
        sampling: ValidationSampling | None = None,
        model_config: Mapping[str, Any] | None = None,
        compile: bool | str = False,
    ) -> None:
        super().__init__()
        unknown = [part for part in trained if part not in PARTS]
        if unknown or not trained:
            raise InputError(f"synthesis.trained={list(trained)}: takes some of {', '.join(PARTS)}")
        if model.pose != "delta":
            raise InputError(
                f"weights with pose={model.pose} can't be trained: pairs say how distance changes"
            )
        self.model = model.model
        self._denoiser = compiled(self.model.forward, compile)  # no module, which the state would hold twice
        self.pose: Pose = model.pose
        self.schedule = dict(model.scheduler)
        self.noising = make_scheduler(self.schedule)
        self.optim, self.dropout = optim, dropout or ConditionDropout()
        self.trained, self.pose_rate = tuple(trained), pose_rate
        self.min_snr, self.terminal = min_snr, terminal
        self.sampling = sampling or ValidationSampling()
        self.model_config = model_config
        self.model.requires_grad_(False).eval()
        for part in self.trained:
            self._part(part).requires_grad_(True)
        if gradient_checkpointing:
            self.model.unet.enable_gradient_checkpointing()
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        self.average = WeightAverage(named, decay=decay)
        columns = ("psnr", "psnr_stage1", "psnr_near", "psnr_mean_image", "psnr_shuffled_pose")
        self.scores = ObjectMean(columns)
        shape = (3, self.model.size, self.model.size)
        self.register_buffer("target_sum", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("target_count", torch.zeros((), dtype=torch.float64))
        self.train()

    def train(self, mode: bool = True) -> ViewSynthesisModule:
        """Parts that don't learn stay in evaluation mode."""
        super().train(mode)
        self.model.eval()
        for part in self.trained:
            self._part(part).train(mode)
        return self

    def loss(self, batch: PairBatch) -> Tensor:
        """Mean over the pairs of the squared error of the prediction, weighted."""
        count, model = len(batch), self.model
        with torch.set_grad_enabled("image_encoder" in self.trained and torch.is_grad_enabled()):
            condition = model.condition(batch.sources)
        with torch.no_grad():
            clean = model.codec.encode(batch.targets, generator=torch_rng(*batch.seeds, "posterior")).float()
        noise = self._normal(batch, "noise", clean.shape[1:]).to(clean)
        draws = self._uniform(batch, "pair", 3)
        steps = int(self.noising.config.num_train_timesteps)
        timesteps = (draws[:, 0] * steps).long()
        timesteps = torch.where(draws[:, 1] < self.terminal, steps - 1, timesteps).to(clean.device)
        keeps_token, keeps_image = (k.to(clean) for k in self.dropout.kept(draws[:, 2]))
        token = model.token(condition, batch.poses.to(clean.device)) * keeps_token.reshape(count, 1, 1)
        latents = model.image_latents(condition, batch.poses.to(clean.device))
        latents = latents * keeps_image.reshape(count, 1, 1, 1)
        noisy = self.noising.add_noise(clean, noise, timesteps)
        predicted = self._denoiser(noisy, timesteps, token, latents).float()
        error = (predicted - self.wanted(clean, noise, timesteps)).square().flatten(1).mean(1)
        return (error * self.weight(timesteps)).mean()

    def wanted(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What should be predicted of pictures `clean` under `noise`, by the schedule's `prediction_type`."""
        match self.noising.config.prediction_type:
            case "epsilon":
                return noise
            case "v_prediction":
                return self.noising.get_velocity(clean, noise, timesteps)
            case "sample":
                return clean
        raise InputError(f"scheduler: prediction_type={self.noising.config.prediction_type} can't be trained")

    def weight(self, timesteps: Tensor) -> Tensor:
        """Of the error at timesteps (n): 1, or by min-SNR: min(snr, gamma) for the error of the picture, over snr for
        that of the noise, over snr + 1 for that of the velocity."""
        if self.min_snr is None:
            return torch.ones(len(timesteps), device=timesteps.device)
        kept = self.noising.alphas_cumprod.to(timesteps.device)[timesteps]
        snr = kept / (1 - kept)
        by = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}
        return snr.clamp_max(self.min_snr) / by[self.noising.config.prediction_type].clamp_min(1e-8)

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        with torch.no_grad():
            cast(Tensor, self.target_sum).add_(batch.targets.double().sum(0))
            cast(Tensor, self.target_count).add_(len(batch))
        self.log("loss/total", loss, batch_size=len(batch), prog_bar=True)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update()

    def sample(self, batch: PairBatch, *, seed: int = 0) -> Tensor:
        """Pictures (n, 3, h, w) in [0, 1] of the pairs' targets, made from their sources."""
        settings, found = self.sampling, []
        with torch.inference_mode():
            for start in range(0, len(batch), settings.chunk):
                part = slice(start, start + settings.chunk)
                latents = denoise(
                    self.model,
                    make_scheduler(self.schedule, settings.scheduler),
                    steps=settings.steps,
                    condition=self.model.condition(batch.sources[part]),
                    poses=batch.poses[part],
                    noise=[Noise.of(seed, str(s)) for s in batch.seeds[part]],
                    guidance=settings.guidance,
                    eta=settings.eta,
                    published=settings.scheduler is None,
                )
                found.append(self.model.codec.decode(latents.to(self.model.dtype)).float().clamp(0, 1))
        return torch.cat(found)

    def mean_image(self) -> Tensor:
        """The mean (3, h, w) of all training targets so far; white before there were any."""
        total, count = cast(Tensor, self.target_sum), cast(Tensor, self.target_count)
        return (total / count if count > 0 else torch.ones_like(total)).float()

    def validation_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Any]:
        """PSNR of the pairs of one object's view plan, by the averaged weights, under `objects`; and the pictures
        themselves, under `sampled`."""
        shuffled = shuffle_poses(batch)
        with self.average.in_use():
            sampled = self.sample(batch)
            own, other = psnr(sampled, batch.targets), psnr(self.sample(shuffled), batch.targets)
        mean = psnr(self.mean_image().expand_as(batch.targets), batch.targets)
        near = own[batch.near] if batch.near.any() else own
        values = (own, own[~batch.near], near, mean, other)
        means = [float(v.mean()) for v in values]
        self.scores.update(batch.ids[0], *means)
        return {OBJECTS: {batch.ids[0]: dict(zip(self.scores.columns, means, strict=True))}, SAMPLED: sampled}

    def on_validation_epoch_end(self) -> None:
        """Means over the objects, each counted once whatever rank it was on."""
        means = {f"val/{name}": value.float() for name, value in self.scores.compute().items()}
        self.log_dict(means, prog_bar=True)
        self.scores.reset()

    def configure_optimizers(self) -> Any:
        others = [p for part in self.trained if part != "projection" for p in self._part(part).parameters()]
        groups: list[dict[str, Any]] = [{"params": others, "lr": self.optim.lr}] if others else []
        if "projection" in self.trained:
            rate = self.optim.lr * self.pose_rate
            groups.append({"params": list(self.model.projection.parameters()), "lr": rate})
        optimizer, schedule = self.optim(groups, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": schedule_of(schedule)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[AVERAGE] = self.average.state_dict()
        if self.model_config is not None:
            checkpoint[KEY] = training_record(self.model_config)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_state(checkpoint, self)
        self.average.load_state_dict(checkpoint[AVERAGE])

    def save(self, folder: Path, *, record: Mapping[str, Any]) -> None:
        """The averaged weights in the layout that `load_zero123` and `views=zero123_mini` read."""
        with self.average.in_use():
            save_zero123(folder, self.model, scheduler=self.schedule, pose=self.pose, record=record)

    def _part(self, name: str) -> nn.Module:
        return cast(nn.Module, getattr(self.model, name))

    def _uniform(self, batch: PairBatch, stream: str, count: int) -> Tensor:
        """Uniform numbers (n, count), each pair's from its own stream."""
        return torch.stack([torch.rand(count, generator=torch_rng(s, stream)) for s in batch.seeds])

    def _normal(self, batch: PairBatch, stream: str, shape: Sequence[int]) -> Tensor:
        return torch.stack([torch.randn(*shape, generator=torch_rng(s, stream)) for s in batch.seeds])


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """PSNR (n), in dB, of pictures (n, 3, h, w) in [0, 1]."""
    return -10 * torch.log10((images - truth).square().flatten(1).mean(1).clamp_min(1e-10))


def shuffle_poses(batch: PairBatch) -> PairBatch:
    """Every pair with the pose of the next one of its kind (near views apart), so that all are wrong."""
    poses = batch.poses.clone()
    for kind in (batch.near, ~batch.near):
        poses[kind] = batch.poses[kind].roll(1, 0)
    return replace(batch, poses=poses)
