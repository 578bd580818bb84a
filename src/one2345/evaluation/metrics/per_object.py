"""A torchmetrics Metric with one row per object: any number of processes gives the same mean."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class PerObjectMetric(Metric):
    """Mean over objects of one or more named numbers.

    Rows carry a 96-bit digest of the object's id. `compute` sorts by it and counts each id once (a
    distributed sampler repeats objects to even out its shares), so the result is bit-identical for any
    number of processes and any order, processes that saw nothing included. Numbers are kept in float64.
    """

    full_state_update = False
    columns: tuple[str, ...]

    def __init__(self, columns: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns = tuple(columns)
        self.table: list[Tensor]
        # One flat state: torchmetrics stands in for the state of a process without data by an empty vector.
        self.add_state("table", default=[], dist_reduce_fx="cat")
        self.set_dtype(torch.float64)

    def add(self, object_id: str, values: Sequence[float]) -> None:
        """Store the row of one object."""
        if len(values) != len(self.columns):
            raise ValueError(f"{len(values)} values for columns {', '.join(self.columns)}")
        row = [*_digest(object_id), *(float(v) for v in values)]
        self.table.append(torch.tensor(row, dtype=torch.float64, device=self.device))

    def rows(self) -> Tensor:
        """(objects, columns) float64, each object once, in the order of the digests."""
        state = self.table
        flat = dim_zero_cat(state) if isinstance(state, Tensor) or len(state) else torch.zeros(0)
        table = flat.double().cpu().reshape(-1, 2 + len(self.columns))
        first: dict[tuple[float, float], Tensor] = {}
        for row in table:
            first.setdefault((float(row[0]), float(row[1])), row[2:])
        return torch.stack([first[k] for k in sorted(first)]) if first else table[:, 2:]

    def compute(self) -> dict[str, Tensor]:
        """Mean of each column over the distinct objects; NaN without objects."""
        rows = self.rows()
        return {name: rows[:, i].mean() for i, name in enumerate(self.columns)}


def _digest(object_id: str) -> tuple[float, float]:
    """Two 48-bit integers, which float64 holds exactly."""
    digest = hashlib.blake2b(object_id.encode(), digest_size=12).digest()
    return float(int.from_bytes(digest[:6], "little")), float(int.from_bytes(digest[6:], "little"))
