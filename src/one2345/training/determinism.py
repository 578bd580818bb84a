"""How repeatable training is, and what each level of it guarantees."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

from ..errors import InputError

Determinism = Literal["off", "seeded", "strict"]
_NO_FORM = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def determinism(level: Determinism) -> Iterator[None]:
    """Within it, training is as repeatable as `level` says.

    Seeds, order of the data and what a resumed run does next are the same at every level. On the CPU, with as many
    threads, all three give the same numbers, bit for bit. On a GPU:

    off: cuDNN takes what it measures to be fastest, so that two runs differ in the last digits, and soon in all.
    seeded: cuDNN takes deterministic algorithms. The backward passes of `grid_sample`, of indexing and of scattering
        add in any order (atomically), so that two runs still drift apart.
    strict: two runs are equal, bit for bit, or an InputError names the operation that has no deterministic form on
        this device. In torch 2.13 that is `grid_sample`'s backward pass on CUDA, which the networks here need.

    Raises InputError for another level (a bare `off` in YAML is False, and taken for it).
    """
    if level is False:
        level = "off"
    if level not in get_args(Determinism):
        raise InputError(f"determinism={level}: takes {', '.join(get_args(Determinism))}")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, cudnn.deterministic
    if level == "strict":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS reads when it starts
    torch.use_deterministic_algorithms(level == "strict")
    cudnn.benchmark, cudnn.deterministic = level == "off", level != "off"
    try:
        yield
    except RuntimeError as error:
        if level == "strict" and (named := _NO_FORM.search(str(error))):
            raise InputError(
                f"determinism=strict: {named[1]} has no deterministic form on this device; determinism=seeded trains "
                "with runs that differ in the last digits"
            ) from error
        raise
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.benchmark, cudnn.deterministic = before[1:]
