"""Tensors of weight files by name, read one at a time: checkpoints are larger than the memory of many machines."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from one2345.errors import CheckpointError
from one2345.weight_files import DAMAGED


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is read when `load` is called. Indexing gives a part, read when that is loaded.

    As much of a tensor as diffusers' conversions of checkpoints look at.
    """

    shape: torch.Size
    load: Callable[[], Tensor]

    def __getitem__(self, index: Any) -> LazyTensor:
        shape = torch.empty(self.shape, device="meta")[index].shape
        return LazyTensor(shape, lambda: self.load()[index])

    def transposed(self) -> LazyTensor:
        """Of a matrix."""
        return LazyTensor(torch.Size(reversed(self.shape)), lambda: self.load().T.contiguous())


Tensors = Mapping[str, LazyTensor]


def read_safetensors(file: Path) -> dict[str, LazyTensor]:
    """Names and shapes of the tensors of a file. Raises CheckpointError."""
    try:
        reader = safe_open(file, framework="pt")
        shapes = {name: torch.Size(reader.get_slice(name).get_shape()) for name in reader.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: damaged, or not a safetensors file ({_line(error)})") from error

    def load(name: str) -> Tensor:
        try:
            return reader.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: {name} can't be read ({_line(error)})") from error

    return {name: LazyTensor(shape, lambda n=name: load(n)) for name, shape in shapes.items()}


def read_pickled(file: Path) -> dict[str, LazyTensor]:
    """The same of a state dict that torch.save wrote; nothing but tensors and plain values is unpickled."""
    try:
        # only files of the newer of torch's two formats can be mapped
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except DAMAGED as error:
        raise CheckpointError(
            f"{file}: damaged, or holds more than tensors and plain values ({_line(error)})"
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(t, Tensor) for t in content.values()):
        raise CheckpointError(f"{file}: holds no state dict (a mapping from names to tensors)")
    return {str(name): LazyTensor(t.shape, lambda t=t: t) for name, t in content.items()}


def read_weights(files: list[Path]) -> dict[str, LazyTensor]:
    """The tensors of one part of a model: a single file, or an index and its shards, all of one folder.

    Raises CheckpointError also for an index that names a shard that is not among the files.
    """
    index = next((f for f in files if f.suffix == ".json"), None)
    shards = {f.name: f for f in files if f.suffix != ".json"}
    if index is not None:
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{index}: no index of weights ({_line(error)})") from error
        outside = sorted(str(name) for name in named if name not in shards)
        if outside:
            raise CheckpointError(f"{index}: names {outside[0]!r}, which is no file of weights of its folder")
        shards = {name: shards[name] for name in sorted(named)}
    found: dict[str, LazyTensor] = {}
    for file in shards.values():
        tensors = read_safetensors(file) if file.suffix == ".safetensors" else read_pickled(file)
        twice = next((name for name in tensors if name in found), None)
        if twice is not None:
            raise CheckpointError(f"{file}: {twice} is in another shard too")
        found |= tensors
    return found


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
