"""Seconds, memory, FLOPs and bytes of calls, on a CPU or a CUDA device, and what the machine could do at best."""

from __future__ import annotations

import ctypes
import gc
import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Call = Callable[[], Any]
VIEWS = ("view", "reshape", "expand", "permute", "transpose", "slice", "select", "unsqueeze", "squeeze", "split",
         "detach", "alias", "as_strided", "unbind", "t.", "unflatten", "unfold", "diagonal")  # fmt: skip
"""Operators that move nothing."""


@dataclass
class Laps:
    """Seconds of each counted call: wall; cpu of all threads; device by CUDA events, empty on a CPU. growth: bytes
    that the first call took beyond what was there."""

    growth: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    device: list[float] = field(default_factory=list)

    @property
    def chief(self) -> list[float]:
        """What ratios are of: seconds of the device, or CPU seconds, which a shared machine changes least."""
        return self.device or self.cpu

    def spread(self) -> dict[str, dict[str, float]]:
        return {
            name: {"median": median(laps), "low": min(laps), "high": max(laps), "count": len(laps)}
            for name, laps in vars(self).items()
            if laps
        }


def once(call: Call, device: str) -> tuple[float, float, float | None, Any]:
    """Wall, CPU and device seconds of one call, and its result."""
    if device == "cpu":
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        return time.perf_counter() - wall, time.process_time() - cpu, None, result
    torch.cuda.synchronize()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    wall, cpu = time.perf_counter(), time.process_time()
    start.record()
    result = call()
    end.record()
    torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall, cpu, start.elapsed_time(end) / 1e3, result


def race(
    calls: Mapping[str, Call], *, repeats: int, budget: float, device: str = "cpu", warm: float = 40.0
) -> dict[str, Laps]:
    """Every call in turn, round after round, the first one of a round changing.

    A call's first time warms up and does not count, unless it takes more than `warm` seconds; a call drops out after
    `repeats` counted times, or once those have taken `budget` seconds.
    """
    laps = {name: Laps() for name in calls}
    left, turn = list(calls), 0
    fresh = set(calls)
    while left:
        for name in left[turn % len(left) :] + left[: turn % len(left)]:
            if name in fresh:
                # Memory is taken from the first call: what makes it exact makes every later one slower.
                fresh.remove(name)
                most, (wall, cpu, own, result) = peak(lambda call=calls[name]: once(call, device), device)
                laps[name].growth.append(most.most - most.before)
                if (cpu if own is None else wall) <= warm:
                    del result
                    continue
            else:
                wall, cpu, own, result = once(calls[name], device)
            del result
            laps[name].wall.append(wall)
            laps[name].cpu.append(cpu)
            if own is not None:
                laps[name].device.append(own)
        left = [
            n for n in left if not (taken := laps[n].cpu) or (len(taken) < repeats and sum(taken) < budget)
        ]
        turn += 1
    return laps


@dataclass(frozen=True)
class Peak:
    """Bytes: before the call and at most during it; resident memory on a CPU, allocated on a CUDA device."""

    before: int
    most: int


def peak(call: Call, device: str) -> tuple[Peak, Any]:
    """Of this process (a fresh one per call, or what was freed before counts)."""
    gc.collect()
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        torch.cuda.synchronize()
        return Peak(before, torch.cuda.max_memory_allocated()), result
    with suppress(OSError, AttributeError):  # glibc: what was freed goes back, or the call finds room in it
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # Linux: the high-water mark starts anew, else it includes the preparation
        Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    result = call()
    return Peak(before, _resident("VmHWM")), result


def _resident(key: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


class Counter(TorchDispatchMode):
    """flops: of matrix products and convolutions. bytes: tensors that operators read and write, views left out; what
    a fused kernel keeps to itself isn't seen."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += int(count(*args, **(kwargs or {}), out_val=out))
        if not any(func.name().removeprefix("aten::").startswith(view) for view in VIEWS):
            self.bytes += sum(
                leaf.numel() * leaf.element_size()
                for leaf in tree_leaves((args, kwargs, out))
                if isinstance(leaf, torch.Tensor)
            )
        return out


def counted(call: Call) -> tuple[int, int]:
    """FLOPs and bytes of one call."""
    with Counter() as counter:
        call()
    return counter.flops, counter.bytes


@dataclass(frozen=True)
class Ceilings:
    """Per second of one CPU core (CPU seconds), or of the CUDA device: FLOPs of a large float32 matrix product, bytes
    that a copy reads and writes."""

    flops: float
    bytes: float

    def floor(self, flops: float, moved: float) -> float:
        """Seconds that work of so many FLOPs and bytes takes at least."""
        return max(flops / self.flops, moved / self.bytes)


def ceilings(device: str = "cpu", *, seconds: float = 1.0) -> Ceilings:
    """The best of what `seconds` of trying give for each."""
    n = 2048 if device == "cpu" else 8192
    a, b = torch.rand(n, n, device=device), torch.rand(n, n, device=device)
    source = torch.rand(2**25 if device == "cpu" else 2**28, device=device)
    target = torch.empty_like(source)

    def best(call: Call) -> float:
        call()
        found, end = [], time.perf_counter() + seconds
        while len(found) < 3 or time.perf_counter() < end:
            _, cpu, own, _ = once(call, device)
            found.append(cpu if own is None else own)
        return min(found)

    product, copy = torch.empty_like(a), source.numel() * source.element_size() * 2
    return Ceilings(
        2 * n**3 / best(lambda: torch.mm(a, b, out=product)), copy / best(lambda: target.copy_(source))
    )
