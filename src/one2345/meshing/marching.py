"""Marching cubes (Lorensen and Cline, 1987) over any set of cells, without a table that one has to believe.

Where the two inside corners of a face lie across from each other they are kept apart, whichever cell looks at the face,
so the surface has no holes.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .lattice import Lattice

CORNERS = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
EDGES = [(corner, axis) for axis in range(3) for corner in range(8) if not CORNERS[corner][axis]]
"""Twelve edges: their lower corner, and the axis they run along."""
NODES = 2**18
"""Nodes at a time that are looked at."""
STEP = (4, 2, 1)
"""From a corner's number to that of its neighbour along an axis."""


@cache
def triangles_by_case() -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """For each set of inside corners, corner c counting 2^c, the triangles of the surface as numbers of edges.

    Counter-clockwise seen from outside.
    """
    return tuple(_triangles(case) for case in range(256))


def _triangles(case: int) -> tuple[tuple[int, int, int], ...]:
    follows: dict[int, int] = {}
    for face in _faces():
        inside = [bool(case >> corner & 1) for corner in face]
        for i in range(4):
            # The border of the inside comes in where an inside corner begins and goes out where its run ends.
            if inside[i] or not inside[(i + 1) % 4]:
                continue
            end = next(j for j in range(i + 1, i + 5) if inside[j % 4] and not inside[(j + 1) % 4])
            follows[_edge(face[i], face[(i + 1) % 4])] = _edge(face[end % 4], face[(end + 1) % 4])
    found = []
    while follows:
        start, after = next(iter(follows.items()))
        loop = [start]
        del follows[start]
        while after != start:
            loop.append(after)
            after = follows.pop(after)
        found += [(loop[0], loop[i], loop[i + 1]) for i in range(1, len(loop) - 1)]
    return tuple(found)


def _faces() -> list[list[int]]:
    """Corners of each face, counter-clockwise seen from outside."""
    faces = []
    for axis in range(3):
        u, v = STEP[(axis + 1) % 3], STEP[(axis + 2) % 3]
        around = [0, u, u + v, v]
        faces += [[STEP[axis] + c for c in around], around[::-1]]
    return faces


def _edge(a: int, b: int) -> int:
    low, high = sorted((a, b))
    return EDGES.index((low, STEP.index(high - low)))


def march(lattice: Lattice, blocks: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The zero level in blocks (m, 3) of `size` cells along each axis, and at the wall around the lattice.

    Returns vertices (v, 3) float64 in nodes of each axis, ordered by the edge of the lattice that each lies on, and
    faces (f, 3), ordered by their cell; inside is where values are <= 0.
    """
    device, side = lattice.device, lattice.box.resolution + 2
    cells, values = _crossed(lattice, blocks, size)
    number = ((cells[:, 0] + 1) * side + cells[:, 1] + 1) * side + cells[:, 2] + 1
    number, order = number.sort()
    once = torch.ones_like(number, dtype=torch.bool)
    once[1:] = number[1:] != number[:-1]  # cells at the box's edges belong to two walls
    cells, values, number = cells[order[once]], values[order[once]], number[once]

    case = ((values <= 0) * (2 ** torch.arange(8, device=device))).sum(1)
    table = triangles_by_case()
    counts = torch.tensor([len(t) for t in table], device=device)
    starts = counts.cumsum(0) - counts
    flat = torch.tensor([t for triangles in table for t in triangles], device=device)
    per_cell = counts[case]
    cell = torch.repeat_interleave(torch.arange(len(case), device=device), per_cell)
    first = per_cell.cumsum(0) - per_cell
    within = torch.arange(len(cell), device=device) - first[cell]
    edges = flat[starts[case][cell] + within]  # (f, 3)

    low = torch.tensor([corner for corner, _ in EDGES], device=device)[edges]
    axis = torch.tensor([axis for _, axis in EDGES], device=device)[edges]
    offset = torch.tensor([(i * side + j) * side + k for i, j, k in CORNERS], device=device)
    key = (number[cell][:, None] + offset[low]) * 3 + axis
    unique, faces = torch.unique(key, return_inverse=True)

    corner = torch.tensor(CORNERS, device=device)
    of_low = values[cell[:, None], low]
    of_high = values[cell[:, None], low + torch.tensor(STEP, device=device)[axis]]
    share = (of_low / (of_low - of_high)).double()
    position = (cells[cell][:, None] + corner[low]).double()
    position.scatter_add_(-1, axis[..., None], share[..., None])
    vertices = position.new_empty(len(unique), 3)
    vertices[faces.flatten()] = position.flatten(
        0, 1
    )  # a vertex is the same to the bit from every cell around it
    return vertices, faces


def _crossed(lattice: Lattice, blocks: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cells (m, 3) that have corners on both sides, named by their lowest node, and their values (m, 8)."""
    device, n = lattice.device, lattice.box.resolution
    corner = torch.tensor(CORNERS, device=device)
    line = torch.arange(size + 1, device=device)
    nodes = torch.cartesian_prod(line, line, line)
    cells = [corner[:0]]
    for part in blocks.split(max(1, NODES // len(nodes))):
        values = lattice.values((part[:, None] * size + nodes).flatten(0, 1).clamp_max(n - 1))
        inside = (values <= 0).view(-1, *[size + 1] * 3)
        lowest, highest = inside, inside
        for axis in (1, 2, 3):
            lowest = lowest.narrow(axis, 0, size) & lowest.narrow(axis, 1, size)
            highest = highest.narrow(axis, 0, size) | highest.narrow(axis, 1, size)
        block, *within = (lowest != highest).nonzero(as_tuple=True)
        found = part[block] * size + torch.stack(within, -1)
        cells.append(found[(found < n - 1).all(1)])
    cells += _at_wall(lattice)
    values = [
        lattice.values((part[:, None] + corner).flatten(0, 1)).view(-1, 8)
        for part in torch.cat(cells).split(NODES // 8)
    ]
    return torch.cat(cells), torch.cat(values)


def _at_wall(lattice: Lattice) -> list[Tensor]:
    """Cells (m, 3) of the margin that touch an inside node of the box's outermost ones, by wall."""
    n, found = lattice.box.resolution, []
    line = torch.arange(n, device=lattice.device)
    plane = torch.cartesian_prod(line, line)
    near = torch.cartesian_prod(*[torch.arange(-1, 1, device=lattice.device)] * 2)
    for axis in range(3):
        for node, cell in ((0, -1), (n - 1, n - 1)):
            inside = plane[lattice.values(_insert(plane, axis, node)) <= 0]
            if len(inside):
                beside = torch.unique((inside[:, None] + near).flatten(0, 1), dim=0)
                found.append(_insert(beside, axis, cell))
    return found


def _insert(plane: Tensor, axis: int, value: int) -> Tensor:
    """(m, 3) from (m, 2) and one value along `axis`."""
    return torch.cat([plane[:, :axis], torch.full_like(plane[:, :1], value), plane[:, axis:]], 1)
