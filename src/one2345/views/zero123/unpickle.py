"""Checkpoints of other programs, read without running any of their code.

Lightning's checkpoints pickle callbacks and configurations beside the weights, so torch's `weights_only` refuses
them. Here the instructions of the pickle (as `pickletools.genops` decodes them) are followed by a machine that
can make tensors, containers and plain values. It imports nothing and calls nothing: whatever else a pickle asks
for becomes a `Record` that only remembers its name. Tensors stay in the file until they are loaded.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from one2345.errors import CheckpointError

from .lazy import LazyTensor

_LARGEST_PICKLE = 2**28
_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# The first words of the older of torch's two formats.
_MAGIC = 0x1950A86A20F9469CFC6C


class _Refused(Exception):
    """The pickle is damaged or means harm."""


class Record:
    """An object of a class that is not admitted: its name, and nothing that it held."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Record({self.name})"


@dataclass(frozen=True, eq=False)
class _Storage:
    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor as the pickle describes it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


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


Reader = Callable[[_Storage], bytes]


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
        raise _Refused(f"{len(names)} pickles in it, expected one")
    root = names[0].removesuffix("data.pkl")
    _stored(archive, names[0], largest=_LARGEST_PICKLE)
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise _Refused("its numbers are not little-endian")

    def check(storage: _Storage) -> None:
        size = _stored(archive, f"{root}data/{storage.key}").file_size
        if size != storage.count * storage.dtype.itemsize:
            raise _Refused(f"storage {storage.key} has {size} bytes, not {storage.count} {storage.dtype}")

    content = _Machine(io.BytesIO(archive.read(names[0])), check).run()
    return content, lambda storage: archive.read(f"{root}data/{storage.key}")


def _stored(archive: zipfile.ZipFile, name: str, *, largest: int | None = None) -> zipfile.ZipInfo:
    """An entry that is as large as it says: torch.save compresses nothing, so nothing can unfold."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise _Refused(f"no entry {name!r}") from None
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise _Refused(f"entry {name!r} is compressed")
    if largest is not None and entry.file_size > largest:
        raise _Refused(f"entry {name!r} has {entry.file_size} bytes")
    return entry


def _open_legacy(file: Path) -> tuple[Any, Reader]:
    """Pickles of a magic number, a protocol, the system, the content and the order of storages; then storages."""
    size = file.stat().st_size
    storages: dict[str, _Storage] = {}

    def note(storage: _Storage) -> None:
        known = storages.setdefault(storage.key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise _Refused(f"storage {storage.key} is described in two ways")

    with file.open("rb") as handle:
        if handle.read(1) not in (b"\x80", b"("):
            raise _Refused("it begins with something else")
        handle.seek(0)
        if _Machine(handle, note).run() != _MAGIC:
            raise _Refused("it begins with another number")
        _, system, content, order = (_Machine(handle, note).run() for _ in range(4))
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise _Refused("its numbers are not little-endian")
        places: dict[str, int] = {}
        for key in order if isinstance(order, list) else []:
            storage = storages.get(key) if isinstance(key, str) else None
            if storage is None:
                raise _Refused(f"no tensor uses storage {key!r}")
            (count,) = struct.unpack("<q", handle.read(8))
            places[key] = handle.tell()
            end = places[key] + storage.count * storage.dtype.itemsize
            if count != storage.count or end > size:
                raise _Refused(f"storage {key} is not as large as its tensors say")
            handle.seek(end)
    lost = next((key for key in storages if key not in places), None)
    if lost is not None:
        raise _Refused(f"storage {lost} is not there")

    def read(storage: _Storage) -> bytes:
        with file.open("rb") as again:
            again.seek(places[storage.key])
            return again.read(storage.count * storage.dtype.itemsize)

    return content, read


class _Mark:
    pass


_MARK = _Mark()


@dataclass(frozen=True, eq=False)
class _Name:
    """What a pickle would import."""

    name: str


class _Machine:
    """Follows one pickle. check: called with every storage that it speaks of."""

    def __init__(self, source: IO[bytes], check: Callable[[_Storage], None]) -> None:
        self.source, self.check = source, check
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for opcode, argument, _ in pickletools.genops(self.source):
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _VALUES:
                self.stack.append(argument)
            else:
                step = getattr(self, f"_{name.lower()}", None)
                if step is None:
                    raise _Refused(f"instruction {name}")
                step(argument)
        raise _Refused("it has no end")

    def _above_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise _Refused("no mark on the stack")

    def _proto(self, _: Any) -> None: ...

    _frame = _proto

    def _mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._above_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _none(self, _: Any) -> None:
        self.stack.append(None)

    def _newtrue(self, _: Any) -> None:
        self.stack.append(True)

    def _newfalse(self, _: Any) -> None:
        self.stack.append(False)

    # containers; what is added to a record is forgotten

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    _empty_set = _empty_list  # nothing here needs to be told from a list

    def _list(self, _: Any) -> None:
        self.stack.append(self._above_mark())

    _frozenset = _list

    def _empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._above_mark()))

    def _last(self, count: int) -> None:
        if len(self.stack) < count:
            raise _Refused("the stack is empty")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def _tuple1(self, _: Any) -> None:
        self._last(1)

    def _tuple2(self, _: Any) -> None:
        self._last(2)

    def _tuple3(self, _: Any) -> None:
        self._last(3)

    def _append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._above_mark())

    _additems = _appends

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], Record):
            raise _Refused("something is appended to what is no list")

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _dict(self, _: Any) -> None:
        items = self._above_mark()
        self.stack.append({})
        self._fill(items)

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key, value])

    def _setitems(self, _: Any) -> None:
        self._fill(self._above_mark())

    def _fill(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], Record):
            return
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise _Refused("items are put into what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Nested tuples can be hashed only by recursion, which has an end: such a key is forgotten.
            if not isinstance(key, tuple | list | dict):
                self.stack[-1][key] = value

    # the memory

    def _put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _binget = _long_binget = _get

    # objects

    def _global(self, argument: str) -> None:
        self.stack.append(_Name(argument.replace(" ", ".")))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_Name(f"{module}.{name}" if isinstance(module, str) else "?"))

    def _inst(self, argument: str) -> None:
        self._above_mark()
        self.stack.append(Record(argument.replace(" ", ".")))

    def _obj(self, _: Any) -> None:
        items = self._above_mark()
        self.stack.append(self._made(items[0] if items else None, ()))

    def _reduce(self, _: Any) -> None:
        arguments, what = self.stack.pop(), self.stack.pop()
        self.stack.append(self._made(what, arguments if isinstance(arguments, tuple) else ()))

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        self.stack.pop()
        self._reduce(None)

    def _build(self, _: Any) -> None:
        self.stack.pop()  # the state of an object: of a record or a container, so it is forgotten

    def _made(self, what: Any, arguments: tuple[Any, ...]) -> Any:
        name = what.name if isinstance(what, _Name) else ""
        if name in ("collections.OrderedDict", "collections.defaultdict", "builtins.dict"):
            return {}
        if name == "torch.Size" and len(arguments) == 1 and isinstance(arguments[0], tuple):
            return arguments[0]
        if name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return _tensor(*arguments[:4])
        if name == "torch._utils._rebuild_parameter" and arguments:
            return arguments[0]
        return Record(name or "?")

    def _binpersid(self, _: Any) -> None:
        match self.stack.pop():
            case ("storage", _Name(name=kind), str(key), _, int(count), *_) if re.fullmatch(r"\d+", key):
                dtype = _DTYPES.get(kind.removeprefix("torch.")) if kind.startswith("torch.") else None
                if dtype is None:
                    self.stack.append(Record(kind))
                    return
                if count < 0:
                    raise _Refused(f"storage {key} has {count} numbers")
                storage = _Storage(key, dtype, count)
                self.check(storage)
                self.stack.append(storage)
            case _:
                raise _Refused("a reference to something that is no storage")


def _tensor(storage: Any = None, offset: Any = None, shape: Any = None, stride: Any = None) -> Any:
    """The description of a tensor, which must lie within its storage."""
    if isinstance(storage, Record):
        return storage
    for numbers in ((offset,), shape, stride):
        if not isinstance(numbers, tuple) or any(type(n) is not int or n < 0 for n in numbers):
            raise _Refused("a tensor whose offset, shape or strides are no numbers")
    if not isinstance(storage, _Storage) or len(shape) != len(stride):
        raise _Refused("a tensor without a storage")
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if math.prod(shape) > 0 and last >= storage.count:
        raise _Refused(f"a tensor {shape} reaches beyond its storage of {storage.count} numbers")
    if math.prod(shape) > max(storage.count, 1):
        raise _Refused(f"a tensor {shape} repeats the {storage.count} numbers of its storage")
    return StoredTensor(storage, offset, shape, stride)


_VALUES = frozenset(
    (
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
    )
)

_FAULTS = (
    _Refused,
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
