"""`scale=auto`: how big to run on this machine, decided before Hydra composes."""

from dataclasses import dataclass
from typing import Any

from one2345.errors import InputError

# Launchers whose jobs run on the machine that starts them.
LOCAL_LAUNCHERS = ("basic", "submitit_local", "joblib")


@dataclass(frozen=True)
class Scale:
    """A chosen scale and why."""

    name: str
    reason: str

    def line(self) -> str:
        """The one line that tells the user."""
        return f"scale={self.name}: {self.reason}; choose with scale=laptop|gpu|paper"


def asked_for(overrides: list[str]) -> str | None:
    """The scale that the overrides name; None for `auto` or for none at all."""
    asked = None
    for override in overrides:
        head, _, value = override.partition("=")
        if head.lstrip("+") == "scale":
            asked = value
    if asked is not None and "auto" in asked.split(",") and asked != "auto":
        raise InputError("scale=auto cannot be swept over; list explicit scales, as in scale=laptop,gpu")
    return None if asked in (None, "auto") else asked


def with_scale(overrides: list[str], name: str) -> list[str]:
    """`overrides` with the scale set to `name`."""
    kept = [o for o in overrides if o.partition("=")[0].lstrip("+") != "scale"]
    return [*kept, f"scale={name}"]


def choose(config: dict[str, Any], *, launcher: str, stored: Scale | None) -> Scale:
    """Resolve `auto`.

    A resumed run keeps its scale. Jobs that run elsewhere must name theirs: the machine that submits them (a
    login node has no GPU) says nothing about theirs.
    """
    if stored is not None:
        return stored
    if launcher not in LOCAL_LAUNCHERS:
        raise InputError(
            f"scale=auto looks at this machine, but hydra/launcher={launcher} runs elsewhere; "
            "name the scale: scale=laptop, scale=gpu or scale=paper"
        )
    accelerator = (config.get("trainer") or {}).get("accelerator")
    if accelerator == "cpu":
        return Scale("laptop", "trainer.accelerator=cpu")
    device = cuda_device()
    if device is None:
        return Scale("laptop", "no CUDA GPU here")
    return Scale("gpu", f"a CUDA GPU is here ({device})")


def cuda_device() -> str | None:
    """Name of the first CUDA device that torch can use, None without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
