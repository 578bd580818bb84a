"""Follows the instructions of a pickle without importing or calling anything.

`pickletools.genops` decodes the instructions. The machine can make tensors (their descriptions), containers and plain
values; whatever else a pickle asks for becomes a `Record` that only remembers its name.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import torch

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


class Refused(Exception):
    """The pickle is damaged or means harm."""


class Record:
    """An object of a class that is not admitted: its name, and nothing that it held."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Record({self.name})"


@dataclass(frozen=True, eq=False)
class Storage:
    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor as the pickle describes it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Mark:
    pass


_MARK = _Mark()


@dataclass(frozen=True, eq=False)
class _Name:
    """What a pickle would import."""

    name: str


class PickleMachine:
    """Follows one pickle. check: called with every storage that it speaks of."""

    def __init__(self, source: IO[bytes], check: Callable[[Storage], None]) -> None:
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
                    raise Refused(f"instruction {name}")
                step(argument)
        raise Refused("it has no end")

    def _above_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise Refused("no mark on the stack")

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
            raise Refused("the stack is empty")
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
            raise Refused("something is appended to what is no list")

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
            raise Refused("items are put into what is no dictionary")
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
                    raise Refused(f"storage {key} has {count} numbers")
                storage = Storage(key, dtype, count)
                self.check(storage)
                self.stack.append(storage)
            case _:
                raise Refused("a reference to something that is no storage")


def _tensor(storage: Any = None, offset: Any = None, shape: Any = None, stride: Any = None) -> Any:
    """The description of a tensor, which must lie within its storage."""
    if isinstance(storage, Record):
        return storage
    for numbers in ((offset,), shape, stride):
        if not isinstance(numbers, tuple) or any(type(n) is not int or n < 0 for n in numbers):
            raise Refused("a tensor whose offset, shape or strides are no numbers")
    if not isinstance(storage, Storage) or len(shape) != len(stride):
        raise Refused("a tensor without a storage")
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if math.prod(shape) > 0 and last >= storage.count:
        raise Refused(f"a tensor {shape} reaches beyond its storage of {storage.count} numbers")
    if math.prod(shape) > max(storage.count, 1):
        raise Refused(f"a tensor {shape} repeats the {storage.count} numbers of its storage")
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
