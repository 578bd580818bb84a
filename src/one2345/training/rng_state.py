"""The random number generators of a process as plain values, which a checkpoint can hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def rng_state() -> State:
    """State of Python's, NumPy's and torch's global generators, and of the present CUDA device's."""
    version, numbers, gauss = random.getstate()
    # Of its unsigned integers torch makes a tensor that ranks cannot send to each other.
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 - whoever draws from it, it has to go on
    state: State = {
        "python": [version, list(numbers), gauss],
        "numpy": numpy
        | {"state": numpy["state"] | {"key": torch.from_numpy(numpy["state"]["key"].astype(np.int64))}},
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: State) -> None:
    """Put the generators back to `state`; what it has of CUDA is left out where there is none."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    numpy = state["numpy"]
    key = numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state(numpy | {"state": numpy["state"] | {"key": key}})  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
