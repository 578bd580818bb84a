"""Peak memory of a piece of work."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Peak:
    """mb: the most memory held, in MB: of the device where one is used, else resident; None where the system
    doesn't tell."""

    mb: float | None = None


@contextmanager
def peak_memory(device: torch.device | None = None) -> Generator[Peak]:
    """Fills in `Peak.mb` when the block ends."""
    peak = Peak()
    cuda = device is not None and device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    counted = cuda or _reset()
    try:
        yield peak
    finally:
        if cuda:
            peak.mb = torch.cuda.max_memory_allocated(device) / 2**20
        elif counted:
            peak.mb = _high_water()


def _reset() -> bool:
    """Have the kernel forget the process's highest resident size so far (Linux)."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _high_water() -> float | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return None if found is None else int(found) / 1024
