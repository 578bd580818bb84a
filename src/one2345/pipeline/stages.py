"""Stages of a reconstruction: timed, their memory noted, what they made kept by content."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import one2345
from one2345.array_cache import ArrayCache, Arrays
from one2345.memory import peak_memory

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and of how much."""


@dataclass
class StageRecord:
    """What a stage took. peak_mb: most memory held meanwhile (of the device where that is CUDA, else resident).
    kept: parts that were found finished; made: parts that were computed now."""

    name: str
    seconds: float = 0.0
    peak_mb: float | None = None
    kept: int = 0
    made: int = 0


class Stages:
    """Runs the stages of one reconstruction. cache: where finished parts are kept; None keeps nothing."""

    def __init__(
        self,
        *,
        cache: ArrayCache | None = None,
        device: torch.device | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.cache, self.device = cache, device
        self.records: list[StageRecord] = []
        self._progress = progress

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[StageRecord]:
        """One stage of `total` steps; a name that came before goes on with its record."""
        record = next((r for r in self.records if r.name == name), None)
        if record is None:
            record = StageRecord(name)
            self.records.append(record)
        begin = time.perf_counter()
        self.tell(name, 0, total)
        with peak_memory(self.device) as peak:
            yield record
        record.seconds += time.perf_counter() - begin
        if peak.mb is not None:
            record.peak_mb = max(peak.mb, record.peak_mb or 0.0)
        self.tell(name, total, total)

    def tell(self, name: str, done: int, total: int) -> None:
        """Report progress."""
        if self._progress is not None:
            self._progress(name, done, total)

    def find(self, record: StageRecord, key: str) -> Arrays | None:
        """A finished part of a stage, if it is kept."""
        found = None if self.cache is None else self.cache.find(key)
        record.kept += found is not None
        return found

    def put(self, record: StageRecord, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep a part of a stage that was computed now."""
        record.made += 1
        if self.cache is not None:
            self.cache.put(key, arrays)


def content_key(*parts: Any) -> str:
    """Digest of what a result depends on: plain values, arrays, tensors; the version of the package is one more."""
    digest = hashlib.sha256(one2345.__version__.encode())
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()
