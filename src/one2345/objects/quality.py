"""How far a mesh can be trusted as ground truth: closed or not, and what its winding numbers say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from one2345.geometry import Mesh
from one2345.geometry.area_sampling import faces_at
from one2345.objects.cavities import drop_enclosed
from one2345.objects.cpu_backend import CpuBackend
from one2345.objects.topology import count_edges, is_degenerate, label_components, oriented, weld

# A winding number this far from a whole number leaves the side in doubt.
DOUBT = 0.25
# Share of doubtful probes up to which labels of a mesh that is not closed count as usable.
USABLE = 0.02
# A mesh that fills less than this share of its bounding box, and is closed, is a sheet drawn from both sides.
FLAT = 1e-5

LabelQuality = Literal["exact", "approximate", "unreliable"]


class MeshWarning(UserWarning):
    """A mesh that can be used, but not for everything; the message says why."""


@dataclass(frozen=True)
class MeshReport:
    """What is known of a mesh after `solid`.

    faces, components: after repair. dropped_enclosed: components left out because another encloses them.
    turned_faces: faces whose orientation was corrected. closed: every edge is used an even number of times.
    open_edge_fraction: share of the edges that are not. consistent: the faces form cycles, so that winding
    numbers are whole. doubtful: share of probe points (half near the surface, half anywhere in the box) whose
    winding number is more than 0.25 from a whole one. label_quality: "exact" (closed, consistent),
    "approximate" (few doubtful probes) or "unreliable"; reasons: why it is not exact.
    """

    faces: int
    components: int
    dropped_enclosed: int
    turned_faces: int
    closed: bool
    open_edge_fraction: float
    consistent: bool
    doubtful: float
    label_quality: LabelQuality
    reasons: tuple[str, ...]


def solid(mesh: Mesh) -> tuple[Mesh, int, int]:
    """The mesh as the boundary of a solid: turned outwards, enclosed components left out.

    Returns the mesh, the number of components that were left out, and of faces that were turned.
    """
    turned_mesh, turned = oriented(mesh)
    kept, dropped = drop_enclosed(turned_mesh)
    return kept, dropped, turned


def report(mesh: Mesh) -> MeshReport:
    """The verdict on a mesh, however it was loaded."""
    kept, dropped, turned = solid(mesh)
    return assess(kept, dropped=dropped, turned=turned)


def assess(mesh: Mesh, *, dropped: int, turned: int) -> MeshReport:
    """The verdict on a mesh that `solid` has made."""
    welded = weld(mesh)
    welded = welded[~is_degenerate(welded)]
    component, count = label_components(welded)
    edges, open_edges, unbalanced = (int(x.sum()) for x in count_edges(welded, component, count))
    doubtful = _doubtful(mesh) if edges else 1.0
    reasons = []
    if open_edges:
        reasons.append(f"{open_edges} of {edges} edges are open")
    if unbalanced > open_edges:
        reasons.append(f"faces disagree in orientation at {unbalanced - open_edges} of {edges} edges")
    if doubtful > 0:
        reasons.append(f"the inside is in doubt at {doubtful:.1%} of the probes")
    box = float(np.prod(np.ptp(mesh.bounds, axis=0))) if edges else 0.0
    flat = edges > 0 and open_edges == 0 and abs(mesh.volume()) <= FLAT * box
    if flat:
        reasons.append("the surface encloses no volume")
    quality: LabelQuality = "exact"
    if flat or doubtful > USABLE:
        quality = "unreliable"
    elif open_edges or unbalanced or doubtful > 0:
        quality = "approximate"
    return MeshReport(
        faces=len(mesh.faces),
        components=count,
        dropped_enclosed=dropped,
        turned_faces=turned,
        closed=open_edges == 0,
        open_edge_fraction=open_edges / max(edges, 1),
        consistent=unbalanced == 0,
        doubtful=doubtful,
        label_quality=quality,
        reasons=tuple(reasons),
    )


def _doubtful(mesh: Mesh, probes: int = 4096) -> float:
    """Share of the probes whose winding number is far from a whole number."""
    random = np.random.default_rng(0)
    lower, upper = mesh.bounds
    edge = float((upper - lower).max())
    anywhere = random.uniform(lower, upper, (probes // 2, 3))
    areas = np.cumsum(mesh.areas())
    face = faces_at(areas, random.random(probes // 2))
    weights = random.dirichlet((1.0, 1.0, 1.0), probes // 2)
    side = random.choice([-1.0, 1.0], (probes // 2, 1)) * 0.01 * edge
    near = (
        np.einsum("pk,pki->pi", weights, mesh.vertices[mesh.faces[face]]) + side * mesh.face_normals()[face]
    )
    winding = CpuBackend(mesh.vertices, mesh.faces).winding(np.concatenate([anywhere, near]))
    return float((np.abs(winding - np.rint(winding)) > DOUBT).mean())
