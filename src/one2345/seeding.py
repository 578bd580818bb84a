"""Keyed randomness: one stream per (seed, epoch, object, view), the same on any rank or worker."""

import hashlib

import numpy as np
import torch

Part = int | str


def key(*parts: Part) -> int:
    """63-bit integer from an ordered tuple of integers and strings, stable over runs and machines."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(f"{type(part).__name__}:{part};".encode())
    return int.from_bytes(digest.digest(), "little") >> 1


def numpy_rng(*parts: Part) -> np.random.Generator:
    """NumPy generator of the stream named by `parts`."""
    return np.random.default_rng(key(*parts))


def torch_rng(*parts: Part, device: torch.device | str = "cpu") -> torch.Generator:
    """Torch generator of the stream named by `parts`, on `device`."""
    return torch.Generator(device=device).manual_seed(key(*parts))
