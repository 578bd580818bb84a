"""Loops over arrays, compiled on first use and shared out among as many threads as torch may use.

For what no torch operation does at once: on a CPU, results that go from one operation to the next cost more than the
arithmetic. Compiled by numba, which needs no compiler on the machine; what it made is kept on disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

PIECES = 4
"""Of each thread, so that one that is held up doesn't keep the others waiting for long."""

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(*, freedom: Collection[str] = ()) -> Callable[[Function], Function]:
    """A function of arrays and numbers, compiled for each combination of their types when first called with it.

    It runs without the interpreter's lock. Literals are to have the type of the arithmetic: a Python number makes it
    double. freedom: what LLVM may do to sums and products ("fast-math flags"). Without any, each is rounded in its
    place, and the same numbers come out wherever arrays lie and however many entries are left over at their ends.
    """

    def decorate(function: Function) -> Function:
        import numba  # not before something is compiled

        options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(freedom)}
        try:
            return cast(Function, numba.njit(cache=True, **options)(function))
        except RuntimeError:  # nowhere to keep it, as in a container that can't be written to
            return cast(Function, numba.njit(**options)(function))

    return decorate


def share_out(count: int, work: Callable[[int, int], None]) -> None:
    """Call work(start, stop) for pieces of range(count), at once on `torch.get_num_threads()` threads."""
    threads = torch.get_num_threads()
    if threads == 1 or count < 2:
        work(0, count)
        return
    pieces = min(count, threads * PIECES)
    bounds = [count * i // pieces for i in range(pieces + 1)]
    list(_pool(threads).map(work, bounds[:-1], bounds[1:]))


def looped(points: Tensor) -> bool:
    """Whether what is asked about points goes by loops, where there are some beside the plain operations, whose
    results are the same: in single precision on a CPU, outside of compiled graphs."""
    return points.device.type == "cpu" and points.dtype == torch.float32 and not torch.compiler.is_compiling()


def as_array(tensor: Tensor) -> NDArray[Any]:
    """The memory of a tensor on the CPU, copied only where it isn't in order."""
    return tensor.detach().contiguous().numpy()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "one2345-loops")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads stay with the parent
