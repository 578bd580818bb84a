"""Sampling: from noise to the latents of pictures, by any of diffusers' schedulers that can be made repeatable."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from one2345.errors import InputError
from one2345.seeding import torch_rng

from .model import Condition, Zero123

SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LCMScheduler",
    "UniPCMultistepScheduler",
)
"""Those that take their noise from a generator per picture or need none: a picture is the same in every batch."""


@dataclass(frozen=True)
class Noise:
    """The random numbers of one picture, drawn on the CPU: the same on every device and in every batch.

    start: of the initial noise. steps: of what is added on the way.
    """

    start: torch.Generator
    steps: torch.Generator

    @staticmethod
    def of(seed: int, view: str) -> Noise:
        return Noise(torch_rng(seed, "zero123", view, "start"), torch_rng(seed, "zero123", view, "steps"))


def make_scheduler(schedule: Mapping[str, Any], chosen: Mapping[str, Any] | None = None) -> Any:
    """A scheduler of diffusers for the noise that a model was trained with.

    schedule: that noise, in the words of diffusers. chosen: `name` of another class and its options; None: DDIM.
    Raises InputError for a class that is not in `SCHEDULERS`, or options that it doesn't take.
    """
    import diffusers

    options = dict(chosen or {})
    name = options.pop("name", "DDIMScheduler")
    if name not in SCHEDULERS:
        raise InputError(
            f"scheduler {name!r} is unknown or not repeatable per view; it takes {', '.join(SCHEDULERS)}"
        )
    kind = getattr(diffusers, name)
    known = inspect.signature(kind.__init__).parameters
    unknown = next((key for key in options if key not in known), None)
    if unknown is not None:
        raise InputError(f"{name} takes no option {unknown!r}; it takes {', '.join(list(known)[1:])}")
    try:
        taken = {k: v for k, v in schedule.items() if k in known}
        return kind.from_config({**taken, **options})
    except (ValueError, TypeError, NotImplementedError) as error:
        raise InputError(f"{name} can't be made: {error}") from error


def set_steps(
    scheduler: Any, steps: int, *, published: bool = False, device: torch.device | str = "cpu"
) -> Tensor:
    """Make ready for `steps` steps; the timesteps.

    published: the grid of the original's DDIM (1 + 0, s, 2 s, ... below the number of training steps, with
    s = training steps // steps), which has more entries than were asked for where s doesn't divide it: 75 gives 77.
    """
    scheduler.set_timesteps(steps, device=device)
    if published:
        total = int(scheduler.config.num_train_timesteps)
        grid = torch.arange(0, total, total // steps) + int(scheduler.config.steps_offset)
        scheduler.timesteps = grid[grid < total].flip(0).to(device)
    return scheduler.timesteps


@torch.inference_mode()
def denoise(
    model: Zero123,
    scheduler: Any,
    *,
    steps: int,
    condition: Condition,
    poses: Tensor,
    noise: Sequence[Noise],
    guidance: float = 3.0,
    eta: float = 1.0,
    published: bool = False,
    tick: Callable[[], None] | None = None,
) -> Tensor:
    """Latents (n, c, h, w) in float32 of pictures from n cameras.

    condition: of the n pictures that they are made from. poses: (n, 4). guidance: 1 leaves out the unconditional
    half; else both halves go through the network as one batch (Ho & Salimans, arXiv 2207.12598). eta: of DDIM, 0
    adds no noise on the way. tick: called after each step. The scheduler works in float32, whatever the network.
    """
    timesteps = set_steps(scheduler, steps, published=published, device=model.device)
    taken = inspect.signature(scheduler.step).parameters
    extra: dict[str, Any] = {"eta": eta} if "eta" in taken else {}
    if "generator" in taken:
        extra["generator"] = [one.steps for one in noise]
    shape = model.latent_shape(1)
    start = torch.cat([torch.randn(shape, generator=one.start) for one in noise])
    latents = start.to(model.device) * scheduler.init_noise_sigma
    token, image = model.token(condition, poses), model.image_latents(condition, poses)
    guided = guidance != 1.0
    if guided:
        token, image = (
            torch.cat([torch.zeros_like(token), token]),
            torch.cat([torch.zeros_like(image), image]),
        )
    for timestep in timesteps:
        noisy = scheduler.scale_model_input(latents, timestep).to(model.dtype)
        predicted = model(torch.cat([noisy, noisy]) if guided else noisy, timestep, token, image).float()
        if guided:
            without, given = predicted.chunk(2)
            predicted = without + guidance * (given - without)
        latents = scheduler.step(predicted, timestep, latents, **extra).prev_sample
        if tick is not None:
            tick()
    if not bool(latents.isfinite().all()):
        raise InputError(
            f"the diffusion model overflows in {model.dtype}; views.dtype=bfloat16 or float32 don't"
        )
    return latents


def pose_vector(azimuth: float, elevation: float, polar: float | None = None) -> list[float]:
    """What a request's offsets (degrees) are to the model: see `geometry.zero123_pose`; the distance stays.

    polar: for models that are told it instead of the change of distance: of the given picture's camera, degrees
    down from +z.
    """
    turn = math.radians(azimuth)
    return [
        -math.radians(elevation),
        math.sin(turn),
        math.cos(turn),
        0.0 if polar is None else math.radians(polar),
    ]
