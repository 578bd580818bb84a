"""Checkpoints of other programs, read without running any of their code.

Lightning's checkpoints pickle callbacks and configurations beside the weights, so torch's `weights_only` refuses
them; see `pickle_machine` for what is done instead. Tensors stay in the file until they are loaded.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from one2345.errors import CheckpointError

from .lazy import LazyTensor
from .pickle_machine import PickleMachine, Refused, Storage, StoredTensor

_LARGEST_PICKLE = 2**28
# The first words of the older of torch's two formats.
_MAGIC = 0x1950A86A20F9469CFC6C


def read_checkpoint(file: Path) -> dict[Any, Any]:
    """The content of a file that torch.save wrote, in either format: a dictionary whose tensors are `LazyTensor`,
    with a `Record` in the place of every object that is neither container nor plain value.

    Raises CheckpointError where the file is damaged, is no such file, or describes tensors that it doesn't hold.
    """
    try:
        if zipfile.is_zipfile(file):
            content, reader = _open_zip(file)
        else:
            content, reader = _open_legacy(file)
    except _FAULTS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{file}: damaged, or not a file of torch.save ({reason})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: holds {type(content).__name__}, not a dictionary")

    def lazy(value: Any, depth: int = 0) -> Any:
        if isinstance(value, StoredTensor):
            return LazyTensor(torch.Size(value.shape), lambda: _load(value, reader, file))
        if isinstance(value, dict) and depth < 2:
            return {k: lazy(v, depth + 1) for k, v in value.items()}
        return value

    return lazy(content)


Reader = Callable[[Storage], bytes]


def _load(tensor: StoredTensor, read: Reader, file: Path) -> Tensor:
    try:
        data = read(tensor.storage)
    except _FAULTS as error:
        raise CheckpointError(f"{file}: storage {tensor.storage.key} can't be read ({error})") from error
    if not data:
        return torch.empty(tensor.shape, dtype=tensor.storage.dtype)
    flat = torch.frombuffer(bytearray(data), dtype=tensor.storage.dtype)
    return flat.as_strided(tensor.shape, tensor.stride, tensor.offset).clone(
        memory_format=torch.contiguous_format
    )


def _open_zip(file: Path) -> tuple[Any, Reader]:
    archive = zipfile.ZipFile(file)
    names = [n for n in archive.namelist() if n.count("/") == 1 and n.endswith("/data.pkl")]
    if len(names) != 1:
        raise Refused(f"{len(names)} pickles in it, expected one")
    root = names[0].removesuffix("data.pkl")
    _stored(archive, names[0], largest=_LARGEST_PICKLE)
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise Refused("its numbers are not little-endian")

    def check(storage: Storage) -> None:
        size = _stored(archive, f"{root}data/{storage.key}").file_size
        if size != storage.count * storage.dtype.itemsize:
            raise Refused(f"storage {storage.key} has {size} bytes, not {storage.count} {storage.dtype}")

    content = PickleMachine(io.BytesIO(archive.read(names[0])), check).run()
    return content, lambda storage: archive.read(f"{root}data/{storage.key}")


def _stored(archive: zipfile.ZipFile, name: str, *, largest: int | None = None) -> zipfile.ZipInfo:
    """An entry that is as large as it says: torch.save compresses nothing, so nothing can unfold."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise Refused(f"no entry {name!r}") from None
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise Refused(f"entry {name!r} is compressed")
    if largest is not None and entry.file_size > largest:
        raise Refused(f"entry {name!r} has {entry.file_size} bytes")
    return entry


def _open_legacy(file: Path) -> tuple[Any, Reader]:
    """Pickles of a magic number, a protocol, the system, the content and the order of storages; then storages."""
    size = file.stat().st_size
    storages: dict[str, Storage] = {}

    def note(storage: Storage) -> None:
        known = storages.setdefault(storage.key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise Refused(f"storage {storage.key} is described in two ways")

    with file.open("rb") as handle:
        if handle.read(1) not in (b"\x80", b"("):
            raise Refused("it begins with something else")
        handle.seek(0)
        if PickleMachine(handle, note).run() != _MAGIC:
            raise Refused("it begins with another number")
        _, system, content, order = (PickleMachine(handle, note).run() for _ in range(4))
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise Refused("its numbers are not little-endian")
        places: dict[str, int] = {}
        for key in order if isinstance(order, list) else []:
            storage = storages.get(key) if isinstance(key, str) else None
            if storage is None:
                raise Refused(f"no tensor uses storage {key!r}")
            (count,) = struct.unpack("<q", handle.read(8))
            places[key] = handle.tell()
            end = places[key] + storage.count * storage.dtype.itemsize
            if count != storage.count or end > size:
                raise Refused(f"storage {key} is not as large as its tensors say")
            handle.seek(end)
    lost = next((key for key in storages if key not in places), None)
    if lost is not None:
        raise Refused(f"storage {lost} is not there")

    def read(storage: Storage) -> bytes:
        with file.open("rb") as again:
            again.seek(places[storage.key])
            return again.read(storage.count * storage.dtype.itemsize)

    return content, read


_FAULTS = (
    Refused,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    struct.error,
    RuntimeError,
)
