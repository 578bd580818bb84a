"""Pictures from other sides by Zero123."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from one2345.errors import InputError
from one2345.hub import Pose, Source, find_weights

from ..synthesis.base import Report, Synthesised, ViewRequest
from .alpha import alpha_of
from .budget import free_memory, pictures_at_once
from .loading import LoadedZero123, load_zero123, own_size
from .model import Condition, Zero123
from .published import SIZE
from .sampling import Noise, denoise, make_scheduler, pose_vector

CHOICES = (
    "other ways: views=replay (saved views), posed=DIR (posed pictures), "
    "views=zero123_mini views.weights=DIR (weights of a small training run)"
)
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Zero123Synthesizer:
    """A `ViewSynthesizer` by Zero123 (Liu et al., arXiv 2303.11328), loaded when the first pictures are asked for.

    weights: a hub id, a folder or an original checkpoint (see `load_zero123`, also for revision, variant, download
    and size), or what is loaded already: it is moved, converted to `dtype` and frozen. pose: None: what the weights
    say or are known for. input_elevation: of the input camera in degrees, for weights that want it (pose=polar).
    steps: of views that are made from the input picture, near_steps: of those made from generated pictures (One-2-3-45
    takes 75 and 50; without a scheduler of choice they make the grid of the original, with 77 and 50 steps).
    guidance: weight of the condition, 1: not amplified. eta: of DDIM. scheduler: another one of diffusers, as `name`
    and options; None: DDIM. dtype: auto: bfloat16 on CUDA where it is native, else float16 there, float32 on a CPU.
    chunk: pictures at once; None: as many as fit the free memory. compile: torch.compile of the UNet. offload: keep
    parts on the CPU while they are not needed. channels_last: the memory format of convolutions.
    snap_white: grey level (of 255) from which on a generated picture counts as white when further ones are made from
    it; None: as it is. choices: the end of the message where weights are missing.

    Raises InputError for values that make no sense.
    """

    elevation = None
    consistent = False

    def __init__(
        self,
        *,
        weights: str | Path | LoadedZero123 | None,
        revision: str | None = None,
        variant: str | None = None,
        download: bool = True,
        size: int | None = None,
        pose: Pose | None = None,
        input_elevation: float | str | None = None,
        steps: int = 75,
        near_steps: int = 50,
        guidance: float = 3.0,
        eta: float = 1.0,
        scheduler: Mapping[str, Any] | None = None,
        dtype: str = "auto",
        device: str = "auto",
        chunk: int | None = None,
        compile: bool = False,
        offload: bool = False,
        channels_last: bool = False,
        snap_white: float | None = 253,
        choices: str = CHOICES,
    ) -> None:
        for name, value in (
            ("steps", steps),
            ("near_steps", near_steps),
            ("chunk", 1 if chunk is None else chunk),
        ):
            if type(value) is not int or not 1 <= value <= 1000:
                raise InputError(f"Zero123: {name}={value} must be a whole number from 1 to 1000")
        if dtype not in ("auto", *_DTYPES):
            raise InputError(f"Zero123: dtype={dtype} must be auto, {', '.join(_DTYPES)}")
        if not (guidance >= 0 and 0 <= eta <= 1):
            raise InputError(f"Zero123: guidance={guidance} must be >= 0, eta={eta} from 0 to 1")
        if pose not in (None, "delta", "polar"):
            raise InputError(f"Zero123: pose={pose} must be null, delta or polar")
        self.weights, self.revision, self.variant, self.download = weights, revision, variant, download
        self.pose: Pose | None = pose
        # `elevation=estimate` of the command line comes here too
        self.input_elevation = input_elevation if isinstance(input_elevation, int | float) else None
        self.steps, self.near_steps, self.guidance, self.eta = steps, near_steps, guidance, eta
        self.scheduler = None if scheduler is None else dict(scheduler)
        self.chunk, self.compile, self.offload, self.channels_last = chunk, compile, offload, channels_last
        self.snap_white, self.choices = snap_white, choices
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.dtype = _DTYPES.get(dtype) or _native(self.device)
        self._given_size = self._size = size
        self._loaded = weights if isinstance(weights, LoadedZero123) else None
        self._ready = False
        self.notes: list[str] = []

    @property
    def size(self) -> int:
        if self._size is None:
            if self._loaded is not None:
                self._size = self._loaded.model.size
            else:  # fetched, if need be, but not loaded
                source = self._find(probe=False)
                self._size = own_size(source.path) if source.layout == "own" else SIZE
        return self._size

    def check(self) -> Source | None:
        """Where the weights are, without reading or fetching them: at once, or within seconds where the hub must be
        asked whether it is there; None where they are loaded. Raises WeightsUnavailable with the ways that are
        left. `one2345.hub.find_weights` does the same without torch."""
        return self._find(probe=True) if self._loaded is None else None

    def _find(self, *, probe: bool) -> Source:
        if self.weights is None:
            raise InputError(f"no weights of Zero123 are named: views.weights=DIR; {self.choices}")
        return find_weights(
            cast("str | Path", self.weights),
            revision=self.revision,
            variant=self.variant,
            download=self.download,
            choices=self.choices,
            probe=probe,
        )

    def picture(self) -> None:
        return None

    def describe(self) -> Mapping[str, Any]:
        """Settings, and SHA-256 of the weights, which are fetched for it but not loaded."""
        if self._loaded is None:
            source = self._find(probe=False)
            weights: Any = {"weights": source.weights, "sha256": source.hashes()}
            pose = self.pose or source.pose()
        else:
            facts = self._loaded.facts
            weights = {key: facts[key] for key in ("weights", "sha256") if key in facts}
            pose = self.pose or self._loaded.pose
        return {
            "synthesiser": "zero123",
            **weights,
            "size": self.size,
            "pose": pose,
            "input_elevation": self.input_elevation,
            "steps": self.steps,
            "near_steps": self.near_steps,
            "guidance": self.guidance,
            "eta": self.eta,
            "scheduler": self.scheduler,
            "dtype": str(self.dtype).removeprefix("torch."),
            "snap_white": self.snap_white,
        }

    def facts(self) -> Mapping[str, Any]:
        """For a report: what is known of the weights once they are loaded, and what happened on the way."""
        return {**(self._loaded.facts if self._loaded else {}), "happened": list(self.notes)}

    def load(self) -> LoadedZero123:
        """The model, on its device, as its settings say."""
        if self._loaded is None:
            self._loaded = load_zero123(
                cast("str | Path", self.weights),
                revision=self.revision,
                variant=self.variant,
                dtype=self.dtype,
                device="cpu" if self.offload else self.device,
                download=self.download,
                size=self._given_size,
                pose=self.pose,
                choices=self.choices,
            )
        if not self._ready:
            self._prepare(self._loaded.model)
            self._ready = True
        return self._loaded

    def _prepare(self, model: Zero123) -> None:
        model.eval().requires_grad_(False)
        if self.offload:
            model.to(dtype=self.dtype).projection.to(self.device)
        else:
            model.to(self.device, self.dtype)
        if self.channels_last:
            model.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            _module(model.codec).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.compile:
            model.unet.compile()

    def __call__(
        self, requests: Sequence[ViewRequest], pictures: Tensor, *, seed: int, report: Report | None = None
    ) -> Synthesised:
        """See `ViewSynthesizer`. Raises InputError for weights that need `input_elevation` and don't have it."""
        loaded = self.load()
        size = loaded.model.size
        if tuple(pictures.shape) != (len(requests), 3, size, size):
            raise ValueError(
                f"{len(requests)} requests of {size} px need as many pictures, not {tuple(pictures.shape)}"
            )
        poses = torch.tensor([self._pose(request, loaded) for request in requests]).reshape(-1, 4)
        condition = self._condition(loaded.model, requests, pictures)
        images = torch.empty(len(requests), 3, size, size)
        done = 0
        for steps, indices in self._groups(requests):
            for part in self._parts(loaded.model, indices):
                where = torch.tensor(part)
                noise = [Noise.of(seed, requests[i].name) for i in part]
                images[where] = self._sample(
                    loaded, steps, condition[where.to(self.device)], poses[where], noise
                )
                done += len(part)
                if report is not None:
                    report(done)
        return Synthesised(images, alpha_of(images))

    def _pose(self, request: ViewRequest, loaded: LoadedZero123) -> list[float]:
        if (self.pose or loaded.pose) == "delta":
            return pose_vector(request.azimuth, request.elevation)
        if self.input_elevation is None:
            raise InputError(
                "these weights (pose=polar) need the elevation of the input picture: views.input_elevation=DEGREES"
            )
        polar = 90.0 - (self.input_elevation + request.parent_elevation)
        return pose_vector(request.azimuth, request.elevation, polar)

    def _condition(self, model: Zero123, requests: Sequence[ViewRequest], pictures: Tensor) -> Condition:
        """Each different picture is encoded once, by itself, so that the others have no part in it."""
        prepared = pictures.float().cpu().clone()
        if self.snap_white is not None:
            near = [request.parent is not None for request in requests]
            # in steps of 8 bits; half a step, since they may have been rounded or not
            bound = (self.snap_white - 0.5) / 255
            prepared[near] = torch.where(prepared[near] >= bound, 1.0, prepared[near])
        order: dict[bytes, int] = {}
        which = [order.setdefault(picture.numpy().tobytes(), len(order)) for picture in prepared]
        first = [which.index(i) for i in range(len(order))]
        with torch.inference_mode(), self._resident(model.image_encoder, model.codec):
            parts = [model.condition(prepared[i : i + 1]) for i in first]
        index = torch.tensor(which, device=self.device)
        return Condition.cat(parts)[index]

    def _groups(self, requests: Sequence[ViewRequest]) -> list[tuple[int, list[int]]]:
        """Numbers of steps, and the requests that take so many."""
        first = [i for i, request in enumerate(requests) if request.parent is None]
        near = [i for i, request in enumerate(requests) if request.parent is not None]
        return [
            (steps, indices) for steps, indices in ((self.steps, first), (self.near_steps, near)) if indices
        ]

    def _parts(self, model: Zero123, indices: list[int]) -> Generator[list[int]]:
        """As many at once as `chunk` says or fit; evenly, so that the last part is not a remainder."""
        rest = list(indices)
        while rest:
            limit = self.chunk or pictures_at_once(
                model, free_memory(self.device), guided=self.guidance != 1.0
            )
            rounds = -(-len(rest) // limit)
            count = -(-len(rest) // rounds)
            yield rest[:count]
            rest = rest[count:]

    def _sample(
        self, loaded: LoadedZero123, steps: int, condition: Condition, poses: Tensor, noise: list[Noise]
    ) -> Tensor:
        """Pictures (n, 3, h, w) on the CPU. Where memory runs out the batch is halved, and that is noted."""
        model = loaded.model
        states = [(one.start.get_state(), one.steps.get_state()) for one in noise]
        try:
            scheduler = make_scheduler(loaded.scheduler, self.scheduler)
            with self._resident(model.unet):
                latents = denoise(
                    model,
                    scheduler,
                    steps=steps,
                    condition=condition,
                    poses=poses,
                    noise=noise,
                    guidance=self.guidance,
                    eta=self.eta,
                    published=self.scheduler is None,
                )
            with self._resident(model.codec), torch.inference_mode():
                decoded = [model.codec.decode(one[None].to(model.dtype)) for one in latents]
                return torch.cat(decoded).float().clamp(0, 1).cpu()
        except torch.OutOfMemoryError as error:
            if len(noise) == 1:
                raise InputError(
                    f"memory runs out with one view at a time in {self.dtype}; views.offload=true or "
                    "views.dtype=bfloat16 need less"
                ) from error
        half = len(noise) // 2
        self.notes.append(f"memory ran out with {len(noise)} views at once; went on with {half}")
        self.chunk = half
        torch.cuda.empty_cache()
        for one, (start, later) in zip(noise, states, strict=True):
            one.start.set_state(start)
            one.steps.set_state(later)
        parts = [slice(i, i + half) for i in range(0, len(noise), half)]
        return torch.cat([self._sample(loaded, steps, condition[p], poses[p], noise[p]) for p in parts])

    @contextmanager
    def _resident(self, *parts: Any) -> Generator[None]:
        """With `offload`, parts are on the device only within."""
        if not self.offload:
            yield
            return
        modules = [_module(part) for part in parts]
        for module in modules:
            module.to(self.device)
        try:
            yield
        finally:
            for module in modules:
                module.to("cpu")


def _module(part: Any) -> nn.Module:
    return part


def _native(device: torch.device) -> torch.dtype:
    if device.type != "cuda":
        return torch.float32
    # From compute capability 8 on; before, bfloat16 is emulated.
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
