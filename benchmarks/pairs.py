"""Truths and predictions to measure: scans where they are at hand, else the project's own shapes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from one2345.evaluation.baselines import visual_hull_mesh
from one2345.geometry import Box, Mesh, orbit_cameras
from one2345.meshing import extract
from one2345.objects import MeshObject, load_mesh
from one2345.objects.shapes import random_shape
from one2345.objects.topology import label_components, weld
from one2345.views import PosedViews

SCANS = ("Android_Figure_Panda", "Sperry_TopSider_pSUFPWQXPp3", "Schleich_Hereford_Bull")


@dataclass(frozen=True)
class Pair:
    """Closed meshes in one piece with about as many faces as asked for, longest edge of the truth 0.8.
    predicted: the visual hull of eight exact views of the truth."""

    name: str
    predicted: Mesh
    true: Mesh


def pairs(shared: Path, *, faces: int, count: int = 3) -> list[Pair]:
    """`count` pairs; of scans in `shared`/gso_dev if they are there."""
    folder = shared / "data" / "gso_dev" / "glb"
    made: list[Pair] = []
    for index in range(count):
        file = folder / f"{SCANS[index % len(SCANS)]}.glb"
        if file.is_file():
            item = MeshObject(load_mesh(file), id=file.stem)
            name = file.stem
        else:
            item = random_shape(7, index=index)
            name = item.id
        true = with_faces(lambda n, item=item: extract(item.sdf, Box(), resolution=n), faces)
        views = _views(MeshObject(true, id=name, normalise=False))
        made.append(Pair(name, with_faces(lambda n, v=views: visual_hull_mesh(v, resolution=n), faces), true))
    return made


def with_faces(mesh_at: Callable[[int], Mesh], faces: int) -> Mesh:
    """The mesh at the resolution whose number of faces is nearest: they grow with its square."""
    mesh = mesh_at(max(16, round(64 * (faces / len(mesh_at(64).faces)) ** 0.5)))
    # One piece: the parity of rays would take a cavity out that counts as inside here.
    component, count = label_components(weld(mesh))
    largest = np.bincount(component, weights=mesh.areas(), minlength=count).argmax()
    return replace(mesh, faces=mesh.faces[component == largest])


def _views(item: MeshObject) -> PosedViews:
    cameras = orbit_cameras(torch.arange(8) * 45.0, torch.tensor([30.0, -10] * 4), size=256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = item.render(cameras)
    return PosedViews(
        images=seen.rgb, masks=seen.mask, cameras=cameras, names=tuple(f"v{i}" for i in range(8)),
        roles=("stage1",) * 8, parents=(None,) * 8,
    )  # fmt: skip
