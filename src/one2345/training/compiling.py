"""torch.compile for a step of training."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from ..errors import InputError

P = ParamSpec("P")
R = TypeVar("R")


def compiled(
    function: Callable[P, R], mode: bool | str, *, cuda: bool | None = None, backend: str = "inductor"
) -> Callable[P, R]:
    """`function` by torch.compile. mode: False leaves it as it is, True compiles as torch does by default, a text is a
    mode of torch.compile. cuda: whether it runs on a GPU; None: where there is one.

    Raises InputError where what torch.compile needs is not installed: Triton on a GPU, a C++ compiler on the CPU.
    """
    if mode is False:
        return function
    if backend == "inductor":
        _require(torch.cuda.is_available() if cuda is None else cuda, mode)
    return torch.compile(function, mode=None if mode is True else str(mode), backend=backend)


def _require(cuda: bool, mode: bool | str) -> None:
    told = f"compile={str(mode).lower()}"
    if cuda and importlib.util.find_spec("triton") is None:
        raise InputError(f"{told}: needs Triton on a GPU, and there is none; compile=false trains without")
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if not cuda and shutil.which(compiler) is None:
        raise InputError(
            f"{told}: needs a C++ compiler on the CPU, and there is no {compiler} (CXX names another); compile=false "
            "trains without"
        )
