"""A data set of one's own: a source says which objects there are, and makes one when asked.

Preparation does the rest: rendering, labels, processes, going on after an interruption. These objects are
superellipsoids, |x|^e + |y|^e + |z|^e = 1 stretched along the axes; meshes of your own come from files in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from one2345.data import LoadedObject
from one2345.errors import InputError
from one2345.geometry import Mesh
from one2345.objects import MeshObject
from one2345.seeding import numpy_rng


class Superellipsoids:
    """count: of objects; every fifth one is for validation, the one after it for the test."""

    def __init__(self, *, count: int, seed: int = 0) -> None:
        self.count, self.seed = count, seed

    def ids(self, split: str | None = None) -> list[str]:
        """Ids of one split, or all: stable names that are fit for a folder."""
        every = [f"superellipsoid-{self.seed}-{i:05d}" for i in range(self.count)]
        return [id for id in every if split in (None, self.split(id))]

    def split(self, id: str) -> str:
        return {3: "val", 4: "test"}.get(self._index(id) % 5, "train")

    def fingerprint(self, id: str) -> None:
        """Hash of the file that an object is made from, if any: a change prepares it anew."""
        return None

    def load(self, id: str, *, shading: float = 0.0) -> LoadedObject:
        """The object, with what should be known about it wherever it goes."""
        random = numpy_rng("superellipsoid", self.seed, self._index(id))
        exponent, edges = random.uniform(1.5, 8.0), random.uniform(0.4, 1.0, 3)
        mesh = superellipsoid(exponent, edges)
        colours = (mesh.vertices - mesh.vertices.min(0)) / np.ptp(mesh.vertices, axis=0)
        coloured = Mesh(vertices=mesh.vertices, faces=mesh.faces, colours=colours.astype(np.float32))
        return LoadedObject(
            object=MeshObject(coloured, id=id, shading=shading),
            provenance={"source": f"superellipsoid({exponent:.3f})", "licence": "CC0-1.0", "author": "you"},
        )

    def describe(self) -> dict[str, Any]:
        """What decides which object an id means: the prepared folder is named by a hash of it."""
        return {"kind": "superellipsoids", "seed": self.seed, "version": 1}

    def _index(self, id: str) -> int:
        prefix, _, number = id.rpartition("-")
        if prefix != f"superellipsoid-{self.seed}" or not number.isdigit():
            raise InputError(f"{id!r} is no superellipsoid of seed {self.seed}")
        return int(number)


def superellipsoid(exponent: float, edges: np.ndarray, *, rings: int = 24) -> Mesh:
    """A closed mesh, z up, any size: preparation puts it into the world frame."""
    turn, rise = np.meshgrid(
        np.arange(2 * rings) * np.pi / rings, (np.arange(rings) + 0.5) * np.pi / rings, indexing="ij"
    )
    sphere = np.stack([np.cos(turn) * np.sin(rise), np.sin(turn) * np.sin(rise), np.cos(rise)], -1)
    points = np.concatenate([sphere.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]])
    points /= (np.abs(points) ** exponent).sum(1, keepdims=True) ** (1 / exponent)
    faces = []
    for i in range(2 * rings):
        here, there = i * rings, (i + 1) % (2 * rings) * rings
        faces += [(len(points) - 2, here, there), (len(points) - 1, there + rings - 1, here + rings - 1)]
        for j in range(rings - 1):
            faces += [(here + j, here + j + 1, there + j), (there + j, here + j + 1, there + j + 1)]
    return Mesh(vertices=points * edges, faces=np.array(faces))
