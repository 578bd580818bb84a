"""What a source of objects answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from one2345.errors import InputError
from one2345.geometry import Mesh
from one2345.objects import Object3D

from .asset import Asset


class Rejected(InputError):
    """An object that could be used, but that a filter leaves out; the message is the reason."""


@dataclass(frozen=True)
class LoadedObject:
    """An object ready to be looked at, with what is known about it.

    exact: whether its signed distance is exact everywhere (closed, consistent), so that its sign changes only
    at the surface. asset: the file it was made from, if any.
    """

    object: Object3D
    exact: bool = True
    provenance: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    asset: Asset | None = None


@runtime_checkable
class Source(Protocol):
    """A set of objects with stable ids. Must be picklable: workers get their own copy."""

    def ids(self, split: str | None = None) -> list[str]:
        """Ids of one split, or all."""
        ...

    def split(self, id: str) -> str | None:
        """'train', 'val', 'test' or None when the source has no splits."""
        ...

    def fingerprint(self, id: str) -> str | None:
        """Hash of what the object is made from; a change means that it must be prepared again."""
        ...

    def load(self, id: str, *, shading: float = 0.0) -> LoadedObject:
        """Make the object. Raises InputError with the reason when that can't be done."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that decide what an id means; counts and paths left out."""
        ...


@runtime_checkable
class MeshSource(Source, Protocol):
    """A source whose objects are mesh files."""

    def mesh(self, id: str) -> Mesh:
        """The mesh as the file has it: z up, in the file's units, not moved. Raises InputError."""
        ...

    def file(self, id: str) -> Path:
        """The file of the object."""
        ...


def filters_of(source: object) -> Any:
    """What the rejections of `source` depend on: its `describe_filters()`, or None where it rejects nothing."""
    describe = getattr(source, "describe_filters", None)
    return None if describe is None else describe()
