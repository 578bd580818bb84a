"""Truth of a mesh file: sampled, filled and drawn as a protocol asks, and kept by the mesh's content."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from one2345.array_cache import ArrayCache
from one2345.geometry import OBJECT_EDGE, Box, Mesh
from one2345.objects.mesh_object import MeshObject
from one2345.paths import PACKAGE
from one2345.views import PosedViews

from .cameras import CameraRings
from .occupancy import occupy
from .pictures import Portrait, portrait_of_mesh
from .protocol import EvaluationProtocol
from .sampling import in_units, sample_surface, visible_surface
from .surface import SurfaceCloud
from .topology import mesh_facts
from .truth import Floats, Grids


@cache
def code_digest() -> str:
    """Of the sources that turn a mesh into clouds and grids: what other code kept is made again."""
    digest = hashlib.blake2b(digest_size=8)
    for room in ("geometry", "objects", "evaluation"):
        for file in sorted((PACKAGE / room).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class MeshTruth:
    """The object of one mesh (z up, any units): outward faces, enclosed components left out.

    turn: the (4, 4) map that was applied to the file's coordinates before (a list's yaw). cache: where clouds and
    grids are kept, by the content of mesh, rule and code; None keeps nothing on disk.
    Raises InputError for a mesh without faces or extent.
    """

    def __init__(
        self, mesh: Mesh, *, id: str, cache: ArrayCache | None = None, turn: Floats | None = None
    ) -> None:
        self.id = id
        self._cache = cache
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `facts` tells how far the mesh can be trusted
            self.item = MeshObject(mesh, id=id, normalise=True)
        self.to_world: Floats = self.item.to_world @ (np.eye(4) if turn is None else turn)
        self._clouds: dict[str, SurfaceCloud] = {}
        self._seen: tuple[CameraRings | None, PosedViews | None] = (None, None)

    @cached_property
    def content(self) -> str:
        """Digest of the normalised geometry."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.item.mesh.vertices, self.item.mesh.faces):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def cloud(self, protocol: EvaluationProtocol) -> SurfaceCloud:
        if protocol.hash not in self._clouds:
            self._clouds[protocol.hash] = self._read_cloud(protocol)
        return self._clouds[protocol.hash]

    def _read_cloud(self, protocol: EvaluationProtocol) -> SurfaceCloud:
        rule = {"points": protocol.points, "seed": protocol.seed, "id": self.id}
        if protocol.visible is not None:
            rule = {"visible": asdict(protocol.visible)}
        arrays = self._kept({"cloud": rule}, lambda: self._sampled(protocol))
        return in_units(
            SurfaceCloud(arrays["points"], arrays["normals"], self.item.mesh.bounds), protocol.scale
        )

    def _sampled(self, protocol: EvaluationProtocol) -> dict[str, NDArray[Any]]:
        if protocol.visible is None:
            cloud = sample_surface(
                self.item.mesh, protocol.points, seed=protocol.seed, object_id=self.id, of="true surface"
            )
        else:
            cloud = visible_surface(self.item, protocol.visible, quantised=True)
        return {"points": cloud.points, "normals": cloud.normals}

    def occupancy(self, protocol: EvaluationProtocol) -> Grids:
        if protocol.occupancy is None:
            return {}
        half_edge = protocol.occupancy.half_edge / protocol.scale
        return {r: self._grid(Box(half_edge=half_edge, resolution=r)) for r in protocol.resolutions}

    def _grid(self, box: Box) -> NDArray[np.bool_]:
        rule = {"resolution": box.resolution, "half_edge": round(box.half_edge, 9)}
        bits = self._kept(
            {"grid": rule}, lambda: {"bits": np.packbits(occupy(self.item.mesh, box).grid.reshape(-1))}
        )["bits"]
        n = box.resolution
        return np.unpackbits(bits, count=n**3).astype(bool).reshape(n, n, n)

    def portrait(self) -> Portrait:
        return portrait_of_mesh(self.item)

    def views(self, protocol: EvaluationProtocol) -> PosedViews | None:
        mesh = self.item.mesh
        if protocol.cameras is None or (mesh.colours is None and mesh.texture is None):
            return None
        if protocol.cameras != self._seen[0]:
            self._seen = (protocol.cameras, self._views(protocol.cameras))
        return self._seen[1]

    def _views(self, rings: CameraRings) -> PosedViews:
        cameras = rings.cameras(OBJECT_EDGE)
        seen = self.item.render(cameras)
        return PosedViews(
            images=seen.rgb, masks=seen.mask, cameras=cameras, depth=seen.depth, normals=seen.normal,
            names=tuple(f"c{i}" for i in range(len(cameras))), roles=("target",) * len(cameras),
            parents=(None,) * len(cameras),
        )  # fmt: skip

    @cached_property
    def _thickness(self) -> float:
        report, mesh = self.item.report, self.item.mesh
        box = Box(half_edge=0.6 * OBJECT_EDGE, resolution=64)
        volume = (
            mesh.volume()
            if report.closed and report.consistent
            else self._grid(box).mean() * (2 * box.half_edge) ** 3
        )
        return float(2 * abs(volume) / mesh.areas().sum() / OBJECT_EDGE)

    def thickness(self) -> float:
        """From the volume by divergence; of a mesh that is not closed, from a grid of 64³ cells."""
        return self._thickness

    def facts(self) -> dict[str, Any]:
        report = self.item.report
        return {
            "watertight": mesh_facts(self.item.mesh).watertight,
            "content": self.content,
            "labels": report.label_quality,
            "reasons": list(report.reasons),
            "enclosed components left out": report.dropped_enclosed,
            "faces turned": report.turned_faces,
            "occupancy": "column scan" if report.closed and report.consistent else "winding number",
        }

    def _kept(
        self, rule: Mapping[str, Any], make: Callable[[], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        if self._cache is None:
            return make()
        text = json.dumps({"code": code_digest(), "content": self.content, **rule}, sort_keys=True)
        return self._cache.get(hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), make)
