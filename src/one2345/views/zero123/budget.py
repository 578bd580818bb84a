"""How many pictures go through the network at once."""

from __future__ import annotations

import os

import torch

from .model import Zero123

LARGEST = 64
ON_CPU = 8
"""A CPU is no faster with more at once."""
_ACTIVATIONS = 320
"""Numbers per position of the latents and base channel that are alive at the peak of the UNet; a rough upper bound,
and where it is too low the batch is halved."""
_SHARE = 0.7


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; of a CPU, what the system can give without swapping, where it tells."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # what torch holds but doesn't use
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2**32


def pictures_at_once(model: Zero123, free: int, *, guided: bool) -> int:
    """How many fit into `free` bytes, at least one."""
    _, _, h, w = model.latent_shape(1)
    base = int(model.unet.config["block_out_channels"][0])
    each = h * w * base * _ACTIVATIONS * model.dtype.itemsize * (2 if guided else 1)
    fit = int(_SHARE * free) // each
    return max(1, min(fit, LARGEST if model.device.type == "cuda" else ON_CPU))
