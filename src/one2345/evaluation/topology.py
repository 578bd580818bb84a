"""Facts about a mesh that need no truth: pieces, holes, volume, and the solid that its faces bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from one2345.geometry import Mesh
from one2345.objects.quality import solid
from one2345.objects.topology import is_degenerate, weld

from .enclosed import find_enclosed

Ints = NDArray[np.int64]

# Thinner than this share of the longest edge, 2 · volume / area on average, an object counts as thin.
THIN = 0.04
# Of a hash of three numbers: odd, their bits without a pattern.
FACTORS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class Connectivity:
    """How the faces of a mesh hang together once equal positions are merged (texture seams split vertices).

    kept (k,): indices of the faces with three distinct corners; welded (k, 3): these over merged vertices.
    open_edges: edges used an odd number of times; nonmanifold_edges: more than twice; unbalanced_edges: not
    equally often in both directions (none: winding numbers are whole). boundary (b, 2): the latter, as often
    and in the direction as they are walked in excess; over merged vertices.
    """

    def __init__(self, kept: Ints, welded: Ints) -> None:
        self.kept, self.welded = kept, welded
        self._lower, self._upper, uses, net = _net_edges(welded)
        self.open_edges = int(np.count_nonzero(uses % 2))
        self.nonmanifold_edges = int(np.count_nonzero(uses > 2))
        excess = np.flatnonzero(net)
        self.unbalanced_edges = len(excess)
        ends = np.stack([self._lower[excess], self._upper[excess]], -1)
        net = net[excess]
        self.boundary = np.repeat(np.where(net[:, None] > 0, ends, ends[:, ::-1]), np.abs(net), axis=0)

    @staticmethod
    def of(mesh: Mesh) -> Connectivity:
        welded = _weld(mesh)
        kept = np.flatnonzero(~is_degenerate(welded))
        return Connectivity(kept, welded[kept])

    @cached_property
    def labels(self) -> tuple[Ints, int]:
        """(k,) component of each kept face, and the number of components; a shared vertex connects."""
        if not len(self.welded):
            return np.zeros(0, np.int64), 0
        size = int(self.welded.max()) + 1
        row = np.searchsorted(self._lower, np.arange(size + 1)).astype(np.int32)
        edges = csr_array(
            (np.ones(len(self._upper), np.int8), self._upper.astype(np.int32), row), (size, size)
        )
        label = connected_components(edges, directed=False)[1][self.welded[:, 0]]
        used = np.zeros(size, bool)
        used[label] = True
        return (np.cumsum(used) - 1)[label], int(np.count_nonzero(used))

    @property
    def balanced(self) -> bool:
        """Whether the faces, at least one, form a closed and consistently oriented surface."""
        return len(self.welded) > 0 and self.unbalanced_edges == 0


@dataclass(frozen=True)
class Solid:
    """A mesh as the boundary of what it encloses: turned outwards, enclosed components left out.

    connectivity: of that mesh. dropped: enclosed components left out; turned: faces turned.
    """

    mesh: Mesh
    connectivity: Connectivity
    dropped: int
    turned: int

    @staticmethod
    def of(mesh: Mesh, connectivity: Connectivity | None = None) -> Solid:
        """What `objects.quality.solid` makes of `mesh`; by a shorter way where all components are closed."""
        known = connectivity or Connectivity.of(mesh)
        if not known.balanced:
            kept, dropped, turned = solid(mesh)
            return Solid(kept, Connectivity.of(kept), dropped, turned)
        if len(known.kept) < len(mesh.faces):  # faces without area would still count for the bounding box
            mesh = replace(mesh, faces=mesh.faces[known.kept])
            known = Connectivity(np.arange(len(mesh.faces)), known.welded)
        component, count = known.labels
        inverted = (_volumes(mesh, known) < 0)[component]
        if count == 1 and not inverted.any():
            return Solid(mesh, known, 0, 0)
        faces = np.where(inverted[:, None], mesh.faces[:, ::-1], mesh.faces)
        enclosed = find_enclosed(replace(mesh, faces=faces), component, count)[component]
        if not (inverted.any() or enclosed.any()):
            return Solid(mesh, known, 0, 0)
        left = ~enclosed
        welded = np.where(inverted[:, None], known.welded[:, ::-1], known.welded)[left]
        return Solid(
            replace(mesh, faces=faces[left]),
            Connectivity(np.arange(len(welded)), welded),
            len(np.unique(component[enclosed])),
            int(inverted.sum()),
        )

    def transformed(self, matrix: NDArray[np.float64]) -> Solid:
        """The same under a (4, 4) affine map, which keeps equal positions equal and so all that is known."""
        mesh = self.mesh.transformed(matrix)
        mirrored = np.linalg.det(matrix[:3, :3]) < 0
        return replace(self, mesh=mesh, connectivity=Connectivity.of(mesh) if mirrored else self.connectivity)


@dataclass(frozen=True)
class MeshFacts:
    """faces: all of the mesh. components: sets of faces that share vertices, equal positions merged.

    floaters: components besides the one of largest area; floater_area_fraction: their share of the area.
    watertight: there are faces and every edge is used an even number of times; open_edges: those that are
    not; nonmanifold_edges: used more than twice. area: of all faces. volume: of the solid, None where it is
    unknown (the surface is open). thin: 2 · volume / area is below 4 % of the longest bounding-box edge, None
    where the volume is unknown.
    """

    faces: int
    components: int
    floaters: int
    floater_area_fraction: float
    watertight: bool
    open_edges: int
    nonmanifold_edges: int
    area: float
    volume: float | None
    thin: bool | None


def mesh_facts(
    mesh: Mesh,
    *,
    volume: float | None = None,
    connectivity: Connectivity | None = None,
    shape: Solid | None = None,
) -> MeshFacts:
    """The facts about `mesh`, in its own units. connectivity, shape: of it, where they are known already.

    volume: where it is known, e.g. counted on a grid (`Occupancy.volume`); else that of a closed mesh comes
    from the divergence theorem, sealed cavities included, overlaps of components counted twice.
    """
    known = connectivity or Connectivity.of(mesh)
    areas = mesh.areas()
    area = float(areas.sum())
    component, count = known.labels
    share = np.bincount(component, weights=areas[known.kept], minlength=1)
    if volume is None and known.open_edges == 0:
        closed = shape or Solid.of(mesh, known)
        volume = (
            float(_volumes(closed.mesh, closed.connectivity).sum()) if closed.connectivity.balanced else None
        )
    edge = float(np.ptp(mesh.bounds, axis=0).max()) if len(mesh.faces) else 0.0
    return MeshFacts(
        faces=len(mesh.faces),
        components=count,
        floaters=max(count - 1, 0),
        floater_area_fraction=1 - float(share.max() / share.sum()) if share.sum() > 0 else 0.0,
        watertight=count > 0 and known.open_edges == 0,
        open_edges=known.open_edges,
        nonmanifold_edges=known.nonmanifold_edges,
        area=area,
        volume=volume,
        thin=None if volume is None else 2 * volume < THIN * edge * area,
    )


def _volumes(mesh: Mesh, connectivity: Connectivity) -> NDArray[np.float64]:
    """(components,) by the divergence theorem, about the mesh's own centre: far from the origin the terms would
    cancel."""
    component, count = connectivity.labels
    faces = mesh.faces[connectivity.kept].T.copy()
    x, y, z = (mesh.vertices - mesh.vertices[faces[0]].mean(0)).T.copy()
    a, b, c = ((x[i], y[i], z[i]) for i in faces)
    six = (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        + a[1] * (b[2] * c[0] - b[0] * c[2])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
    return (np.bincount(component, weights=six, minlength=count) if count > 1 else six.sum(keepdims=True)) / 6


def _weld(mesh: Mesh) -> Ints:
    """`objects.topology.weld` up to the numbering, several times faster: sorts a hash of the positions."""
    bits = (mesh.vertices + 0.0).view(np.uint64)  # one sign of zero
    key = np.zeros(len(bits), np.uint64)
    for along, factor in zip(bits.T, FACTORS):
        key = (key + along) * np.uint64(factor)
        key ^= key >> np.uint64(29)
    order = np.argsort(key)
    key, ordered = key[order], mesh.vertices[order]
    changed = key[1:] != key[:-1]
    same = np.flatnonzero(~changed)
    if (ordered[same] != ordered[same + 1]).any():
        return weld(mesh)  # two positions with one hash
    # Each is called by one of its vertices, so that neighbours in the file stay neighbours.
    start = np.concatenate([[0], np.flatnonzero(changed) + 1]) if len(order) else order
    label = np.empty(len(order), np.int64)
    label[order] = np.repeat(order[start], np.diff(start, append=len(order)))
    return label[mesh.faces]


def _net_edges(welded: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The edges of faces (k, 3) without degenerate ones: lower and upper vertex, uses, and how often more they
    are walked upwards than downwards; each (e,), sorted by the vertices."""
    if not len(welded):
        none = np.zeros(0, np.int64)
        return none, none, none, none
    size = int(welded.max()) + 1
    a, b, c = welded.T
    tail, head = np.concatenate([a, b, c]), np.concatenate([b, c, a])
    lower, upper = np.minimum(tail, head), np.maximum(tail, head)
    # The direction in the lowest bit: sorting the keys alone is several times faster than finding their order.
    key = np.sort((lower * size + upper) * 2 + (tail == lower))
    edge = key >> 1
    start = np.flatnonzero(np.concatenate([[True], edge[1:] != edge[:-1]]))
    uses = np.diff(start, append=len(edge))
    net = 2 * np.add.reduceat(key & 1, start) - uses
    return edge[start] // size, edge[start] % size, uses, net
