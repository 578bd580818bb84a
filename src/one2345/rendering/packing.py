"""Some entries of each object's, side by side: what is left out costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def pack(
    active: Tensor, *, priority: Tensor | None = None, width: int | None = None
) -> tuple[Tensor, Tensor]:
    """Indices (b, p) of the true entries of active (b, n), in order, and which of them are real (b, p).

    p is the largest count of the batch, at least 1; objects with fewer entries are padded with index 0.
    width: p, whatever the counts; of more entries those of the highest priority (b, n) are taken. So shapes don't
    depend on the data, and nothing waits for a device to count.
    """
    if width is not None:
        assert priority is not None
        n = active.shape[-1]
        taken = priority.masked_fill(~active, -torch.inf).topk(min(width, n), -1)
        index = torch.where(taken.values > -torch.inf, taken.indices, n).sort(-1).values
        real = index < n
        return torch.where(real, index, 0), real
    counts = active.sum(-1)
    width = max(1, int(counts.max()))
    row, column = active.nonzero(as_tuple=True)
    rank = active.cumsum(-1)[row, column] - 1
    index = torch.zeros(active.shape[0], width, dtype=torch.long, device=active.device)
    index[row, rank] = column
    return index, torch.arange(width, device=active.device) < counts[:, None]


def unpack(packed: Tensor, index: Tensor, real: Tensor, count: int, fill: float = 0.0) -> Tensor:
    """Packed values (b, p, ...) at their places among `count`, (b, count, ...), and `fill` elsewhere."""
    # Padding lands in an extra slot; every other slot is written once, so the order doesn't matter.
    slot = torch.where(real, index, count).reshape(*index.shape, *[1] * (packed.ndim - 2))
    out = packed.new_full((packed.shape[0], count + 1, *packed.shape[2:]), fill)
    return out.scatter(1, slot.expand_as(packed), packed)[:, :count]


def evaluate_where(
    call: Callable[[Tensor], Sequence[Tensor]], points: Tensor, wanted: Tensor, fills: Sequence[float]
) -> tuple[Tensor, ...]:
    """What `call` returns, (b, n, ...), of points (b, n, 3): asked of the wanted ones (b, n) only, `fills` elsewhere.

    At least one point of each object is asked, so that parameters take part whatever is wanted.
    """
    if bool(wanted.all()):
        return tuple(call(points))
    index, real = pack(wanted)
    packed = call(points.gather(1, index[..., None].expand(-1, -1, points.shape[-1])))
    return tuple(unpack(x, index, real, wanted.shape[1], fill) for x, fill in zip(packed, fills, strict=True))
